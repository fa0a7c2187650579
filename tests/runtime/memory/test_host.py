"""Too little memory of the host is told as such, and not as a damaged file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.host import is_too_little
from cosmos_cli.testing import CommandResult
from tests.third_party import write_distribution

READ = """
import json, resource, sys
from pathlib import Path
import torch
import cosmos_cli.main
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.checkpoints.torchscript import TorchScriptCheckpoint
from cosmos_plugins.transfer1.weight_maps import _read_tensor
from cosmos_cli.errors import CosmosError

torch.set_num_threads(1)
torch.zeros(1000).sum()

def read(path):
    if path.name == "torchscript":
        return TorchScriptCheckpoint(path, path).tensor("weight")
    if path.name == "map":
        return _read_tensor(path, "control_weight")
    checkpoint = open_checkpoint(path)
    return [checkpoint.tensor(key) for key in checkpoint.keys()]

def told(path):
    try:
        read(path)
        return "read"
    except CosmosError as error:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        return f"{type(error).__name__} {error.exit_code} {error}"

def size():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10

told_of = {}
for path in map(Path, sys.argv[1:]):
    resource.setrlimit(resource.RLIMIT_AS, (size() + (24 << 20), -1))
    with_little = told(path)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    told_of[path.name] = with_little, told(path)
print(json.dumps(told_of))
"""
HOW = ("safetensors", "torch, stored", "torch, old", "torchscript", "map")


def write(path: Path, how: str) -> Path:
    """A file with 64 MB of numbers."""
    tensors = {"weight": torch.zeros(16, 1 << 20)}
    if how == "safetensors":
        save_file(tensors, path)
    elif how == "torch, stored":
        torch.save(tensors, path)
    elif how == "torch, old":
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    elif how == "torchscript":
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(tensors["weight"])
        torch.jit.script(module).save(str(path))
    elif how == "map":
        torch.save(tensors["weight"], path)
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_file_that_does_not_fit_is_not_called_damaged(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / how, how)) for how in HOW]
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told_of = json.loads(done.stdout)
    assert list(told_of) == list(HOW)
    for how, (with_little, with_enough) in told_of.items():
        assert with_little.startswith("TooLittleMemory 1"), (how, with_little)
        assert str(tmp_path / how) in with_little and "memory" in with_little
        assert with_enough == "read", (how, with_enough)


def test_every_library_has_its_own_words() -> None:
    told = [
        MemoryError(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        RuntimeError("unable to mmap 67108864 bytes from file <a.pt>: Cannot allocate memory (12)"),
        RuntimeError("std::bad_alloc"),
    ]
    assert all(map(is_too_little, told))
    damaged = ValueError("damaged")
    assert not is_too_little(damaged)
    damaged.__cause__ = told[0]
    assert is_too_little(damaged)
    assert not is_too_little(CheckpointError("cannot allocate memory"))  # words of a file
    assert not is_too_little(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))


HUNGRY = """
import typer
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_families(register):
    register(name="hungry", help="Eats.", commands="hungry:app")

app = typer.Typer()

@app.callback()
def hungry() -> None:
    pass

@app.command()
def eat() -> None:
    import numpy
    numpy.empty(1 << 60, numpy.uint8)
"""


def test_memory_that_runs_out_anywhere_is_no_defect(
    cosmos: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "packages", "hungry", {"hungry": HUNGRY}, {"hungry": "hungry"})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    result = cosmos("hungry", "eat")
    assert result.exit_code == 1
    assert "Out of memory" in result.stderr and "defect" not in result.stderr
