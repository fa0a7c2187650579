"""Checkpoints to go on from: whole or not there, written while the run goes on, read onto any number of ranks."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import replacing, write_json

POINTER = "latest_checkpoint.txt"
_STATE = "state.json"
_WHOLE, _PARTIAL = re.compile(r"iter_(\d{9})"), re.compile(r"\.iter_\d{9}\.partial")
_NUM_SHOWN = 8


def name_of(iteration: int) -> str:
    """What the files of a checkpoint begin with."""
    return f"iter_{iteration:09d}"


class Checkpoints:
    """Those of one run, in its folder `checkpoints`.

    Everything is written beside, under a name that nobody reads, and renamed when all ranks are done; then the pointer
    names it, and only then old ones go. So there is a complete one at every moment, once there was one.

    Args:
        folder: is made if it is not there.
        keep: that stay.
        asynchronous: `save` returns when the state has been copied; one copy is held at most.
        is_main: whether this rank renames and removes.
    """

    def __init__(self, folder: Path, *, keep: int, asynchronous: bool, is_main: bool) -> None:
        self._folder, self._keep, self._is_main = folder, keep, is_main
        self._is_asynchronous = asynchronous
        self._writing: threading.Thread | None = None
        self._failure: BaseException | None = None
        # other collectives of the run go on while a checkpoint is written: they must not take each other's messages
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        if is_main:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for entry in folder.iterdir():
                    if _PARTIAL.fullmatch(entry.name):
                        shutil.rmtree(entry, ignore_errors=True)

    def save(self, iteration: int, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Save the state after `iteration` steps; every rank must call this.

        Args:
            tensors: by name; shards of their own on every rank, or the same on all.
            plain: what JSON can hold, the same on all ranks.
        Raises:
            DiskFull, CosmosError: this checkpoint, or the one before, could not be written.
        """
        self.wait()
        staged = {name: _copied(tensor) for name, tensor in tensors.items()}
        work = lambda: self._write(iteration, staged, plain)  # noqa: E731
        if self._is_asynchronous:
            self._writing = threading.Thread(target=self._kept, args=(work,), name="checkpoint")
            self._writing.start()
        else:
            work()

    def wait(self) -> None:
        """Until what is being written is on the disk. Raises as `save` does."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def load(self, iteration: int, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fill these tensors, in place, from a checkpoint that another number of ranks may have written.

        Returns:
            What was given as `plain`.
        Raises:
            CheckpointError: it holds other tensors; all that differ are named.
        """
        folder = self._folder / name_of(iteration)
        reader = dcp.FileSystemReader(folder)
        try:
            known = reader.read_metadata().state_dict_metadata
        except Exception as error:
            raise CheckpointError(f"cannot be read: {error}.", where=str(folder), fix=_GO_BACK) from error
        stored = {name: tuple(each.size) for name, each in known.items() if isinstance(each, TensorStorageMetadata)}
        _compare(folder, stored, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        try:
            dcp.load(dict(tensors), storage_reader=reader, process_group=self._group, no_dist=self._group is None)
        except Exception as error:
            raise CheckpointError(f"is damaged: {error}.", where=str(folder), fix=_GO_BACK) from error
        plain: dict[str, Any] = read_json(folder / _STATE)
        return plain

    def _kept(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failure = error

    def _write(self, iteration: int, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        name = name_of(iteration)
        partial = self._folder / f".{name}.partial"
        with writing(self._folder / name):
            try:
                dcp.save(
                    dict(tensors),
                    storage_writer=dcp.FileSystemWriter(partial, thread_count=1),
                    process_group=self._group,
                    no_dist=self._group is None,
                )
            except dcp.api.CheckpointException as error:
                raise next(iter(error.failures.values()))[0] from error
            if not self._is_main:
                return  # the main rank returns when all have written
            write_json(partial / _STATE, plain)
            final = self._folder / name
            if final.exists():  # of an earlier attempt at these steps
                shutil.rmtree(final)
            partial.rename(final)
            with replacing(self._folder / POINTER) as temporary:
                temporary.write_text(f"{name}\n")
        for old in sorted(steps_in(self._folder))[: -self._keep]:
            shutil.rmtree(self._folder / name_of(old), ignore_errors=True)


def latest_in(folder: Path) -> int | None:
    """Steps of the newest checkpoint that is complete, None if there is none."""
    return max(steps_in(folder), default=None)


def steps_in(folder: Path) -> list[int]:
    """Steps of all complete checkpoints."""
    if not folder.is_dir():
        return []
    found = [(_WHOLE.fullmatch(entry.name), entry) for entry in folder.iterdir()]
    return [int(match[1]) for match, entry in found if match and (entry / _STATE).is_file()]


def state_of(folder: Path, iteration: int) -> dict[str, Any]:
    """What was saved beside the tensors."""
    plain: dict[str, Any] = json.loads((folder / name_of(iteration) / _STATE).read_text())
    return plain


_GO_BACK = "Remove that folder: the run goes on from the checkpoint before it."


def _compare(folder: Path, stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    lines = [f"{name}: is not there, should be {list(wanted[name])}" for name in wanted if name not in stored]
    lines += [f"{name}: {list(stored[name])} is not known here" for name in stored if name not in wanted]
    lines += [
        f"{name}: {list(stored[name])}, should be {list(shape)}"
        for name, shape in wanted.items()
        if name in stored and stored[name] != shape
    ]
    if lines:
        raise CheckpointError(
            f"belongs to another network: {len(lines)} tensors differ.\n" + "\n".join(f"  {line}" for line in lines),
            where=str(folder),
            fix="Give this run another job.name, or the recipe that wrote the folder.",
        )


def _copied(tensor: Tensor) -> Tensor:
    """On the CPU, as it is now."""
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return tensor.detach().to("cpu", copy=True)
    local = tensor.to_local().detach().to("cpu", copy=True)
    return _with_local(tensor, local)


def _with_local(tensor: Any, local: Tensor) -> Tensor:
    """A sharded tensor like `tensor` whose part of this rank is `local`, on whatever device that is."""
    from torch.distributed.tensor import DTensor

    return DTensor(local, tensor._spec, requires_grad=False)
