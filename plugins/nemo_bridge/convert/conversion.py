"""Converting a checkpoint: written under another name, read again, compared, and only then put in its place."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CheckpointError, CosmosError, InputError
from cosmos_cli.files.disk import free_bytes
from cosmos_cli.files.failures import writing
from cosmos_cli.files.names import check_name
from cosmos_cli.files.outputs import check_writable, claim, making
from cosmos_cli.files.writing import replacing
from cosmos_cli.training import job_folder
from cosmos_plugins.nemo_bridge.convert.finding import BACKEND, COMMON, DIFFUSERS_CONFIG, DIFFUSERS_WEIGHTS
from cosmos_plugins.nemo_bridge.convert.keys import HEAD, STORED
from cosmos_plugins.nemo_bridge.convert.narrowing import Narrowed
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest, Target
from cosmos_plugins.nemo_bridge.convert.shapes import RANK
from cosmos_plugins.nemo_bridge.convert.sources import UNTOLD_FILE, Source, open_checkpoint
from cosmos_plugins.nemo_bridge.convert.stacks import Stacks, cast
from cosmos_plugins.nemo_bridge.convert.writers import (
    TRANSFORMER,
    Advance,
    native_specs,
    write_diffusers,
    write_native,
    write_torch_dist,
    write_zarr,
)

_FILES = (".pt", ".safetensors")
_NATIVE_FILE = "model.pt"
"""In a folder that is named for a native file."""
_SMALL_BYTES = 1 << 20
"""For what describes tensors, in any layout."""
_OWN = (BACKEND, COMMON, ".metadata", "*.distcp", f"{STORED}*")
"""What a conversion leaves in a folder."""
_OWN_INSIDE = {
    TRANSFORMER: (DIFFUSERS_CONFIG, f"{DIFFUSERS_WEIGHTS}*"),
    UNTOLD_FILE.partition("/")[0]: (UNTOLD_FILE.partition("/")[2],),
}
"""Folders that it leaves there and what is in them: others have folders of these names too."""


@dataclass(frozen=True)
class Converted:
    """What was written. num_bytes: of all numbers. errors: of each block, see `Narrowed`."""

    path: Path
    source: Path
    before: str
    to: Target
    size: str
    kind: str | None
    rank: int
    num_tensors: int
    num_bytes: int
    errors: tuple[float, ...] = ()

    def summary(self) -> str:
        what = f"{self.size} {self.kind or 'network'}"
        size = f"{self.num_bytes / 1e9:.1f} GB" if self.num_bytes >= 1e9 else f"{self.num_bytes / 1e6:.1f} MB"
        return f"{self.path}: {what} as {self.to}, {self.num_tensors} tensors, {size}, verified"

    def document(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "source": str(self.source),
            "from": self.before,
            "to": self.to,
            "model_size": self.size,
            "kind": self.kind,
            "adaln_lora_dim": self.rank,
            "tensors": self.num_tensors,
            "bytes": self.num_bytes,
            "verified": True,
            **({"relative_errors": list(self.errors)} if self.errors else {}),
        }


def convert(request: ConversionRequest) -> Converted:
    """Write a checkpoint in another layout.

    Raises:
        InputError: the target cannot be, or its disk has no room; nothing was written.
        CheckpointError: the source is none, not whole, or of another network.
        DiskFull, CosmosError: it could not be written, or what was read back is something else; nothing stays of it.
    """
    to = _layout(request)
    target = _place(request.target, to)
    _check_target(target, to, request)
    dtype = None if request.dtype is None else getattr(torch, request.dtype)
    with open_checkpoint(request.source) as opened:
        source = _narrowed(opened) if request.lossy else opened
        job = _job(source, to, dtype)
        _check_room(target, job.num_bytes + _SMALL_BYTES)
        _tell(source, job, target)
        with _new(target, to, overwrite=request.overwrite) as place:
            with output.progress(f"Writing {to}", job.num_steps, "tensors") as advance:
                job.write(place, advance)
            _verify(source, place, job, to)
        variant = source.variant
        return Converted(
            target,
            source.path,
            source.format,
            to,
            variant.size,
            variant.kind,
            variant.rank,
            job.num_tensors,
            job.num_bytes,
            tuple(source.errors) if isinstance(source, Narrowed) else (),
        )


def _narrowed(source: Source) -> Source:
    if not source.is_dense:
        return source
    narrowed = Narrowed(source)
    least, most = min(narrowed.errors), max(narrowed.errors)
    output.notice(
        f"what is written is the nearest network of rank {narrowed.variant.rank}, not the same one: the modulation of "
        f"its blocks is off by {least:.2%} to {most:.2%}"
    )
    return narrowed


@dataclass(frozen=True)
class _Job:
    """What is to be written. num_steps: of progress. stacks: None for layouts of native tensors."""

    write: Callable[[Path, Advance], None]
    num_bytes: int
    num_tensors: int
    num_steps: int
    dtype: torch.dtype | None
    stacks: Stacks | None = None


def _job(source: Source, to: Target, dtype: torch.dtype | None) -> _Job:
    if to in ("nemo-zarr", "nemo-torch-dist"):
        stacks = Stacks(source, dtype)
        tensors = stacks.tensors.values()
        write_stacks = write_zarr if to == "nemo-zarr" else write_torch_dist
        return _Job(
            lambda place, advance: write_stacks(place, stacks, advance),
            sum(stack.num_bytes for stack in tensors),
            len(tensors),
            sum(stack.num_pieces for stack in tensors),
            dtype,
            stacks,
        )
    if to == "diffusers":
        source.variant.config  # noqa: B018  # raises where Diffusers has no such network
    write = write_native if to == "native" else write_diffusers
    specs = native_specs(source, dtype)
    return _Job(
        lambda place, advance: write(place, source, dtype, advance),
        sum(spec.num_bytes for spec in specs.values()),
        len(specs),
        len(specs),
        dtype,
    )


def _layout(request: ConversionRequest) -> Target:
    if request.to is not None:
        return request.to
    if request.target.suffix in _FILES:
        return "native"
    raise InputError(
        f"{request.target} does not tell which layout is meant.",
        where="--to",
        fix="Pass --to native, nemo-zarr, nemo-torch-dist or diffusers.",
    )


def _place(target: Path, to: Target) -> Path:
    """The file or folder that is written."""
    if to != "native":
        return target
    return target if target.suffix in _FILES and not target.is_dir() else target / _NATIVE_FILE


def _check_target(target: Path, to: Target, request: ConversionRequest) -> None:
    own, other = Path(os.path.realpath(target)), Path(os.path.realpath(request.source))
    if own == other or own.is_relative_to(other) or other.is_relative_to(own):
        raise InputError(
            f"{target} and {request.source} lie in each other.", where="TARGET", fix="Choose another folder."
        )
    if to == "native":
        check_writable(target, field="TARGET", overwrite=request.overwrite)
        return
    check_name(target, field="TARGET")
    if target.suffix in _FILES:
        raise InputError(
            f"{target} is named like a file, and {to} is a folder.", where="TARGET", fix="Give the name of a folder."
        )
    # what cannot be written is told by trying to
    check_writable(target.parent / f"{target.name}.probe", field="TARGET", overwrite=True)
    _check_folder(target, overwrite=request.overwrite)


def _check_folder(target: Path, *, overwrite: bool) -> None:
    """Raises InputError: something is there that must stay."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise InputError(f"{target} is no folder.", where="TARGET", fix="Choose another name.")
    if next(target.iterdir(), None) is None:
        return
    if not overwrite:
        raise InputError(f"{target} exists already.", where="TARGET", fix="Choose another name, or pass --overwrite.")
    if others := _foreign_in(target):
        raise InputError(
            f"{target} holds other things than a checkpoint, which would be lost: {', '.join(others[:8])}.",
            where="TARGET",
            fix="Choose another folder, or empty this one.",
        )


def _foreign_in(folder: Path) -> list[str]:
    """What of a folder, and of the folders in it, no conversion has written."""
    foreign = []
    for path in sorted(folder.iterdir()):
        if path.name in _OWN_INSIDE and path.is_dir():
            foreign += [
                f"{path.name}/{inner.name}"
                for inner in sorted(path.iterdir())
                if not any(inner.match(pattern) for pattern in _OWN_INSIDE[path.name])
            ]
        elif not any(path.match(pattern) for pattern in _OWN):
            foreign.append(path.name)
    return foreign


def _check_room(target: Path, num_bytes: int) -> None:
    free = free_bytes(target.parent)
    if num_bytes > free:
        raise InputError(
            f"needs {num_bytes / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free.",
            where=str(target),
            fix="Make room, or choose a folder on another disk.",
        )


def _tell(source: Source, job: _Job, target: Path) -> None:
    """What a user should know of the result."""
    rank = source.variant.rank
    if source.is_dense and job.stacks is None:
        output.notice(
            f"NeMo has trained this network: the three parts of its blocks share one modulation of rank {rank}, and no "
            f"network of rank {rank // 3} is the same. So it is written with rank {rank} (adaln_lora_dim), which is "
            f"exact; that of its last layer is padded with zeros. With --lossy it is the nearest of rank {rank // 3}."
        )
    if not any(name in source for name in HEAD):
        output.notice("the source holds no head of the training loss (logvar); only a Kendall loss would begin with it")
    if job.stacks is not None:
        if job.stacks.rank != RANK:
            output.notice(f"NeMo's own networks have a modulation of rank {RANK}, this one has {job.stacks.rank}")
        _tell_name(source.variant.size.lower(), target)


def _tell_name(size: str, target: Path) -> None:
    """NeMo's script for Text2World takes the size from the path, and 14b first."""
    path = str(target.absolute()).lower()
    taken = next((known for known in ("14b", "7b") if known in path), None)
    if size in ("7b", "14b") and taken != size:
        output.notice(f"NeMo's own scripts find the size in the path: put {size} into it, and no other, to use them")


@contextmanager
def _new(target: Path, to: Target, *, overwrite: bool) -> Iterator[Path]:
    """A name to write at, which becomes the target if the block ends well, and of which else nothing stays."""
    if to == "native":
        with making([target], overwrite=overwrite), replacing(target) as temporary:
            yield temporary
        return
    claimed = claim([target])
    try:
        _remove_leftovers(target)
        place = job_folder.partial_folder(target.parent, target.name)
        try:
            with interrupts.at_leave(claimed.release):
                with writing(target):
                    place.mkdir()
                yield place
                claimed.check()
                _check_folder(target, overwrite=overwrite)  # somebody may have put something there meanwhile
                job_folder.publish(place, target)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    finally:
        claimed.release()


def _remove_leftovers(target: Path) -> None:
    """What killed conversions left half-written; nobody else writes there, since the name is claimed."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.(partial|old)")
    for path in target.parent.iterdir():
        if pattern.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _verify(source: Source, place: Path, job: _Job, to: Target) -> None:
    """Read back what was written and compare every number of it with the source's.

    Raises:
        CosmosError: the disk gives back something else.
    """
    try:
        with open_checkpoint(place) as written, output.progress("Verifying", job.num_steps, "tensors") as advance:
            pairs = _natively(source, written, job.dtype) if job.stacks is None else _stacked(job.stacks, written)
            for name, want, found in pairs:
                if not _same(want, found):
                    raise _unlike(place, name)
                advance()
    except CheckpointError as error:
        raise _unlike(place, error.problems[0].what) from error


def _natively(
    source: Source, written: Source, dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    for name in source:
        tensor = source.tensor(name)
        yield name, cast(tensor, dtype), written.tensor(name) if name in written else None


def _stacked(stacks: Stacks, written: Source) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    back = Stacks(written)
    for name, stack in stacks.tensors.items():
        own = back.tensors.get(name)
        for block in range(stack.num_pieces):
            found = back.piece(own, block) if own is not None and own.shape == stack.shape else None
            yield f"{name} {block}", stacks.piece(stack, block), found


def _same(want: Tensor, found: Tensor | None) -> bool:
    """Bit by bit, whatever the numbers are."""
    if found is None or want.dtype != found.dtype or want.shape != found.shape:
        return False
    return torch.equal(want.contiguous().view(torch.uint8), found.contiguous().view(torch.uint8))


def _unlike(place: Path, what: str) -> CosmosError:
    return CosmosError(
        f"What was read back is not what was written: {what}. Nothing of it is kept.",
        where=str(place.parent),
        fix="Write to another disk, and check this one.",
    )
