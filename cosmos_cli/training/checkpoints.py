"""Checkpoints to resume from: folders of torch.distributed.checkpoint that any number of ranks can read.

What stands under its final name is complete, and the pointer names it last; before that the former one is the latest.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from cosmos_cli.checkpoints.distributed_layout import LayoutReader, read_layout, write_layout
from cosmos_cli.checkpoints.keys import without_shells
from cosmos_cli.errors import CheckpointError, CosmosError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.failures import FULL, disk_full, error_number, writing
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.writing import json_bytes, replacing
from cosmos_cli.runtime.workers import agreement
from cosmos_cli.training import job_folder
from cosmos_cli.training.background import Background
from cosmos_cli.training.job_folder import STATE, iteration_name

State = Mapping[str, Mapping[str, Tensor]]
"""Tensors by group (`model`, `ema`, `optimizer`) and name: plain, the same on all ranks, or DTensors."""

_DIGITS = re.compile(r"\d+")


class Checkpoints:
    """The folder `checkpoints` of a run, which this run alone writes. All ranks make the same calls.

    Used as a context manager: leaving in good order waits for what is being written.

    Args:
        keep: checkpoints that stay.
        asynchronous: `save` copies the state to the CPU and returns; one copy at most is held, and used again.
    Raises:
        InputError: another run is writing there.
    """

    def __init__(self, folder: Path, *, keep: int = 2, asynchronous: bool = True) -> None:
        self._folder, self._keep, self._asynchronous = folder, keep, asynchronous
        self._claim = ExitStack()
        self._background = Background()
        self._staged: dict[str, dict[str, Tensor]] = {}
        self._group: dist.ProcessGroup | None = None
        if _is_shared():
            # its own: the thread that writes must not take the messages of the one that trains. No GPU is needed
            self._group = agreement.new_groups(1, dist.get_world_size())[0]
        agreement.agree(self._begin, "clearing the folder of the run")

    def _begin(self) -> None:
        self._claim.enter_context(job_folder.claimed(self._folder))
        with writing(self._folder):
            job_folder.remove_leftovers(self._folder)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._claim.close()

    def latest(self) -> int | None:
        """Completed steps of the last complete checkpoint; None if there is none."""
        return agreement.agree(lambda: job_folder.latest(self._folder), "looking for a checkpoint")

    def save(self, iteration: int, state: State, plain: Mapping[str, Any]) -> None:
        """Write a checkpoint; one that is there under this number already is the same.

        Args:
            iteration: completed steps.
            plain: what goes through JSON; unlike texts elsewhere it is written as it is.
        Raises:
            DiskFull, CosmosError: it, or the one before it, could not be written; on all ranks alike.
        """
        self.wait()
        if self.latest() == iteration:
            return
        name = iteration_name(iteration)
        place = agreement.agree(lambda: job_folder.partial_folder(self._folder, name), "naming the checkpoint")
        if not self._asynchronous:
            agreement.together(lambda: self._write(iteration, state, plain, place))
            return
        self._staged = _copied(state, self._staged)
        self._background.start(lambda: self._write(iteration, self._staged, plain, place), f"saving-{name}")

    def wait(self) -> None:
        """Until the last checkpoint is complete. Raises what `save` raises."""
        agreement.together(self._background.wait)

    def load(self, state: State, iteration: int | None = None) -> dict[str, Any]:
        """Fill the tensors from a checkpoint, the latest by default, and return the plain state.

        Raises:
            CheckpointError: there is none, it is damaged, or of another architecture; nothing is changed then.
        """
        if iteration is None:
            iteration = self.latest()
        if iteration is None:
            raise CheckpointError("holds no checkpoint.", where=str(self._folder), fix="Name another folder.")
        return load_checkpoint(self._folder / iteration_name(iteration), state)

    def _write(self, iteration: int, state: State, plain: Mapping[str, Any], place: Path) -> None:
        """In all ranks, maybe in a thread."""
        try:
            metadata = _save(state, place, self._group)
            if is_first():
                _check_is_whole(place, metadata)
                write_layout(place, metadata)
                self._finish(iteration, plain, place)
        except BaseException:
            if is_first():
                shutil.rmtree(place, ignore_errors=True)
            raise

    def _finish(self, iteration: int, plain: Mapping[str, Any], place: Path) -> None:
        with replacing(place / STATE) as temporary:
            temporary.write_bytes(json_bytes({}, as_they_are=dict(plain)))
        job_folder.publish(place, self._folder / iteration_name(iteration))
        job_folder.point_to(self._folder, iteration)
        job_folder.remove_old(self._folder, keep=self._keep, latest=iteration)


def load_checkpoint(folder: Path, state: State) -> dict[str, Any]:
    """As `Checkpoints.load`, from any folder `iter_...`. All ranks must call this."""
    agreement.agree(lambda: _check_fits(folder, state), "reading the checkpoint")
    planned = {group: dict(tensors) for group, tensors in state.items() if tensors}
    agreement.together(lambda: _load(planned, folder))
    plain = agreement.agree(lambda: read_json(folder / STATE, kind=CheckpointError), "reading the checkpoint")
    assert isinstance(plain, dict)
    return plain


def model_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What a module has learnt and remembers, under names without what wraps its parts; filled in place."""
    tensors = module.state_dict(keep_vars=True)
    strip = without_shells((), tensors)
    return {strip(name): tensor.detach() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def optimizer_tensors(optimizer: Optimizer, named: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """The moments and counters of AdamW by parameter name; zero where no step has been made, as AdamW begins."""
    named = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    strip = without_shells((), [name for name, _ in named])
    options = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    tensors: dict[str, Tensor] = {}
    for name, parameter in named:
        if not (state := optimizer.state[parameter]):
            is_there = options[id(parameter)].get("fused") or options[id(parameter)].get("capturable")
            place = parameter.device if is_there else torch.device("cpu")
            state["step"] = torch.zeros((), dtype=torch.float32, device=place)
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter.detach()) for _ in range(2))
        tensors |= {f"{strip(name)}.{kind}": tensor for kind, tensor in state.items() if isinstance(tensor, Tensor)}
    return tensors


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process is rank 0, which writes what is written once."""
    return not _is_shared() or dist.get_rank() == 0


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _copied(state: State, before: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """The state on the CPU, in the memory of an earlier copy where that fits."""
    copies: dict[str, dict[str, Tensor]] = {}
    is_on_gpu = False
    with torch.no_grad():
        for group, tensors in state.items():
            earlier = before.get(group, {})
            copies[group] = {name: _copy(tensor, earlier.get(name)) for name, tensor in tensors.items()}
            is_on_gpu |= any(tensor.is_cuda for tensor in tensors.values())
    if is_on_gpu:
        torch.cuda.current_stream().synchronize()
    return copies


def _copy(tensor: Tensor, earlier: Tensor | None) -> Tensor:
    own = _local(tensor.detach())
    if earlier is None or _local(earlier).shape != own.shape or earlier.dtype != tensor.dtype:
        earlier = tensor.detach().to("cpu", copy=True)
        if not own.is_cuda:
            return earlier
        if own.numel():  # pinned, the next copy runs while the GPU computes
            if isinstance(earlier, DTensor):
                earlier._local_tensor = earlier._local_tensor.pin_memory()
            else:
                earlier = earlier.pin_memory()
        return earlier
    _local(earlier).copy_(own, non_blocking=own.is_cuda)
    return earlier


def _save(state: State, place: Path, group: dist.ProcessGroup | None) -> Metadata:
    """Write the part of this rank; what all have written."""
    nested = {name: dict(tensors) for name, tensors in state.items() if tensors}
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as it is on one device
    try:
        return dcp.save(
            nested,
            storage_writer=dcp.FileSystemWriter(place),
            process_group=group,
            no_dist=group is None,
        )
    except CheckpointException as failed:
        raise _told(failed, place) from None
    except OSError as error:
        if error_number(error) in FULL:
            raise disk_full(place.parent / place.name.split(".")[1], place) from error
        raise


def _told(failed: CheckpointException, place: Path) -> Exception:
    """What went wrong on the first rank that failed, in words of ours."""
    rank, (error, _) = min(failed.failures.items())
    if isinstance(error, CosmosError):
        return error
    where = place.parent / place.name.split(".")[1]
    if error_number(error) in FULL:
        return disk_full(where, place)
    return CosmosError(
        f"rank {rank} could not write it: {type(error).__name__}: {error}".rstrip(".") + ".",
        where=str(where),
        fix="See that all ranks can write there, and start again: the run goes on from its last checkpoint.",
    )


def _check_is_whole(place: Path, metadata: Metadata) -> None:
    """Raises CosmosError: what other ranks have written is not on this machine's disk."""
    ends: dict[str, int] = {}
    for piece in (metadata.storage_data or {}).values():
        ends[piece.relative_path] = max(ends.get(piece.relative_path, 0), piece.offset + piece.length)
    absent = [name for name, end in ends.items() if not is_file(place / name) or (place / name).stat().st_size < end]
    if absent:
        raise CosmosError(
            f"The checkpoint is not whole: {len(absent)} of {len(ends)} files that the ranks wrote are not there, "
            f"{absent[0]} first.",
            where=str(place.parent),
            fix="Write to a folder that all machines share.",
        )


def _load(state: dict[str, dict[str, Tensor]], folder: Path) -> None:
    # each rank reads what it needs by itself: nothing is planned together, and no GPU is needed to say so
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    try:
        dcp.load(state, storage_reader=LayoutReader(folder, read_layout(folder)), no_dist=True)
    except CheckpointException as failed:
        _, (error, _) = min(failed.failures.items())
        if isinstance(error, CosmosError | MemoryError | torch.OutOfMemoryError):
            raise error from None
        raise CheckpointError(
            f"cannot be read ({type(error).__name__}: {error}).",
            where=str(folder),
            fix=f"Name an earlier one in {job_folder.POINTER}, if there is one.",
        ) from error


def _check_fits(folder: Path, state: State) -> None:
    """Raises CheckpointError unless a checkpoint has exactly these names, in these shapes; lists all that differ."""
    if not job_folder.is_complete(folder):
        raise CheckpointError(
            "is no complete checkpoint of a training.", where=str(folder), fix="Name a folder iter_... of a run."
        )
    want = {f"{group}.{name}": tensor.shape for group, tensors in state.items() for name, tensor in tensors.items()}
    entries = read_layout(folder).state_dict_metadata
    have = {key: entry.size for key, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}
    missing = [f"{key} {list(want[key])}" for key in want.keys() - have.keys()]
    surplus = [f"{key} {list(have[key])}" for key in have.keys() - want.keys()]
    unlike = [
        f"{key} {list(have[key])}, should be {list(want[key])}"
        for key in want.keys() & have.keys()
        if want[key] != have[key]
    ]
    kinds = {"missing": missing, "that these networks do not have": surplus, "of another shape": unlike}
    if problems := [_listed(kind, lines) for kind, lines in kinds.items() if lines]:
        raise CheckpointError(
            "is of another architecture or of other parts than this recipe trains. Nothing was loaded.",
            where=str(folder),
            fix="Give the recipe that it was trained with, or choose another folder: job.name, or job.folder.",
            others=problems,
        )


def _listed(kind: str, lines: Collection[str]) -> Problem:
    """All of them, those of one shape in all blocks as one line."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        name, _, rest = line.partition(" ")
        alike.setdefault(f"{_DIGITS.sub('*', name)} {rest}", []).append(line)
    shown = [f"{each} ({len(found)} times)" if len(found) > 1 else found[0] for each, found in sorted(alike.items())]
    return Problem(f"{len(lines)} {kind}:" + "".join(f"\n  {line}" for line in shown))
