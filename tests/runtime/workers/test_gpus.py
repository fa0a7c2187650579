"""One GPU for every worker: its own, found once, and none that another has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.devices import choose_device
from cosmos_cli.runtime.memory.limit import limit_device
from cosmos_cli.runtime.workers.layout import Layout
from cosmos_cli.runtime.workers.mesh import make_mesh
from cosmos_cli.runtime.workers.rank import Rank
from cosmos_cli.runtime.workers.worker import DEFAULT_TIMEOUT_S, check_own_gpu, joined
from cosmos_cli.testing import CommandResult
from tests.fake_driver import FakeDriver
from tests.fake_nvidia_smi import A100, SECOND_A100, SLICED, FakeCard, install_driver
from tests.processes import run_together

UUIDS = ["a", "b", "c"]


def worker(local_rank: int, launcher: str = "torchrun") -> Rank:
    return Rank(local_rank, 2, local_rank, "localhost", 29500, launcher)


@pytest.fixture
def joins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backends of the groups that were joined, each of this process alone, which knows no NCCL."""
    backends: list[str] = []

    def gather(gathered: list[Any], own: Any, **_: Any) -> None:
        gathered[:] = [own, f"not {own}"]

    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: backends.append(backend))
    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for name in ("barrier", "destroy_process_group"):
        monkeypatch.setattr(dist, name, lambda: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # put back afterwards
    return backends


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_worker_computes_on_its_own_gpu_wherever_the_device_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, joins: list[str], device: str
) -> None:
    driver = FakeDriver(monkeypatch, UUIDS)
    meshes: list[Any] = []
    monkeypatch.setattr(
        "cosmos_cli.runtime.workers.mesh.init_device_mesh", lambda *given, **_: meshes.append(given[:2])
    )
    with joined(worker(local_rank=1), device):
        own = choose_device(device)
        assert own == torch.device("cuda", 1)
        # all that PyTorch refuses for a device without a number
        make_mesh(Layout(cp=2), own)
        limit_device(own, 40 << 30)
    assert joins == ["cpu:gloo,cuda:nccl"]
    assert meshes == [("cuda", (1, 1, 2))]
    assert driver.limits == {1: 0.5}


def test_a_worker_that_is_shown_one_gpu_takes_it(monkeypatch: pytest.MonkeyPatch, joins: list[str]) -> None:
    driver = FakeDriver(monkeypatch, ["its own"])
    with joined(worker(local_rank=1, launcher="Slurm"), "cuda"):
        assert driver.current() == 0


def test_more_workers_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, joins: list[str]) -> None:
    FakeDriver(monkeypatch, ["a", "b"])
    told = "started more workers on this machine than it has GPUs, which are 2"
    with pytest.raises(InputError, match=told), joined(worker(local_rank=2), "cuda"):
        pytest.fail("joined")


def test_a_worker_whose_pytorch_sees_no_gpu_does_not_compute_on_the_cpu_unasked(
    monkeypatch: pytest.MonkeyPatch, joins: list[str]
) -> None:
    FakeDriver(monkeypatch, [])
    with pytest.raises(InputError, match=r"PyTorch sees no GPU.*--device cpu"), joined(worker(local_rank=0), "auto"):
        pytest.fail("joined")
    with joined(worker(local_rank=0), "cpu"):
        assert joins == ["gloo"]


@pytest.mark.usefixtures("joins")
def test_a_place_to_meet_is_as_patient_as_those_who_meet_there() -> None:
    store = dist.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    with joined(worker(local_rank=0, launcher="Ray"), "cpu", store):
        assert store.timeout.total_seconds() > DEFAULT_TIMEOUT_S


def test_barriers_and_messages_of_workers_on_gpus_go_through_gloo() -> None:
    from torch.testing._internal.distributed import fake_pg  # noqa: F401  # registers what stands for NCCL

    dist.init_process_group("cpu:gloo,cuda:fake", rank=0, world_size=1, store=dist.HashStore())
    try:
        # barriers ask the same
        assert dist.distributed_c10d._get_object_coll_device(dist.group.WORLD) == "cpu"
    finally:
        dist.destroy_process_group()


def refusal(uuids: list[str]) -> str:
    """What a worker says that sees one GPU, of those of all workers."""
    rank = dist.get_rank()
    with pytest.MonkeyPatch.context() as monkeypatch:
        FakeDriver(monkeypatch, [uuids[rank]])
        try:
            check_own_gpu(worker(rank), 0)
        except InputError as error:
            return str(error)
    return ""


def test_two_workers_on_one_gpu_are_refused_both_unless_each_sees_its_own(tmp_path: Path) -> None:
    for uuids in (["a", "a"], ["a", "b"]):
        folder = tmp_path / "".join(uuids)
        folder.mkdir()
        messages = run_together(2, partial(refusal, uuids), folder)
        told = ["torchrun shows one GPU to several of its 2 workers" in message for message in messages]
        assert told == [uuids[0] == uuids[1]] * 2, messages


@pytest.mark.parametrize(
    ("cards", "visible", "told", "way_out"),
    [
        ([], None, "this machine shows 0.", "pass --device cpu"),
        ([A100], None, "this machine shows 1.", "as many as there are"),
        ([A100, SECOND_A100], "1", "this machine shows 1 (CUDA_VISIBLE_DEVICES=1).", "as many as there are"),
        ([A100, SECOND_A100], "0,0", "this machine shows 0 (CUDA_VISIBLE_DEVICES=0,0).", "pass --device cpu"),
        ([A100, SECOND_A100], "", "this machine shows 0 (CUDA_VISIBLE_DEVICES=).", "pass --device cpu"),
        ([SLICED], None, "this machine shows 1.", "as many as there are"),
    ],
)
def test_fewer_gpus_than_are_asked_for_are_refused_before_workers_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cosmos: Callable[..., CommandResult],
    cards: list[FakeCard],
    visible: str | None,
    told: str,
    way_out: str,
) -> None:
    install_driver(tmp_path, monkeypatch, cards)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("cosmos_cli.runtime.machine._torch_has_cuda", lambda: True)
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch._run_workers", lambda _: pytest.fail("started"))
    line = ("predict2", "text2image", "--model", "tiny", "--prompt", "A bus.")
    result = cosmos(*line, "--num-gpus", 2, "--json")
    assert result.exit_code == 2
    [problem] = result.json["problems"]
    assert problem["where"] == "--num-gpus"
    assert told in problem["what"]
    assert way_out in problem["fix"]


def test_gpus_that_this_pytorch_cannot_use_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosmos: Callable[..., CommandResult]
) -> None:
    install_driver(tmp_path, monkeypatch, [A100, SECOND_A100])
    monkeypatch.setattr("cosmos_cli.runtime.machine._torch_has_cuda", lambda: False)
    result = cosmos("predict2", "text2image", "--model", "tiny", "--prompt", "A bus.", "--num-gpus", 2, "--json")
    assert (result.exit_code, "this machine shows 0" in result.json["problems"][0]["what"]) == (2, True)
