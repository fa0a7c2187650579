"""Which GPUs CUDA would count, for all that its variables and the driver may say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cosmos_cli.runtime.gpus import Gpu, find_gpus
from cosmos_cli.runtime.host import host_memory
from cosmos_cli.runtime.machine import find_machine
from tests.fake_nvidia_smi import A100, SECOND_A100, SLICED, T400, FakeCard, install_driver

FIRST, SECOND, SMALL = "A100, 80000", "A100, 1000", "T400, 1900"
HALF, SEVENTH = "A100 MIG 3g.40gb, 40150", "A100 MIG 1g.10gb, 9700"


def told(gpus: Sequence[Gpu]) -> list[str]:
    """Name and free MiB of each."""
    short = [gpu.name.replace("NVIDIA ", "").replace("-SXM4-80GB", "") for gpu in gpus]
    return [f"{name}, {gpu.free_bytes >> 20}" for name, gpu in zip(short, gpus, strict=True)]


EQUAL, MIXED, SPLIT = [A100, SECOND_A100], [T400, A100], [A100, SLICED]

TABLE = {
    # whole cards of one kind
    "all": (EQUAL, None, [FIRST, SECOND]),
    "none": (EQUAL, "", []),
    "minus one": (EQUAL, "-1", []),
    "as Slurm says none": (EQUAL, "NoDevFiles", []),
    "another order": (EQUAL, "1,0", [SECOND, FIRST]),
    "spaces": (EQUAL, " 1 , 0 ", [SECOND, FIRST]),
    "unknown after known": (EQUAL, "1,7,0", [SECOND]),
    "minus one after known": (EQUAL, "1,-1,0", [SECOND]),
    "nothing after known": (EQUAL, "1,,0", [SECOND]),
    "unknown first": (EQUAL, "7,0", []),
    "one twice": (EQUAL, "0,0", []),
    "one twice after another": (EQUAL, "1,0,1", []),
    "digits with more": (EQUAL, "1gpu", [SECOND]),
    "a UUID": (EQUAL, "GPU-aaaa2222-0000", [SECOND]),
    "a shortened UUID": (EQUAL, "GPU-aaaa2,GPU-aaaa1", [SECOND, FIRST]),
    "an ambiguous UUID": (EQUAL, "GPU-aaaa", []),
    "an unknown UUID after a known": (EQUAL, "GPU-aaaa2,GPU-f", [SECOND]),
    "one UUID twice": (EQUAL, "GPU-aaaa2,GPU-aaaa2222", []),
    "a number after a UUID": (EQUAL, "GPU-aaaa2,0", [SECOND]),
    "a UUID after a number": (EQUAL, "1,GPU-aaaa1", [SECOND]),
    # cards of two kinds: the fastest is first, whatever its place on the bus
    "two kinds": (MIXED, None, [FIRST, SMALL]),
    "the first of two kinds": (MIXED, "0", [FIRST]),
    "a UUID of two kinds": (MIXED, "GPU-bb", [SMALL]),
    # slices: one is seen, and no whole card beside it
    "a slice beside a card": (SPLIT, None, [HALF]),
    "the card beside slices": (SPLIT, "0", [FIRST]),
    "a card in slices": (SPLIT, "1", [HALF]),
    "its UUID": (SPLIT, "GPU-cccc", [HALF]),
    "a slice": (SPLIT, "MIG-2222bbbb-0000", [SEVENTH]),
    "a shortened slice": (SPLIT, "MIG-2", [SEVENTH]),
    "two slices": (SPLIT, "MIG-2,MIG-1", [SEVENTH]),
    "one slice twice": (SPLIT, "MIG-2,MIG-22", []),
    "a slice by its older name": (SPLIT, "MIG-GPU-cccc1111-0000/9/0", [SEVENTH]),
    "an unknown slice": (SPLIT, "MIG-3", []),
    "a card without slices yet": ([FakeCard("GPU-d", "A100", slices=[])], None, []),
}


@pytest.mark.parametrize(("cards", "visible", "seen"), TABLE.values(), ids=TABLE)
def test_the_gpus_that_cuda_would_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cards: list[FakeCard], visible: str | None, seen: list[str]
) -> None:
    install_driver(tmp_path, monkeypatch, cards)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert told(find_gpus()) == seen


def test_cards_of_two_kinds_are_numbered_for_sure_only_by_the_bus_or_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_driver(tmp_path, monkeypatch, MIXED)
    assert [gpu.is_sure for gpu in find_gpus()] == [False, False]
    assert [gpu.is_sure for gpu in find_gpus({"CUDA_VISIBLE_DEVICES": "1"})] == [False]
    assert [gpu.is_sure for gpu in find_gpus({"CUDA_VISIBLE_DEVICES": "GPU-a"})] == [True]
    by_bus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert told(find_gpus(by_bus)) == [SMALL, FIRST]
    assert told(find_gpus({**by_bus, "CUDA_VISIBLE_DEVICES": "1"})) == [FIRST]
    assert all(gpu.is_sure for gpu in find_gpus(by_bus))
    assert told(find_gpus({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})) == [FIRST, SMALL]


def test_a_slice_is_planned_with_its_own_memory_and_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, [SLICED])
    monkeypatch.setattr("cosmos_cli.runtime.machine._torch_has_cuda", lambda: True)
    machine = find_machine("cuda")
    assert (machine.device_bytes >> 20, machine.device_free_bytes >> 20) == (40448, 40150)
    assert machine.device_share == pytest.approx(3 / 7)


def test_a_gpu_that_shares_the_memory_of_the_host_has_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_driver(tmp_path, monkeypatch, [FakeCard("GPU-e", "NVIDIA GB10", "[N/A]", "[N/A]", "12.1")])
    [gpu] = find_gpus()
    assert gpu.total_bytes == host_memory()[0]


@pytest.mark.parametrize("answer", ["echo NVIDIA-SMI has failed", "exit 9", "echo a, b, c, d, e, f"])
def test_a_driver_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    install_driver(tmp_path, monkeypatch, [])
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n")
    assert find_gpus() == []


def test_no_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []
