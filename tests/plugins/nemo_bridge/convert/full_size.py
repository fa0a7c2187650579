"""Conversions at full width in a process of their own: `python -m tests.plugins.nemo_bridge.convert.full_size`.

Prints the most memory that the process had for itself, in bytes; pages of mapped files are the system's.
"""

from __future__ import annotations

import json
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.tensor_files import write_torch
from cosmos_plugins.nemo_bridge.convert.conversion import convert
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.convert.shapes import Variant, native_shapes, variant_of
from cosmos_plugins.nemo_bridge.convert.sources import NativeSource, NemoSource, open_checkpoint
from cosmos_plugins.nemo_bridge.convert.stacks import Stacks
from tests.conftest import GOLDEN

_LARGEST = 5120 * 20480


class Synthetic(Checkpoint):
    """A native file of a size, every tensor another stretch of the same random numbers."""

    def __init__(self, variant: Variant) -> None:
        shapes = native_shapes(variant)
        super().__init__(
            Path("synthetic"), {name: TensorSpec(torch.Size(s), torch.bfloat16) for name, s in shapes.items()}
        )
        generator = torch.Generator().manual_seed(0)
        numbers = torch.randint(-(1 << 15), 1 << 15, (_LARGEST + (1 << 20),), dtype=torch.int16, generator=generator)
        self._numbers = numbers.view(torch.bfloat16)

    def _read(self, key: str) -> Tensor:
        begin = zlib.crc32(key.encode()) % (1 << 20)
        shape = self.shape(key)
        return self._numbers[begin : begin + shape.numel()].view(shape)


class Stacked(Checkpoint):
    """NeMo's store of a network, made block by block when it is read."""

    def __init__(self, stacks: Stacks) -> None:
        specs = {f"module.{s.name}": TensorSpec(torch.Size(s.shape), s.dtype) for s in stacks.tensors.values()}
        super().__init__(Path("store"), specs)
        self._stacks = stacks

    def _read(self, key: str) -> Tensor:
        return self.part(key, 0)

    def part(self, key: str, index: int) -> Tensor:
        return self._stacks.piece(self._stacks.tensors[key.removeprefix("module.")], index)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.int16)


def published(name: str) -> Variant:
    entries = json.loads((GOLDEN / "manifests" / f"predict1_{name}.json").read_text())
    return variant_of({key: tuple(entry["shape"]) for key, entry in entries.items()})


def in_memory(name: str) -> None:
    """Native to NeMo and back, every tensor of a published size."""
    variant = published(name)
    source = NativeSource(Path("synthetic"), Synthetic(variant))
    assert source.variant == variant
    back = NemoSource(Path("store"), Stacked(Stacks(source)), "nemo-zarr")
    assert (back.variant, set(back)) == (variant, set(source))
    for key in source:
        assert torch.equal(bits(source.tensor(key)), bits(back.tensor(key))), key


def on_disk(name: str, num_blocks: int, folder: Path) -> None:
    """Native to NeMo to native, and to Diffusers and back, with files; each is removed when it is not needed."""
    synthetic = Synthetic(replace(published(name), num_blocks=num_blocks))
    specs = {key: TensorSpec(synthetic.shape(key), synthetic.dtype(key)) for key in synthetic}
    start = folder / "start.pt"
    write_torch(start, specs, ((key, synthetic.tensor(key)) for key in synthetic))
    for to in ("nemo-zarr", "nemo-torch-dist", "diffusers"):
        there = convert(ConversionRequest(source=start, target=folder / to, to=to)).path
        back = convert(ConversionRequest(source=there, target=folder / "back.pt", to="native")).path
        for path in sorted(there.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        with open_checkpoint(back) as source:
            assert set(source) == set(synthetic)
            for key in source:
                assert torch.equal(bits(source.tensor(key)), bits(synthetic.tensor(key))), key
        back.unlink()
    start.unlink()


@contextmanager
def watched() -> Iterator[list[int]]:
    """Notes the most memory, again and again."""
    most = [0]
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.005):
            with open("/proc/self/status") as status:  # noqa: PTH123
                line = next(line for line in status if line.startswith("RssAnon"))
            most[0] = max(most[0], int(line.split()[1]) * 1024)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        end.set()
        thread.join()


if __name__ == "__main__":
    what, name, *rest = sys.argv[1:]
    with watched() as most:
        in_memory(name) if what == "memory" else on_disk(name, int(rest[0]), Path(rest[1]))
    print(most[0])  # noqa: T201
