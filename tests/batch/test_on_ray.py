"""Batches on a Ray cluster: the same files as from this machine, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.batch.desk import Desk
from cosmos_cli.batch.engine import run_batch
from cosmos_cli.batch.ledger import is_in_use, read_ledger
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.ray import cluster
from cosmos_cli.batch.ray import engine as on_ray
from cosmos_cli.batch.ray.actor import Surroundings
from cosmos_cli.batch.ray.cluster import QUIET
from cosmos_cli.batch.ray.engine import RayEngine
from cosmos_cli.batch.ray.group import Group
from cosmos_cli.errors import CheckpointError, CosmosError, DiskFull, GuardrailBlocked, InputError
from cosmos_cli.runtime.memory.steps import OutOfMemory, read_steps
from cosmos_cli.testing import CommandResult
from tests.batch.test_engine import LEDGER, Shouter, plan_of, statuses
from tests.batch.test_spreading import LINE, WHERE, write_rows

ray = pytest.importorskip("ray")

Cosmos = Callable[..., CommandResult]

NUM_NODES = 2
ROOT = str(Path(__file__).parents[2])


class Nodes:
    """A cluster in processes of this machine: a head without room, and nodes with room for some processes each."""

    def __init__(self, num_nodes: int, num_cpus: int = 1, num_gpus: int = 0) -> None:
        from ray.cluster_utils import Cluster

        os.environ.update(QUIET)
        # where the project is installed file by file, actors would not find what these tests send them
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")]))
        store = 80 * 2**20
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store})
        # addresses of their own, so that a driver here joins by the head, and not by a node that is killed
        self._add: Callable[[int], Any] = lambda number: self._cluster.add_node(
            wait=False,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            object_store_memory=store,
            node_ip_address=f"127.0.0.{number + 2}",
        )
        self.workers = [self._add(number) for number in range(num_nodes)]
        self._cluster.wait_for_nodes()
        self.address = str(self._cluster.address)

    def kill(self, number: int) -> None:
        """As a power cut does."""
        self._cluster.remove_node(self.workers[number], allow_graceful=False)

    def add(self, number: int) -> None:
        """Another in place of one that was killed."""
        self.workers[number] = self._add(number)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    started = Nodes(NUM_NODES, num_cpus=2)
    yield started
    started.shutdown()


@pytest.fixture
def address(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)


class Deadly(Shouter):
    """Kills its own process when it makes a certain text: the first time, or every time."""

    def __init__(self, text: str, mark: Path | None) -> None:
        super().__init__()
        self._text, self._mark = text, mark

    def make(self, sample: dict[str, str]) -> dict[str, str]:
        if sample["text"] == self._text and (self._mark is None or not self._mark.exists()):
            if self._mark is not None:
                self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(sample)


def hidden_files(folder: str = "out") -> list[str]:
    return [path.name for path in Path(folder).rglob(".*")]


def record_clearing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the items for which folders are looked through, as it happens."""
    cleared, clear_remains = list[str](), Desk.clear_remains

    def clear(desk: Desk, item: Item[Any]) -> None:
        cleared.append(item.name)
        clear_remains(desk, item)

    monkeypatch.setattr(Desk, "clear_remains", clear)
    return cleared


@pytest.mark.usefixtures("address")
def test_what_an_actor_had_in_hand_that_dies_is_made_again_and_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_ray, "MAX_RETRIES", 1)
    cleared = record_clearing(monkeypatch)
    mark = Path("killed").absolute()
    report = run_batch(plan_of("a", "b", "c", "d"), lambda _: Deadly("b", mark), ledger=LEDGER, engine=RayEngine("cpu"))
    assert mark.exists()
    assert statuses(report) == ["done"] * 4
    assert [Path(f"out/{name}.txt").read_text() for name in "abcd"] == ["A", "B", "C", "D"]
    assert [entry.status for entry in read_ledger(LEDGER).entries()] == ["done"] * 4
    assert hidden_files() == []
    assert "b" in cleared
    assert set(cleared) != set("abcd")

    # the local engine finds them all done, and the other way round an item that always kills fails by itself
    assert statuses(run_batch(plan_of("a", "b", "c", "d"), lambda _: Shouter(), ledger=LEDGER)) == ["done before"] * 4
    report = run_batch(plan_of("a", "x", "y"), lambda _: Deadly("x", None), ledger=LEDGER, engine=RayEngine("cpu"))
    assert statuses(report) == ["done before", "failed", "done"]
    assert "died, 2 times" in report.outcomes[1].error
    assert hidden_files() == []


class Stuck(Shouter):
    """Goes on slowly, step by step; then it hangs, or its process is stopped, once or every time."""

    def make(self, sample: dict[str, str]) -> dict[str, str]:
        text = sample["text"]
        if text == "slow":
            with output.progress("Denoising", 6) as advance:
                for _ in range(6):
                    time.sleep(1)
                    advance()
        if text in ("stopped", "hangs once") and not Path(text).exists():
            Path(text).touch()
            if text == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            output.status("reading the disk")
            time.sleep(3600)
        if text == "hangs":
            time.sleep(3600)
        return super().make(sample)


@pytest.mark.usefixtures("address")
def test_an_actor_that_says_nothing_new_is_ended_and_what_it_had_is_made_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COSMOS_TIMEOUT_S", "4")
    monkeypatch.setattr(on_ray, "MAX_RETRIES", 1)

    def load(_: Sequence[Any]) -> Shouter:
        time.sleep(6)  # a network that loads has more time
        return Stuck()

    plan = plan_of("a", "hangs once", "slow", "stopped", "hangs")
    report = run_batch(plan, load, ledger=LEDGER, engine=RayEngine("cpu", num_workers=3))
    assert statuses(report) == ["done"] * 4 + ["failed"]
    assert "died, 2 times" in report.outcomes[4].error
    assert "nothing new for 4 s" in report.outcomes[4].error
    assert "set COSMOS_TIMEOUT_S" in report.outcomes[4].error
    ended = [notice for notice in output.notices() if "is ended" in notice and "nothing new for 4 s" in notice]
    for name in ("hangs once", "stopped", "hangs"):
        assert any(name in notice for notice in ended), name
    assert sum("at 'reading the disk'" in notice for notice in ended) == 1
    assert hidden_files() == []
    wait_for_no_actors()


class Pair(Shouter):
    """A pipeline that two processes run together; to the second of them a text may bring bad luck."""

    def __init__(self) -> None:
        import torch

        from cosmos_cli.runtime.workers.team import Team

        super().__init__()
        self.team = Team.form(torch.device("cpu"), None, num_heads=2, num_items=9, guided=False)
        self._rank = torch.distributed.get_rank()

    def prepare(self, request: dict[str, str]) -> dict[str, str]:
        if self._rank and request["text"] == "unread":
            raise ValueError("one alone cannot read it")
        return request

    def make(self, sample: dict[str, str]) -> dict[str, str]:
        text = sample["text"]
        if text == "wrong":
            raise InputError("is wrong.")
        if self._rank and text == "killed" and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self._rank and text == "too large":
            raise OutOfMemory("no room.", fix="Make it smaller.")
        if self._rank and text == "large" and read_steps() == 0:
            raise OutOfMemory("no room.", fix="Start again.", below="less")
        import torch.distributed as dist

        together = [""] * 2
        dist.all_gather_object(together, text.upper(), group=self.team.circle)
        assert len(set(together)) == 1, "out of step"
        return {**sample, "text": f"{together[0]} {os.getpid()}"}


def made_by(name: str) -> str:
    """The process of the actor that made an item."""
    text, _, pid = Path(f"out/{name}.txt").read_text().rpartition(" ")
    assert text == name.upper()
    return pid


def pair() -> RayEngine:
    return RayEngine("cpu", num_workers=1, num_gpus=2)


@pytest.mark.usefixtures("address")
def test_a_group_makes_items_together_and_one_of_which_a_process_dies_is_made_by_another() -> None:
    report = run_batch(plan_of("a", "wrong", "killed", "b"), lambda _: Pair(), ledger=LEDGER, engine=pair())
    assert statuses(report) == ["done", "failed", "done", "done"]
    assert Path("killed").exists()
    assert made_by("a") != made_by("killed")
    assert "is wrong" in report.outcomes[1].error
    assert hidden_files() == []
    wait_for_no_actors()


@pytest.mark.slow
@pytest.mark.usefixtures("address")
def test_what_one_process_of_a_group_meets_alone_costs_no_more_than_the_item() -> None:
    def load(_: Sequence[Any]) -> Shouter:
        if not Path("on one node").exists():
            Path("on one node").touch(exist_ok=True)
            return Shouter()
        worker = Pair()
        if not worker.team.is_writer and not Path("on the other").exists():
            Path("on the other").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return worker

    report = run_batch(plan_of("unread", "a", "large", "too large", "b"), load, ledger=LEDGER, engine=pair())
    assert Path("on the other").exists()
    assert any("2 devices cannot share an item of this model" in notice for notice in output.notices())
    assert statuses(report) == ["failed", "done", "done", "failed", "done"]
    assert "rank 1: ValueError: one alone cannot read it" in report.outcomes[0].error
    assert "rank 1: no room" in report.outcomes[3].error
    assert hidden_files() == []
    wait_for_no_actors()


@pytest.mark.usefixtures("address")
def test_a_node_that_cannot_load_is_named_and_its_items_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Path("first").absolute()

    def load_but_once(_: Sequence[Any]) -> Shouter:
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            return Shouter()
        raise CheckpointError("the checkpoint folder is not there.")

    monkeypatch.setattr(on_ray, "torch_version", lambda: "1.13+cu117")
    report = run_batch(plan_of("a", "b", "c"), load_but_once, ledger=LEDGER, engine=RayEngine("cpu"))
    assert statuses(report) == ["done"] * 3
    assert any("and this machine 1.13: videos may differ" in notice for notice in output.notices())

    def load_never(_: Sequence[Any]) -> Shouter:
        raise CheckpointError("the checkpoint folder is not there.")

    with pytest.raises(CheckpointError, match="is not there"):
        run_batch(plan_of("x"), load_never, ledger=LEDGER, engine=RayEngine("cpu"))

    def refused(_: Sequence[Any]) -> Shouter:
        raise GuardrailBlocked("the prompt is refused.")

    report = run_batch(plan_of("y"), refused, ledger=LEDGER, engine=RayEngine("cpu"))
    assert statuses(report) == ["blocked"]


class OnFullDisk(Shouter):
    """Its disk is full wherever the mark is not there yet, or everywhere."""

    def __init__(self, mark: Path | None) -> None:
        super().__init__()
        self._is_full = mark is None
        if mark is not None:
            with contextlib.suppress(FileExistsError):
                mark.touch(exist_ok=False)
                self._is_full = True

    def write(self, made: dict[str, str]) -> Any:
        if self._is_full:
            raise DiskFull("did not fit on the disk.")
        return super().write(made)


@pytest.mark.usefixtures("address")
def test_a_node_whose_disk_is_full_costs_no_item_and_ends_the_batch_where_all_are() -> None:
    first = Path("first").absolute()
    texts = [f"{number}" for number in range(6)]
    report = run_batch(plan_of(*texts), lambda _: OnFullDisk(first), ledger=LEDGER, engine=RayEngine("cpu", 2))
    assert statuses(report) == ["done"] * 6
    assert any("no more is loaded on" in notice and "disk" in notice for notice in output.notices())
    with pytest.raises(DiskFull, match="did not fit"):
        run_batch(plan_of(*texts, "more"), lambda _: OnFullDisk(None), ledger=LEDGER, engine=RayEngine("cpu", 2))
    report = run_batch(plan_of(*texts, "more"), lambda _: Shouter(), ledger=LEDGER)
    assert statuses(report) == ["done before"] * 6 + ["done"]
    assert hidden_files() == []
    wait_for_no_actors()


class OnFakeGpu:
    """Loads on a GPU that is not there, and shows what Ray has given the process; others have filled the first one."""

    def __reduce__(self) -> tuple[Callable[[], OnFakeGpu], tuple[()]]:
        return with_fake_gpu, ()

    def __call__(self, _: Sequence[Any]) -> Shouter:
        import torch

        from cosmos_cli.runtime.memory.placement import plan_for_device
        from cosmos_cli.runtime.memory.residence import NetworkSize, Stage

        plan_for_device(torch.device("cuda", 0), None, [Stage("network", (NetworkSize(4 << 30),))])
        Path(f"loaded on {os.environ['CUDA_VISIBLE_DEVICES']}").touch()
        return Shouter()


def with_fake_gpu() -> OnFakeGpu:
    import torch

    def mem_get_info(device: torch.device) -> tuple[int, int]:
        try:
            Path("full").touch(exist_ok=False)
        except FileExistsError:
            return 60 << 30, 80 << 30
        return 2 << 30, 80 << 30

    cuda: Any = torch.cuda
    cuda.is_available, cuda.current_device = (lambda: True), (lambda: 0)
    cuda.mem_get_info, cuda.memory_reserved = mem_get_info, lambda device: 0
    return OnFakeGpu()


@pytest.mark.slow
def test_a_gpu_that_others_fill_is_named_and_its_items_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(2, num_gpus=1)
    try:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        report = run_batch(plan_of("a", "b", "c"), OnFakeGpu(), ledger=LEDGER, engine=RayEngine("auto"))
    finally:
        nodes.shutdown()
    assert statuses(report) == ["done"] * 3
    assert Path("full").exists()
    assert Path("loaded on 0").exists()
    [told] = [notice for notice in output.notices() if "no more is loaded on" in notice]
    assert "the GPU has 2.0 GiB of 80.0 GiB free, and about 5.0 GiB are needed: others use it" in told


@pytest.mark.usefixtures("address")
def test_one_actor_that_cannot_load_costs_the_others_of_its_node_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Sequence[Any]) -> Shouter:
        node = ray.get_runtime_context().get_node_id()
        try:
            Path(f"full on {node}").touch(exist_ok=False)
        except FileExistsError:
            time.sleep(3)  # until the driver knows
            return Shouter()
        raise RuntimeError("CUDA out of memory")

    cleared = record_clearing(monkeypatch)
    plan = plan_of("a", "b", "c", "d")
    report = run_batch(plan, load, ledger=LEDGER, engine=RayEngine("cpu", num_workers=2 * NUM_NODES))
    assert statuses(report) == ["done"] * 4
    assert len(list(Path().glob("full on *"))) == NUM_NODES
    assert not cleared


@pytest.mark.usefixtures("address")
def test_a_node_whose_guardrails_fail_later_does_not_block_what_others_make() -> None:
    def load(_: Sequence[Any]) -> Shouter:
        try:
            Path("first").touch(exist_ok=False)
        except FileExistsError:
            wait_for_file(Path("out/a.txt"))
            Path("refused").touch()
            raise GuardrailBlocked("a guardrail cannot be imported here.") from None
        return Shouter(make_hook=make)

    def make(text: str) -> None:
        if text == "c":
            wait_for_file(Path("refused"))
            time.sleep(3)  # until the driver knows

    def wait_for_file(path: Path) -> None:
        while not path.exists():
            time.sleep(0.1)

    report = run_batch(plan_of("a", "b", "c"), load, ledger=LEDGER, engine=RayEngine("cpu"))
    assert Path("refused").exists()
    assert statuses(report) == ["done"] * 3


@pytest.mark.parametrize(
    ("num_cores", "num_cpus", "num_processes", "expected"),
    [(64, 64, 1, None), (64, 64, 8, 8), (4, 4, 8, 1), (64, 16, 1, 16), (64, 16, 4, 4), (8, 0, 2, 4)],
)
def test_an_actor_takes_its_share_of_the_cores_of_its_own_node(
    monkeypatch: pytest.MonkeyPatch, num_cores: int, num_cpus: int, num_processes: int, expected: int | None
) -> None:
    monkeypatch.setattr("cosmos_cli.batch.ray.actor.num_cores", lambda: num_cores)
    assert Surroundings.here(num_processes, num_cpus, memory_steps=0).num_threads == expected


def test_an_actor_for_a_gpu_that_is_not_to_be_seen_makes_nothing_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device is visible"):
        Group(1).load(lambda _: Shouter(), [], "cuda")


@pytest.mark.usefixtures("address")
def test_a_cluster_that_cannot_do_it_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("a")
    with pytest.raises(InputError, match="no node of the Ray cluster has one"):
        run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cuda"))
    with pytest.raises(InputError, match=r"asks for 2 GPUs, but no node.*--device cpu"):
        run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("auto", num_gpus=2))
    with pytest.raises(InputError, match=r"asks for 3 CPUs.*more than 2. Pass --num-gpus 2 or less, or add larger"):
        run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cpu", num_gpus=3))
    with monkeypatch.context() as patched:
        patched.setattr(ray, "__version__", "1.0.0")
        with pytest.raises(InputError, match="is of another version"):
            run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cpu"))
    assert not Path("out/a.txt").exists()


def test_no_cluster_and_no_ray_are_errors_that_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("a")
    for wrong, told in (("127.0.0.1:9", "cannot be reached"), ("ray://there:10001", "not the address of a cluster")):
        monkeypatch.setenv("RAY_ADDRESS", wrong)
        with pytest.raises(InputError, match=told):
            run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cpu"))
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray sets it for all that follows
    with monkeypatch.context() as patched, pytest.raises(CosmosError, match="Ray cannot be started on this machine"):
        patched.setenv("RAY_TMPDIR", "/proc/none")
        run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cpu"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'pip install "cosmos-cli\[ray\]"'):
        run_batch(plan, lambda _: Shouter(), ledger=LEDGER, engine=RayEngine("cpu"))


def test_a_head_that_answers_no_more_ends_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps whoever asks waiting, and ends the process after a minute."""
    monkeypatch.setattr(cluster, "_LOOK_S", 0.02)
    monkeypatch.setattr(cluster, "_LOST_S", 0.5)
    is_gone, is_over = threading.Event(), threading.Event()

    monkeypatch.setattr(cluster, "_connected", lambda _: None)

    class Head:
        def nodes(self) -> list[dict[str, Any]]:
            if is_gone.is_set():
                is_over.wait()
            return [{"Alive": True, "NodeID": "0" * 8, "NodeManagerHostname": "a", "Resources": {"CPU": 2.0}}]

    roster = cluster.Roster(Head(), "CPU", 1)

    def look(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert [node.room for node in roster.nodes()] == [2]
            time.sleep(0.01)

    look(1)
    is_gone.set()
    try:
        with pytest.raises(CosmosError, match="has not answered"):
            look(60)
    finally:
        roster.end()
        is_over.set()


ACTOR, MATE = b"ray::Actor", b"cosmos_cli.batch.ray.mate"


def start(*more: str, engine: str = "ray") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cosmos_cli", *LINE, *WHERE, "--engine", engine, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def take_videos() -> dict[str, bytes]:
    """What was made, which goes with its ledger."""
    videos = {path.name: path.read_bytes() for path in Path("out").glob("*.mp4")}
    shutil.rmtree("out")
    return videos


def num_done() -> int:
    with contextlib.suppress(FileNotFoundError):
        return Path("out/rows.ledger.jsonl").read_text().count('"status": "done"')
    return 0


def actors(what: bytes = b"") -> list[int]:
    """Processes that make videos of this batch: actors, and those that work along with them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if (process / "cwd").readlink() == Path.cwd() and any(name in command for name in (ACTOR, MATE)):
                found += [int(process.name)] if what in command else []
    return found


def wait_for_no_actors() -> None:
    end = time.monotonic() + 60
    while actors():
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout_s: float = 900) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("address")
def test_the_best_of_several_is_the_same_wherever_they_were_made(
    cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_rows(1)
    line = ("predict2", "best-of-n", "--input-path", "picture.png", "--prompt", "It drifts.", "--model", "tiny")
    line += ("--num-frames", "5", "--num-steps", "2", "--device", "cpu", "--json", "--save-path")
    local = cosmos(*line, "local", "--num-generations", "3")
    on_ray = [cosmos(*line, "ray", "--num-generations", number, "--engine", "ray") for number in ("2", "3")]
    assert [result.exit_code for result in on_ray] == [0, 0]
    assert [each["status"] for each in on_ray[1].json["generations"]] == ["done before", "done before", "done"]
    again = cosmos(*line, "ray", "--num-generations", "3", "--engine", "ray", "--overwrite")
    for result in (on_ray[1], again):
        assert ranked(result) == ranked(local)
    assert {path.name: path.read_bytes() for path in Path("ray").glob("*.mp4")} == {
        path.name: path.read_bytes() for path in Path("local").glob("*.mp4")
    }
    assert hidden_files("ray") == []
    refused = cosmos(*line, "ray", "--skip-generation", "--num-workers", "2")
    assert refused.exit_code == 2


def ranked(result: CommandResult) -> list[tuple[str, float]]:
    return [(Path(video["video"]).name, video["score"]) for video in result.json["videos"]]


@pytest.mark.slow
@pytest.mark.usefixtures("address")
def test_a_group_makes_the_videos_of_the_local_engine_and_ends_with_its_actor(
    cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_rows(6)
    shared = ("--num-gpus", "2", "--parallel", "cp=2")
    local = start(*shared, engine="local")
    said = local.communicate()[0]
    assert local.returncode == 0, said
    expected = take_videos()
    assert len(expected) == 6
    assert cosmos(*LINE, *WHERE).exit_code == 0
    assert take_videos() == expected
    on_ray = start(*shared, "--num-workers", "1")
    wait_for(lambda: num_done() > 0, on_ray)
    os.kill(actors(ACTOR)[0], signal.SIGKILL)
    said = on_ray.communicate()[0]
    assert on_ray.returncode == 0, said
    assert "lost an actor" in said
    wait_for_no_actors()
    assert hidden_files() == []
    assert take_videos() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "told"), [("raylet", "Ray has ended on this machine"), ("gcs_server", "has not answered for 20 s")]
)
def test_when_ray_itself_is_killed_the_command_ends_in_words(
    monkeypatch: pytest.MonkeyPatch, service: str, told: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it keeps a token in the home folder
    write_rows(400)  # more than actors make before anybody is missed
    batch = start()
    wait_for(lambda: num_done() > 0, batch)
    for child in Path(f"/proc/{batch.pid}/task/{batch.pid}/children").read_text().split():
        if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0].endswith(f"/{service}".encode()):
            os.kill(int(child), signal.SIGKILL)
    said = batch.communicate()[0]
    assert batch.returncode == 1, said
    assert told in " ".join(said.split())
    wait_for_no_actors()


@pytest.mark.slow
def test_nodes_and_the_driver_may_be_killed_at_any_moment(cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 items on three nodes; five nodes are killed meanwhile, the driver is killed once, and stopped once."""
    num_rows, draw = 24, random.Random(0)
    write_rows(num_rows)
    assert cosmos(*LINE, *WHERE).exit_code == 0
    expected = take_videos()
    assert len(expected) == num_rows
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    nodes = Nodes(3)
    try:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        first = start()
        wait_for(lambda: is_in_use(Path("out/rows.ledger.jsonl")), first)
        second = start()
        assert "another process works on this batch" in " ".join(second.communicate()[0].split())
        assert second.returncode == 2
        dead = draw.sample(range(3), 2)
        for number in dead:
            done = num_done()
            wait_for(lambda done=done: num_done() > done, first)  # type: ignore[misc]
            time.sleep(draw.random() / 3)
            nodes.kill(number)
        first.kill()
        first.wait()
        assert 0 < num_done() < num_rows
        for number in dead:
            nodes.add(number)
        # a signal leaves no actor behind
        wait_for_no_actors()
        stopped = start()
        wait_for(lambda: bool(actors()), stopped)
        stopped.terminate()
        assert "Traceback" not in stopped.communicate()[0]
        assert stopped.returncode == 130
        wait_for_no_actors()
        again = start()
        for _ in range(3):
            time.sleep(draw.random())
            done = num_done()
            wait_for(lambda done=done: num_done() > done or again.poll() is not None, again)  # type: ignore[misc]
            number = draw.randrange(3)
            nodes.kill(number)
            nodes.add(number)
        said = again.communicate()[0]
        assert again.returncode == 0, said
        lines = [json.loads(line) for line in Path("out/rows.ledger.jsonl").read_text().splitlines()]
        made = Counter(line["name"] for line in lines if line.get("status") == "done")
        assert set(made.values()) == {1}, "one was made twice"
    finally:
        nodes.shutdown()
    assert {path.name: path.read_bytes() for path in Path("out").glob("*.mp4")} == expected
    assert hidden_files() == []
    entries = read_ledger(Path("out/rows.ledger.jsonl")).entries()
    # the last word of an item whose driver was killed between its names and that line
    assert len(entries) == num_rows and {entry.status for entry in entries} <= {"done", "written"}
