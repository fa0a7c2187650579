"""Opening published checkpoints in any of their formats, without ever running code that is in them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.distributed import DistributedCheckpoint
from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN, FileFormat, identify
from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA, checkpoint_files, read_index
from cosmos_cli.checkpoints.keys import AVERAGED, MAX_WRAPPERS, WRAPPERS, dots_for_dashes
from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.errors import CheckpointError
from cosmos_cli.runtime.memory.host import raise_if_too_little

__all__ = ["Checkpoint", "open_checkpoint"]


class MappedCheckpoint(Checkpoint):
    """Tensors that are views of their files (or, in the oldest torch format, already in memory)."""

    def __init__(self, path: Path, content: _Content) -> None:
        specs = {key: TensorSpec(tensor.shape, tensor.dtype) for key, tensor in content.tensors.items()}
        super().__init__(path, specs, content.wrapper)
        self._tensors = content.tensors

    def _read(self, key: str) -> Tensor:
        return self._tensors[key]

    def close(self) -> None:
        super().close()
        self._tensors.clear()


@dataclass(frozen=True)
class _Content:
    """The tensors of a file by name, and the wrapper that they were in."""

    tensors: dict[str, Tensor]
    wrapper: str | None = None


def open_checkpoint(path: str | Path, wrappers: Sequence[str] = WRAPPERS) -> Checkpoint:
    """Open a checkpoint for reading. What it is is decided by its content.

    Args:
        path: a `.safetensors` file; a file written by torch.save; an index of shards (`*.index.json`); or a folder that
            holds exactly one of these, a numbered set of shards, or a torch.distributed.checkpoint, which a training
            run may keep in a folder `model` inside.
        wrappers: names of dicts that may be around the tensors, also in each other; the first that there is and has any
            is opened.
    Returns:
        The tensors by name. Entries that are no tensors are left out.
    Raises:
        CheckpointError: the path holds no usable checkpoint; says what it holds instead and what to do.
    """
    path = Path(path)
    files = checkpoint_files(path) if path.is_dir() else [path]
    if len(files) > 1:
        return MappedCheckpoint(path, _merge(path, files, wrappers))
    (file,) = files
    if file.name == DISTRIBUTED_METADATA:
        return DistributedCheckpoint(file.parent, wrappers)
    if identify(file) is FileFormat.SHARD_INDEX:
        return MappedCheckpoint(path, _read_shards(file, wrappers))
    return MappedCheckpoint(path, _read_file(file, wrappers))


def _read_file(path: Path, wrappers: Sequence[str]) -> _Content:
    """All tensors of one file. Nothing but the table of contents is read where the format allows."""
    file_format = identify(path)
    if file_format is FileFormat.SHARD_INDEX:
        raise CheckpointError(f"{path.name} is an index, but should hold tensors.", where=str(path), fix=DOWNLOAD_AGAIN)
    if file_format is FileFormat.SAFETENSORS:
        return _Content(_read_safetensors(path))
    # given a path that ends in .safetensors, torch.load does not look at the content
    if file_format is FileFormat.TORCH_ZIP and path.suffix != ".safetensors":
        return _tensors_in(load_without_code(path, path, mmap=True), path, wrappers)
    with path.open("rb") as file:
        return _tensors_in(load_without_code(file, path), path, wrappers)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # a parser over untrusted bytes can trip in any way; all mean that the file is bad
        raise_if_too_little(error, path)
        raise CheckpointError(
            f"{path.name} is a safetensors file, but truncated or damaged ({error}).",
            where=str(path),
            fix=DOWNLOAD_AGAIN,
        ) from error


def _tensors_in(content: Any, path: Path, wrappers: Sequence[str]) -> _Content:
    """The named tensors of an unpickled file, out of their wrapper."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path.name} holds a {type(content).__name__}, not a dict of named tensors.",
            where=str(path),
            fix="Give a state dict, as written by torch.save(model.state_dict()).",
        )
    tensors, wrapper = _unwrap(content, wrappers)
    if not tensors:
        names = ", ".join(reprlib.repr(name) for name in list(content)[:8]) or "nothing"
        raise CheckpointError(
            f"{path.name} holds no named tensors; its entries are: {names}.",
            where=str(path),
            fix="Give a state dict, as written by torch.save(model.state_dict()).",
        )
    unlike = [f"`{key}` ({kind})" for key, tensor in tensors.items() if (kind := _other_kind(tensor))]
    if unlike:
        raise CheckpointError(
            f"{path.name} holds {len(unlike)} tensors that are not plain arrays of numbers, first {unlike[0]}.",
            where=str(path),
            fix="Save the weights as dense tensors on the CPU.",
        )
    named = {dots_for_dashes(wrapper, key): tensor for key, tensor in tensors.items()}
    return _Content(named, wrapper)


def _unwrap(
    entries: Mapping[Any, Any], wrappers: Sequence[str], depth: int = 0
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors in the first wrapper that has any, also in a wrapper inside of it, and its name; else those here.

    Where one of several wrappers around them says that they are averaged, that is the name.
    """
    for name in wrappers if depth < MAX_WRAPPERS else ():
        if isinstance(inner := entries.get(name), Mapping):
            tensors, wrapper = _unwrap(inner, wrappers, depth + 1)
            if tensors:
                return tensors, AVERAGED if AVERAGED in (name, wrapper) else name
    return _select_tensors(entries), None


def _other_kind(tensor: Tensor) -> str | None:
    """What a tensor is, if it is no plain array of numbers in memory."""
    if tensor.is_meta:
        return "meta: without its values"
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided:
        return "sparse"
    return None if type(tensor) is Tensor else type(tensor).__name__


def _select_tensors(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in entries.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _read_shards(index: Path, wrappers: Sequence[str]) -> _Content:
    """The tensors that an index lists, from its shards."""
    file_of = read_index(index)
    shards = {file: _read_file(file, wrappers) for file in sorted(set(file_of.values()))}
    absent = [f"{key} in {file.name}" for key, file in file_of.items() if key not in shards[file].tensors]
    if absent:
        raise CheckpointError(
            f"{index.name} lists {len(absent)} tensors that are not in their files: {', '.join(absent[:8])}.",
            where=str(index),
            fix="Index and files are of different versions: download all of them again.",
        )
    return _Content({key: shards[file].tensors[key] for key, file in file_of.items()}, _wrapper_of(shards.values()))


def _merge(folder: Path, files: Iterable[Path], wrappers: Sequence[str]) -> _Content:
    """The tensors of a numbered set of shards without an index."""
    shards = {file: _read_file(file, wrappers) for file in files}
    tensors: dict[str, Tensor] = {}
    for file, shard in shards.items():
        repeated = tensors.keys() & shard.tensors.keys()
        if repeated:
            raise CheckpointError(
                f"The folder holds `{min(repeated)}` in more than one shard, last in {file.name}.",
                where=str(folder),
                fix="The files are of different checkpoints: download all of them again.",
            )
        tensors |= shard.tensors
    return _Content(tensors, _wrapper_of(shards.values()))


def _wrapper_of(shards: Iterable[_Content]) -> str | None:
    """The wrapper of shards; None if they differ."""
    found = {shard.wrapper for shard in shards}
    return found.pop() if len(found) == 1 else None
