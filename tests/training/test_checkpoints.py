"""Checkpoints to resume from: whole or not there, for any number of ranks, and of the same run."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from cosmos_cli.checkpoints.distributed_layout import LAYOUT
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError, CosmosError, DiskFull, InputError
from cosmos_cli.training import job_folder
from cosmos_cli.training.checkpoints import Checkpoints, load_checkpoint, model_tensors, optimizer_tensors
from cosmos_cli.training.job_folder import POINTER, iteration_name
from tests.processes import run_together


class Net(nn.Module):
    """Two blocks, one of a width that two ranks cannot share evenly, and a scalar."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, width), nn.Linear(width, 3)])
        self.scale = nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("seq", torch.arange(7))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x).relu()) * self.scale


class Run:
    """A network, its average and its optimizer; a step is the same on every rank."""

    def __init__(self, seed: int = 0, width: int = 5, *, shard: bool = False) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            self.networks = nn.ModuleDict({"net": Net(width)})
            if shard:
                for block in self.networks["net"].blocks:
                    fully_shard(block)
                fully_shard(self.networks["net"])
            self.ema = {name: tensor.clone() for name, tensor in model_tensors(self.networks).items()}
            self.optimizer = torch.optim.AdamW(self.networks.parameters(), lr=0.1)

    def step(self, number: int) -> float:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.randn(2, 4, generator=torch.Generator().manual_seed(number))
            loss = self.networks["net"](x).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            for name, tensor in model_tensors(self.networks).items():
                if tensor.is_floating_point():
                    self.ema[name].lerp_(tensor, 0.5)
        return float(loss.detach())

    def state(self) -> dict[str, dict[str, Tensor]]:
        moments = optimizer_tensors(self.optimizer, self.networks.named_parameters())
        return {"model": model_tensors(self.networks), "ema": self.ema, "optimizer": moments}

    def whole(self) -> dict[str, Tensor]:
        tensors = {f"{group}.{name}": tensor for group, part in self.state().items() for name, tensor in part.items()}
        return {
            name: (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()
            for name, tensor in tensors.items()
        }


def assert_same(have: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert have.keys() == want.keys()
    for name in want:
        assert torch.equal(have[name], want[name]), name


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in {".lock", "here"})


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    run = Run()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() is None
        for number in range(3):
            run.step(number)
        checkpoints.save(3, run.state(), {"iteration": 3, "norms": [0.5, None]})
        losses = [run.step(number) for number in range(3, 6)]  # while it is being written
    other = Run(seed=1)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        assert checkpoints.load(other.state()) == {"iteration": 3, "norms": [0.5, None]}
    assert [other.step(number) for number in range(3, 6)] == losses
    assert_same(other.whole(), run.whole())


def test_a_run_without_a_step_yet_can_be_saved(tmp_path: Path) -> None:
    run, other = Run(), Run(seed=1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, run.state(), {})
        checkpoints.wait()
        checkpoints.load(other.state())
    assert [run.step(0), run.step(1)] == [other.step(0), other.step(1)]


def test_asynchronous_is_synchronous_and_holds_one_copy(tmp_path: Path) -> None:
    run, saved, before = Run(), [], set()
    with Checkpoints(tmp_path / "a") as later, Checkpoints(tmp_path / "s", asynchronous=False) as now:
        for number in range(3):
            run.step(number)
            now.save(number, run.state(), {})
            later.save(number, run.state(), {})
            saved.append(run.whole())
            places = {tensor.data_ptr() for part in later._staged.values() for tensor in part.values()}
            assert number == 0 or places == before
            before = places
    for folder in (tmp_path / "a", tmp_path / "s"):
        for number in (1, 2):
            other = Run(seed=1)
            load_checkpoint(folder / iteration_name(number), other.state())
            assert_same(other.whole(), saved[number])


def test_the_last_ones_stay_and_the_pointer_names_the_last(tmp_path: Path) -> None:
    run = Run()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for number in (1, 2, 3, 4):
            checkpoints.save(number, run.state(), {})
    assert contents(tmp_path) == ["iter_000000003", "iter_000000004", POINTER]
    assert (tmp_path / POINTER).read_text() == "iter_000000004\n"


def test_old_ones_go_only_after_the_pointer_names_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, order = Run(), []
    for name in ("publish", "point_to", "remove"):
        real = getattr(job_folder, name)
        monkeypatch.setattr(job_folder, name, lambda *given, n=name, r=real, **k: (order.append(n), r(*given, **k)))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, run.state(), {})
        checkpoints.save(2, run.state(), {})
    assert order == ["publish", "point_to", "publish", "point_to", "remove"]


def test_without_a_pointer_the_last_complete_one_counts(tmp_path: Path) -> None:
    run = Run()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run.state(), {})
        checkpoints.save(2, run.state(), {})
    (tmp_path / POINTER).unlink()
    (tmp_path / "iter_000000002" / ".metadata").unlink()
    assert job_folder.latest(tmp_path) == 1
    (tmp_path / POINTER).write_text("iter_000000002\n")
    with pytest.raises(CheckpointError, match="there are: iter_000000001"):
        job_folder.latest(tmp_path)
    (tmp_path / POINTER).write_text("iter_000000400.pt\n")
    with pytest.raises(InputError, match=r"load_path=.*iter_000000400\.pt"):
        job_folder.latest(tmp_path)


def test_leftovers_of_killed_runs_go_when_a_run_begins_and_nothing_else_does(tmp_path: Path) -> None:
    for name in (".iter_000000007.0123abcd.partial", ".iter_000000002.0123abcd.old", "mine", "iter_000000001"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__0_0.distcp").write_bytes(b"half")
    (tmp_path / "iter_000000001_ema_model.pt").touch()
    with Checkpoints(tmp_path):
        assert contents(tmp_path) == ["iter_000000001", "iter_000000001_ema_model.pt", "mine"]


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    another = pytest.raises(InputError, match="another run")
    with Checkpoints(tmp_path), another, job_folder.claimed(tmp_path, wait_s=0.3):
        pass
    with job_folder.claimed(tmp_path, wait_s=0):
        pass


def test_another_architecture_is_refused_with_all_that_differs_and_changes_nothing(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, Run().state(), {})
        checkpoints.wait()
        other = Run(width=6)
        other.networks["logvar"] = nn.Linear(2, 1)
        other.optimizer.add_param_group({"params": list(other.networks["logvar"].parameters())})
        before = other.whole()
        with pytest.raises(CheckpointError) as caught:
            checkpoints.load(other.state())
    text = str(caught.value)
    assert "model.net.blocks.0.weight [5, 4], should be [6, 4]" in text
    assert "model.net.blocks.1.weight [3, 5], should be [3, 6]" in text
    assert "model.logvar.weight [1, 2]" in text
    assert "model.logvar.bias [1]" in text
    assert_same(other.whole(), before)


def test_names_of_many_blocks_are_listed_as_one(tmp_path: Path) -> None:
    def state(width: int) -> dict[str, dict[str, Tensor]]:
        return {"model": {f"net.blocks.{number}.q.weight": torch.zeros(width) for number in range(40)}}

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(2), {})
        checkpoints.wait()
        with pytest.raises(CheckpointError) as caught:
            checkpoints.load(state(3))
    assert "40 of another shape:\n  model.net.blocks.*.q.weight [2], should be [3] (40 times)" in str(caught.value)


@pytest.mark.parametrize("damage", ["truncate", "pickle", "elsewhere", "layout"])
def test_a_damaged_checkpoint_is_refused_and_runs_nothing(tmp_path: Path, damage: str) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, Run().state(), {})
    folder = tmp_path / iteration_name(1)
    if damage == "truncate":
        os.truncate(folder / "__0_0.distcp", 100)
    if damage == "pickle":
        (folder / ".metadata").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
        piece = b"cos\nsystem\n(S'touch owned'\ntR."
        (folder / "__0_0.distcp").write_bytes(piece * 2000)
    if damage == "elsewhere":
        (tmp_path / "elsewhere").touch()
        layout = (folder / LAYOUT).read_text()
        (folder / LAYOUT).write_text(layout.replace("__0_0.distcp", "../elsewhere"))
    if damage == "layout":
        (folder / LAYOUT).write_text("[]")
    with pytest.raises(CheckpointError):
        load_checkpoint(folder, Run().state())
    assert not Path("owned").exists()


def test_the_folder_itself_is_a_checkpoint_for_inference(tmp_path: Path) -> None:
    run = Run()
    run.step(0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run.state(), {})
    whole = run.whole()
    for wrapper in ("model", "ema"):
        with open_checkpoint(tmp_path / iteration_name(1), (wrapper,)) as checkpoint:
            assert torch.equal(checkpoint.tensor("net.blocks.0.weight"), whole[f"{wrapper}.net.blocks.0.weight"])


def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    run = Run()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run.state(), {})
        checkpoints.wait()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
        try:
            checkpoints.save(2, run.state(), {})
            with pytest.raises(DiskFull, match="iter_000000002"):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert contents(tmp_path) == ["iter_000000001", POINTER]
        checkpoints.save(3, run.state(), {})
    assert job_folder.latest(tmp_path) == 3


# several ranks


def _train(folder: str, steps: int, resume: bool) -> dict[str, Tensor]:
    run = Run(seed=int(resume), shard=True)
    with torch.inference_mode(False), Checkpoints(Path(folder)) as checkpoints:
        first = 0
        if resume:
            first = checkpoints.load(run.state())["iteration"]
        for number in range(first, first + steps):
            run.step(number)
        checkpoints.save(first + steps, run.state(), {"iteration": first + steps})
        checkpoints.wait()
        return run.whole()


def _alone(folder: Path, steps: int) -> dict[str, Tensor]:
    run = Run(seed=1)
    with Checkpoints(folder) as checkpoints:
        first = checkpoints.load(run.state())["iteration"]
        loaded = run.whole()
        for number in range(first, first + steps):
            run.step(number)
        checkpoints.save(first + steps, run.state(), {"iteration": first + steps})
    return loaded


def test_two_ranks_and_one_resume_each_others_runs(tmp_path: Path) -> None:
    folder, talk = tmp_path / "checkpoints", [tmp_path / name for name in "ab"]
    for each in talk:
        each.mkdir()
    one, other = run_together(2, partial(_train, str(folder), 3, False), talk[0])
    assert_same(one, other)
    assert len(list((folder / iteration_name(3)).glob("*.distcp"))) == 2
    assert_same(_alone(folder, 2), one)
    both, _ = run_together(2, partial(_train, str(folder), 1, True), talk[1])
    undisturbed = Run()
    for number in range(6):
        undisturbed.step(number)
    want = undisturbed.whole()
    for name, tensor in both.items():
        torch.testing.assert_close(tensor, want[name], atol=1e-5, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


def _fail(folder: str) -> list[str]:
    import torch.distributed as dist

    run, said = Run(shard=True), []
    with torch.inference_mode(False), Checkpoints(Path(folder)) as checkpoints:
        checkpoints.save(1, run.state(), {})
        checkpoints.wait()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if dist.get_rank() == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        checkpoints.save(2, run.state(), {})
        try:
            checkpoints.wait()
        except CosmosError as error:
            said.append(f"{error.title}: {error}")
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        checkpoints.save(3, run.state(), {})
    return said


def test_a_disk_that_is_full_on_one_rank_is_told_on_all_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    for said in run_together(2, partial(_fail, str(tmp_path / "checkpoints")), tmp_path / "talk"):
        assert len(said) == 1
        assert said[0].startswith(DiskFull.title)
    assert contents(tmp_path / "checkpoints") == ["iter_000000001", "iter_000000003", POINTER]


# killed at any moment

SAVER = """
import sys
from pathlib import Path
import torch
from cosmos_cli.training.checkpoints import Checkpoints
torch.set_num_threads(1)
with Checkpoints(Path("checkpoints"), keep=2) as checkpoints:
    first = checkpoints.latest() or 0
    state = {"model": {f"net.{i}": torch.zeros(5000) for i in range(20)}}
    if first:
        assert checkpoints.load(state) == {"iteration": first}
        assert all(bool((tensor == first).all()) for tensor in state["model"].values())
    for number in range(first + 1, 100000):
        for tensor in state["model"].values():
            tensor.fill_(number)
        checkpoints.save(number, state, {"iteration": number})
        print(number, flush=True)
"""


def test_a_run_killed_at_any_moment_leaves_a_complete_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chance, former = random.Random(7), 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SAVER], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = int(process.stdout.readline())
        time.sleep(chance.uniform(0.05, 0.4))
        process.send_signal(signal.SIGKILL)
        told = int(([str(told), *process.stdout.read().split()])[-1])
        process.wait()
        latest = job_folder.latest(tmp_path / "checkpoints")
        assert latest is not None
        assert latest >= max(former, told - 1)  # `save` has waited for the one before
        former = latest
        state = {"model": {f"net.{i}": torch.zeros(5000) for i in range(20)}}
        load_checkpoint(tmp_path / "checkpoints" / iteration_name(latest), state)
        assert all(bool((tensor == latest).all()) for tensor in state["model"].values())
    shutil.rmtree(tmp_path / "checkpoints")


def recipe(**changes: Any) -> Any:
    from cosmos_cli.training.recipe import Recipe

    parts: dict[str, Any] = {
        "task": "a:b",
        "job": {"group": "g", "name": "n"},
        "model": {"size": "tiny"},
        "data": {"num_frames": 9, "height": 32, "width": 32},
        "trainer": {"max_iter": 10},
    }
    for name, value in changes.items():
        part, _, field = name.partition("__")
        parts[part] = {**parts.get(part, {}), field: value}
    return Recipe.model_validate(parts)


def test_a_folder_of_another_run_is_refused_and_says_in_what_it_differs(tmp_path: Path) -> None:
    job = job_folder.job_folder(tmp_path, recipe().job)
    job_folder.write_recipe(job, recipe())
    job_folder.check_same_run(job, recipe(model__size="7B"))  # nothing was saved yet
    with Checkpoints(job / "checkpoints") as checkpoints:
        checkpoints.save(1, {"model": {"a": torch.zeros(1)}}, {})
    job_folder.check_same_run(job, recipe(trainer__max_iter=20, checkpoint__save_iter=3, log__tensorboard=True))
    with pytest.raises(InputError) as caught:
        job_folder.check_same_run(job, recipe(model__size="7B", data__num_frames=17, optimizer__lr=0.5))
    assert [problem.what for problem in caught.value.problems[1:]] == [
        "data.num_frames is 17, and was 9.",
        'model.size is "7B", and was "tiny".',
    ]
    assert "job.name" in str(caught.value)


def test_room_is_asked_for_before_a_run_begins(tmp_path: Path) -> None:
    asked = recipe(trainer__max_iter=100, checkpoint__save_iter=50)
    # two checkpoints of 16 bytes a parameter, and two exports of 2 and 4
    assert job_folder.needed_bytes(asked, num_parameters=1000, num_trained=1000) == 2 * 16_000 + 2 * 6_000
    assert job_folder.needed_bytes(asked, num_parameters=1000, num_trained=1000, begin=50) == 16_000 + 6_000
    job_folder.check_room(tmp_path / "not" / "there", 1000)
    with pytest.raises(InputError, match="GB free"):
        job_folder.check_room(tmp_path, 1 << 60)
    assert json.loads(json.dumps(job_folder.recorded(asked)))["trainer"]["max_iter"] == 100


def test_pieces_that_other_machines_kept_to_themselves_are_missed(tmp_path: Path) -> None:
    from cosmos_cli.training import checkpoints as module

    place = tmp_path / ".iter_000000001.0123abcd.partial"
    metadata = module._save({"model": {"a": torch.zeros(3)}}, place, None)
    module._check_is_whole(place, metadata)
    os.truncate(place / "__0_0.distcp", 10)
    with pytest.raises(CosmosError, match="1 of 1 files"):
        module._check_is_whole(place, metadata)
    (place / "__0_0.distcp").unlink()
    with pytest.raises(CosmosError, match="all machines share"):
        module._check_is_whole(place, metadata)


def test_the_folder_of_a_run_may_be_named_and_moved(tmp_path: Path) -> None:
    named = recipe().model_copy(update={"job": recipe().job.model_copy(update={"folder": "runs/mine"})})
    job = job_folder.job_folder(tmp_path, named.job)
    assert job == tmp_path / "runs/mine"
    (job / job_folder.CHECKPOINTS / "iter_000000003").mkdir(parents=True)
    for name in (job_folder.STATE, ".metadata"):
        (job / job_folder.CHECKPOINTS / "iter_000000003" / name).touch()
    job_folder.write_recipe(job, named)
    moved = named.model_copy(update={"job": named.job.model_copy(update={"folder": str(job)})})
    assert job_folder.job_folder(Path("elsewhere"), moved.job) == job
    job_folder.check_same_run(job, moved)
