"""The folder of a run: its names, which checkpoint is the latest, what killed runs left, and whose run it is. No torch.

OUTPUT_ROOT/project/group/name/, or OUTPUT_ROOT/folder/
  recipe.json  metrics.jsonl  report.html  samples/
  checkpoints/
    latest_checkpoint.txt               names the last complete checkpoint; written last
    iter_000000200/                     to resume from
    iter_000000200_reg_model.pt         exports, for inference
    iter_000000200_ema_model.pt
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA
from cosmos_cli.errors import CheckpointError, InputError, Problem
from cosmos_cli.files import disk
from cosmos_cli.files.documents import read_json, read_text
from cosmos_cli.files.failures import writing
from cosmos_cli.files.locks import try_lock
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.writing import json_bytes, replacing, write_json
from cosmos_cli.redaction import hide_in
from cosmos_cli.training.recipe import Job, Recipe

POINTER = "latest_checkpoint.txt"
CHECKPOINTS = "checkpoints"
RECIPE = "recipe.json"
STATE = "state.json"
"""Plain numbers of a checkpoint, beside its tensors."""
_LOCK = ".lock"
_LOCK_S = 120.0
"""How long a run waits for one that is just leaving."""

_FOLDER = re.compile(r"iter_(\d{9,})")
_LEFTOVER = re.compile(r"\.iter_\d{9,}\w*\.[0-9a-f]{8}\.(partial|old)")

_MUST_STAY = ("task", "job", "model", "data", "lora", "ema.enabled")
_MAY_DIFFER = ("job.folder", "data.num_workers", "data.batch_size", "data.global_batch_size", "data.latents_dir")
"""How many clips a step has is kept with the checkpoint, and asked there; the folder may be named in several ways,
and kept latents change a training by their rounding only."""
_OF_NO_ACCOUNT = ("help", "checkpoint", "log", "parallel", "trainer.max_iter", "trainer.grad_accum_iter", *_MAY_DIFFER)

ANOTHER_FOLDER = "another folder, by job.name, or by job.folder where that is set"


def job_folder(output_root: Path, job: Job) -> Path:
    """Where a run writes."""
    return output_root / (job.folder or Path(job.project, job.group, job.name))


def iteration_name(iteration: int) -> str:
    """What names of a checkpoint and its exports begin with; counts completed steps."""
    return f"iter_{iteration:09d}"


def latest(folder: Path) -> int | None:
    """The last complete checkpoint in a folder `checkpoints`; None if there is none.

    Raises:
        CheckpointError: the one that is named is not there.
        InputError: the folder is of another program.
    """
    if not is_file(folder / POINTER):
        # a run may be killed between its first checkpoint and its first pointer
        return max(complete(folder), default=None)
    name = read_text(folder / POINTER, limit=4096).strip()
    if name.endswith(".pt"):
        raise InputError(
            f"names {name}, which another program wrote; its optimizer state cannot be taken over.",
            where=str(folder / POINTER),
            fix=f"Choose {ANOTHER_FOLDER}, and pass checkpoint.load_path={folder / name}.",
        )
    found = _FOLDER.fullmatch(name)
    if found is None or not is_complete(folder / name):
        others = ", ".join(iteration_name(number) for number in sorted(complete(folder))) or "none"
        raise CheckpointError(
            f"names {name[:80]!r}, which is no complete checkpoint beside it.",
            where=str(folder / POINTER),
            fix=f"Write the name of one into it (there are: {others}), or choose {ANOTHER_FOLDER}.",
        )
    return int(found[1])


def is_complete(folder: Path) -> bool:
    """Whether a folder has what is written last into it."""
    return is_file(folder / DISTRIBUTED_METADATA) and is_file(folder / STATE)


def complete(folder: Path) -> list[int]:
    """Steps of the complete checkpoints in a folder, in no order."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(found[1]) for name in names if (found := _FOLDER.fullmatch(name)) and is_complete(folder / name)]


def partial_folder(folder: Path, name: str) -> Path:
    """A new name beside `folder / name`, under which its content is written."""
    return folder / f".{name}.{secrets.token_hex(4)}.partial"


def publish(partial: Path, target: Path) -> None:
    """Give a finished folder its name; what has it goes."""
    with writing(target):
        _sync_folder(partial)
        if os.path.lexists(target):
            remove(target)
        partial.rename(target)
        _sync_folder(target.parent)


def point_to(folder: Path, iteration: int) -> None:
    """Name the latest checkpoint, once it is complete."""
    with replacing(folder / POINTER) as temporary:
        temporary.write_text(f"{iteration_name(iteration)}\n")


def remove_old(folder: Path, *, keep: int, latest: int) -> None:
    """Remove all but the `keep` last checkpoints up to the latest. Newer ones are not this run's to remove."""
    for iteration in sorted(number for number in complete(folder) if number <= latest)[:-keep]:
        remove(folder / iteration_name(iteration))


def remove(folder: Path) -> None:
    """Remove a folder; a process that dies meanwhile leaves nothing under its name."""
    leaving = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    with writing(folder):
        folder.rename(leaving)
        if leaving.is_dir() and not leaving.is_symlink():
            shutil.rmtree(leaving, ignore_errors=True)  # the rest goes when a run begins
        else:
            leaving.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left half-written or half-removed; nobody may be writing there."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def claimed(folder: Path, wait_s: float = _LOCK_S) -> Iterator[None]:
    """A block in which no other run writes checkpoints into a folder; the claim ends with the process.

    Raises:
        InputError: another run does, and does not leave.
    """
    with writing(folder / _LOCK):
        folder.mkdir(parents=True, exist_ok=True)
    end, waits = time.monotonic() + wait_s, False
    lock = None
    while lock is None:
        with writing(folder / _LOCK):
            lock = try_lock(folder / _LOCK)
        if lock is None:
            if time.monotonic() > end:
                raise InputError(
                    "is being written by another run.",
                    where=str(folder),
                    fix=f"Wait for that run, or stop it; or choose {ANOTHER_FOLDER}.",
                )
            if not waits:
                output.status(f"waiting for the run that is leaving {folder}")
            waits = True
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()


def check_same_run(job: Path, recipe: Recipe) -> None:
    """That what is there to be resumed is of this recipe, as far as that matters; what else differs is told.

    Raises:
        InputError: it is another run; lists all fields that differ.
    """
    if latest(job / CHECKPOINTS) is None or not is_file(job / RECIPE):
        return
    former, own = flat(read_json(job / RECIPE)), flat(recorded(recipe))
    unlike = sorted(name for name in former.keys() | own.keys() if former.get(name) != own.get(name))
    serious = [name for name in unlike if _is_below(name, _MUST_STAY) and not _is_below(name, _MAY_DIFFER)]
    if serious:
        problems = [Problem(f"{name} is {_shown(own, name)}, and was {_shown(former, name)}.") for name in serious]
        raise InputError(
            f"holds a run that differs in {len(serious)} field{'s' * (len(serious) > 1)}; it cannot go on so.",
            where=str(job),
            fix=f"Choose {ANOTHER_FOLDER}, and to begin with these weights, checkpoint.load_path; or give the former "
            "values.",
            others=problems,
        )
    told = [name for name in unlike if not _is_below(name, _OF_NO_ACCOUNT)]
    if told:
        changes = ", ".join(f"{name} {_shown(former, name)} -> {_shown(own, name)}" for name in told)
        output.notice(f"the run goes on with other settings: {changes}")


def write_recipe(job: Path, recipe: Recipe) -> None:
    """Keep what a run was asked, for who resumes it and for people."""
    write_json(job / RECIPE, recorded(recipe))


def recorded(recipe: Recipe) -> Any:
    """A recipe as a JSON document, without secrets."""
    return hide_in(recipe.model_dump(mode="json"))


def differences(recipe: Recipe, named: Recipe) -> dict[str, tuple[Any, Any]]:
    """Fields in which a recipe differs from a named experiment: name to its own value and that of the experiment."""
    own, other = flat(recorded(recipe)), flat(recorded(named))
    return {name: (own.get(name), other.get(name)) for name in own | other if own.get(name) != other.get(name)}


def flat(document: Any, start: str = "") -> dict[str, Any]:
    """Dotted names of the values in nested objects."""
    if not isinstance(document, Mapping):
        return {start.removesuffix("."): document}
    parts: dict[str, Any] = {}
    for name, value in document.items():
        parts |= flat(value, f"{start}{name}.")
    return parts


def _is_below(name: str, starts: tuple[str, ...]) -> bool:
    return any(name == start or name.startswith(f"{start}.") for start in starts)


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json_bytes(values[name]).decode() if name in values else "not there"


def check_room(job: Path, num_bytes: int) -> None:
    """Raises InputError unless so many bytes fit where the run will write."""
    disk.check_room(
        job,
        num_bytes,
        wanted_for=" for checkpoints and exports",
        fix="Make room or name another output folder; or ask for less: a smaller checkpoint.keep, a larger "
        "checkpoint.export_iter.",
    )


def needed_bytes(recipe: Recipe, *, num_parameters: int, num_trained: int, begin: int = 0, num_kept: int = 0) -> int:
    """Bytes on disk that a run still asks for.

    A checkpoint has parameters, and of the trained ones two moments and the average, in float32; while one is written,
    the `keep` before are still there. Exports all stay: weights in bfloat16, averages in float32; of a LoRA, the
    adapter alone.

    Args:
        num_parameters: of all that is saved. num_trained: of them, those with gradients.
        begin: steps done already. num_kept: checkpoints that are there already.
    """
    averaged = recipe.ema.enabled
    checkpoint = 4 * num_parameters + (8 + 4 * averaged) * num_trained
    every = recipe.checkpoint.export_iter or recipe.checkpoint.save_iter
    steps = max(0, recipe.trainer.max_iter - begin)
    num_exports = -(-steps // every)
    exported = 4 * num_trained * (1 + averaged) if recipe.lora else num_parameters * (2 + 4 * averaged)
    num_checkpoints = min(recipe.checkpoint.keep + 1, -(-steps // recipe.checkpoint.save_iter))
    return max(0, num_checkpoints - num_kept) * checkpoint + num_exports * exported


def _sync_folder(folder: Path) -> None:
    """See the names in a folder onto the disk; not every file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
