"""Which folder or file of a checkpoint a user means, and in which layout it is. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA, checkpoint_files
from cosmos_cli.checkpoints.trained import trained_weights
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.missing import exists

BACKEND = "metadata.json"
"""Tells how NeMo wrote a store."""
COMMON = "common.pt"
"""What NeMo keeps beside tensors. It is a pickle, holds nothing that is needed here, and is not read."""
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
DIFFUSERS_CONFIG = "config.json"
DIFFUSERS_CLASS = "CosmosTransformer3DModel"

Layout = Literal["native", "nemo-zarr", "nemo-torch-dist", "diffusers", "distributed"]
"""What a folder looks like from outside. "distributed" may hold native names as well as NeMo's."""

_BACKENDS: dict[str, Layout] = {"zarr": "nemo-zarr", "torch_dist": "nemo-torch-dist"}
_INSIDE = ("weights", "nemo", "transformer", "model")
"""Folders of weights inside of those that users name."""
_SAVED = re.compile(r"(?P<name>.+?)(?:-last)?")
_UNFINISHED = "-unfinished"
_ARRAYS = "module.*/.zarray"
_MAX_NAMED = 8


class Found(NamedTuple):
    """A checkpoint: a file or a folder, and its layout."""

    path: Path
    layout: Layout


def find_checkpoint(path: Path) -> Found:
    """The checkpoint at a path.

    Args:
        path: a file; a folder of any layout; the folder around it that NeMo or the Hub have, with `weights`, `nemo` or
            `transformer` inside; the folder of a training; or a folder of one checkpoint of NeMo.
    Raises:
        CheckpointError: there is none, or several, or it is half-written.
    """
    try:
        return _find(path)
    except OSError as error:
        raise CheckpointError(
            f"cannot be read: {error.strerror or type(error).__name__}.",
            where=str(path),
            fix="Give a path that you can read.",
        ) from error


def _find(path: Path) -> Found:
    if not exists(path):
        raise CheckpointError(
            "does not exist.", where=str(path), fix="Check the path, or download the checkpoint: cosmos nemo download"
        )
    if not path.is_dir():
        return Found(path, "native")
    found = _in_folder(path)
    if found is None and (exported := trained_weights(path)) is not None:
        return Found(exported, "native")
    if found is None:
        found = _one_of(path, [folder for folder in sorted(path.iterdir()) if folder.is_dir()])
    if found is None:
        raise _nothing(path)
    _refuse_unfinished(path, found.path)
    return found


def _in_folder(path: Path) -> Found | None:
    """The checkpoint that a folder is, or that is in a folder of a known name inside."""
    for folder in (path, *(path / name for name in _INSIDE)):
        if folder.is_dir() and (layout := _layout(folder)) is not None:
            return Found(folder, layout)
    return None


def _one_of(path: Path, folders: Iterable[Path]) -> Found | None:
    """The only checkpoint among folders. NeMo keeps the last one twice."""
    found = {folder: inner for folder in folders if (inner := _in_folder(folder)) is not None}
    once: dict[str, Found] = {}
    for folder, inner in found.items():
        name = _SAVED.fullmatch(folder.name)
        assert name is not None
        once.setdefault(name["name"], inner)
    if len(once) > 1:
        names = ", ".join(folder.name for folder in list(found)[:_MAX_NAMED])
        raise CheckpointError(
            f"The folder holds {len(found)} checkpoints: {names}.",
            where=str(path),
            fix="Give the path of the one you mean.",
        )
    return next(iter(once.values()), None)


def _layout(folder: Path) -> Layout | None:
    if (folder / BACKEND).is_file():
        document = read_json(folder / BACKEND, kind=CheckpointError, fix="Download it again.")
        backend = document.get("sharded_backend") if isinstance(document, dict) else None
        if backend is not None:
            layout = _BACKENDS.get(str(backend))
            if layout is None:
                raise CheckpointError(
                    f"was written as {str(backend)[:40]!r}, which cannot be read here.",
                    where=str(folder / BACKEND),
                    fix="Save it with trainer.strategy.save_ckpt_format=torch_dist or zarr.",
                )
            return layout
    if (folder / DISTRIBUTED_METADATA).is_file():
        return "distributed"
    if next(folder.glob(_ARRAYS), None) is not None:
        return "nemo-zarr"
    if next(folder.glob(f"{DIFFUSERS_WEIGHTS}*"), None) is not None or _is_diffusers(folder / DIFFUSERS_CONFIG):
        return "diffusers"
    return "native" if _has_files(folder) else None


def _is_diffusers(config: Path) -> bool:
    if not config.is_file():
        return False
    document = read_json(config, kind=CheckpointError, fix="Download it again.")
    return isinstance(document, dict) and document.get("_class_name") == DIFFUSERS_CLASS


def _has_files(folder: Path) -> bool:
    """Whether there is something that may be weights; whoever opens it says what is wrong with it."""
    if trained_weights(folder) is not None:
        return False
    try:
        return bool(checkpoint_files(folder))
    except CheckpointError as error:
        return "holds no checkpoint" not in error.problems[0].what


def _refuse_unfinished(given: Path, found: Path) -> None:
    """NeMo puts a mark beside what it is writing, which stays where a run was killed."""
    for folder in {given.absolute(), found.absolute(), found.absolute().parent}:
        mark = folder.with_name(f"{folder.name}{_UNFINISHED}")
        if mark.exists():
            raise CheckpointError(
                f"is half-written: {mark.name} lies beside it, which NeMo takes away when a checkpoint is whole.",
                where=str(folder),
                fix="Wait until it is whole, or take an earlier checkpoint.",
            )


def _nothing(path: Path) -> CheckpointError:
    names = sorted(entry.name for entry in path.iterdir())
    rest = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return CheckpointError(
        f"holds no checkpoint of NVIDIA's, NeMo's or Diffusers' layout; it holds "
        f"{', '.join(names[:_MAX_NAMED]) or 'nothing'}{rest}.",
        where=str(path),
        fix="Give the file model.pt, a folder with metadata.json or transformer, or the folder around it.",
    )
