"""Published files of the models for several cameras."""

from __future__ import annotations

from collections.abc import Iterable

from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_plugins.transfer1.multiview.variants import CONTROLS, FOLDER, Kind, base_file, control_file

_BASE_BYTES, _CONTROL_BYTES = 14_470_000_000, 1_781_000_000


def repository(kinds: Iterable[Kind], controls: Iterable[str]) -> Repository:
    """The base networks and published control branches of these kinds. Those for Waymo's cameras are not published."""
    names = list(controls)
    files = []
    for kind in kinds:
        files.append(PublishedFile(base_file(kind).name, _BASE_BYTES))
        branches = (control_file(kind, name, waymo_example=False).name for name in names)
        files += [PublishedFile(branch, _CONTROL_BYTES) for branch in branches]
    return Repository(str(FOLDER), "main", tuple(files), "NVIDIA Open Model License")


MODELS = repository(("t2w", "v2w"), CONTROLS)
"""Everything that is published for them, besides the tokenizer and the text encoder."""
