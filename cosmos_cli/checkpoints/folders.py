"""Checkpoints of several files: which file holds which tensor, and whether all of them are there."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePosixPath

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json

DISTRIBUTED_METADATA = ".metadata"

_SUFFIXES = {".safetensors", ".pt", ".pth", ".bin", ".ckpt"}
_NUM_NAMED = 20
"""Files that an error names."""

_NUMBERED = re.compile(r"(?P<stem>.+)-\d+-of-(?P<total>\d+)(?P<suffix>\.\w+)")


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of the one checkpoint in a folder. Other subfolders than `model` are not searched.

    Returns:
        The `.metadata` of a distributed checkpoint (also that in a subfolder `model`, if the folder holds no other: so
        does training keep the model apart from the optimizer), an index, a single file, or all parts of a numbered set
        (`name-00001-of-00002.safetensors`, ...) that has no index.
    Raises:
        CheckpointError: the folder holds no checkpoint, more than one, or an incomplete one.
    """
    candidates: list[list[Path]] = []
    if (folder / DISTRIBUTED_METADATA).is_file():
        candidates.append([folder / DISTRIBUTED_METADATA])
    indices = sorted(folder.glob("*.index.json"))
    candidates += [[index] for index in indices]
    indexed = {shard for index in indices for shard in read_index(index).values()}
    files = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    candidates += _group_numbered(file for file in files if file not in indexed)

    of_training = folder / "model" / DISTRIBUTED_METADATA
    if not candidates and of_training.is_file():
        return [of_training]
    if not candidates:
        raise CheckpointError(
            f"The folder holds no checkpoint: no {', '.join(sorted(_SUFFIXES))} file, no index and no "
            "distributed checkpoint.",
            where=str(folder),
            fix="Give the checkpoint file itself, or the folder that holds it.",
        )
    if len(candidates) > 1:
        names = ", ".join(files[0].name for files in candidates)
        raise CheckpointError(
            f"The folder holds more than one checkpoint: {names}.",
            where=str(folder),
            fix="Give the path of the one you mean.",
        )
    return candidates[0]


def read_index(index: Path) -> dict[str, Path]:
    """The file of every tensor that an index (`*.index.json`) lists.

    Raises:
        CheckpointError: the index is malformed, names files outside its folder, or files that are missing.
    """
    content = read_json(index, kind=CheckpointError, fix="Download it again.")
    if not isinstance(content, dict) or "weight_map" not in content:
        raise _bad_index(index, "it is no JSON object with a `weight_map`")
    weight_map = content["weight_map"]
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise _bad_index(index, "its `weight_map` does not map tensor names to file names")
    files = resolve_files(index.parent, weight_map.values(), listed_in=index)
    return {key: files[name] for key, name in weight_map.items()}


def resolve_files(folder: Path, names: Iterable[str], *, listed_in: Path) -> dict[str, Path]:
    """Paths of the files that an untrusted listing names; all problems are reported at once.

    Raises:
        CheckpointError: a name leads outside the folder, or there is no such file.
    """
    paths = {name: folder / name for name in names}
    outside = sorted(reprlib.repr(name) for name in paths if not _is_inside(name))
    if outside:
        raise CheckpointError(
            f"{listed_in.name} was refused: it names files outside its folder: {', '.join(outside)}.",
            where=str(listed_in),
            fix="Put all files of the checkpoint into one folder, or get it from a source you trust.",
        )
    missing = sorted(name for name, path in paths.items() if not _is_file(path))
    if missing:
        rest = f" and {len(missing) - _NUM_NAMED} more" if len(missing) > _NUM_NAMED else ""
        raise CheckpointError(
            f"{len(missing)} of the {len(paths)} files that {listed_in.name} lists are missing: "
            f"{', '.join(name[:255] for name in missing[:_NUM_NAMED])}{rest}.",
            where=str(listed_in),
            fix="Download the missing files into the same folder.",
        )
    return paths


def _is_inside(name: str) -> bool:
    # links are the user's: the Hub's cache is made of them, and no listing can make one
    return not ("\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _group_numbered(files: Iterable[Path]) -> list[list[Path]]:
    """Each file by itself, except that the parts of a numbered set stand together."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        match = _NUMBERED.fullmatch(file.name)
        group = match.group("stem", "total", "suffix") if match else (file.name,)
        groups.setdefault(group, []).append(file)
    for group, parts in groups.items():
        if len(group) == 3:
            _check_complete(parts, stem=group[0], total=group[1], suffix=group[2])
    return list(groups.values())


def _check_complete(parts: list[Path], *, stem: str, total: str, suffix: str) -> None:
    present = {part.name for part in parts}
    expected = (f"{stem}-{number:0{len(total)}d}-of-{total}{suffix}" for number in range(1, int(total) + 1))
    # only the first few names: a file name may claim any number of parts
    missing = list(islice((name for name in expected if name not in present), 20))
    if missing:
        raise CheckpointError(
            f"The folder has {len(parts)} of {int(total)} parts of a checkpoint; missing: {', '.join(missing)}.",
            where=str(parts[0].parent),
            fix="Download the missing files into the same folder.",
        )


def _bad_index(index: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{index.name} cannot be used as an index: {why}.", where=str(index), fix="Download it again."
    )
