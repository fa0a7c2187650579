"""What a family brings to the demonstration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KINDS = {".png": "image/png", ".mp4": "video/mp4"}
"""What a page shows: suffix to media type."""

Role = Literal["input", "control", "output", "truth"]
"""What a model is given, what holds it, what it makes, and what it should ideally make and never sees."""


@dataclass(frozen=True)
class Shown:
    """One picture or video of a part, in its folder.

    caption: a few words below it. alt: what it shows, for who cannot see it.
    """

    role: Role
    path: Path
    caption: str
    alt: str

    def __post_init__(self) -> None:
        if self.path.suffix not in KINDS:
            raise ValueError(f"{self.path} is no {' or '.join(KINDS)}")


@dataclass(frozen=True)
class Part:
    """One run of one command.

    title: what happens, in a few words. about: two or three sentences on it.
    prompt: what the model reads.
    arguments: of `cosmos`. They replace what is there (`--overwrite`), for who runs the command again, and name no file
        but those that the part has written or that the command writes.
    shown: asked for once the command is done; in the order of the page.
    weights: file or folder of what its model has learned, if it reads one: with other weights it is made anew.
    """

    title: str
    about: str
    prompt: str
    arguments: Sequence[str]
    shown: Callable[[], Sequence[Shown]]
    weights: Path | None = None
