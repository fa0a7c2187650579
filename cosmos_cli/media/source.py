"""Where pictures and videos come from: a file, or frames that a program has in memory."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainSerializer, WrapValidator

from cosmos_cli.files.identity import digest
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.stores import stored

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


class GivenFrames:
    """A picture or the frames of a video in memory, taken where a request would name a file.

    >>> GivenFrames(PIL.Image.open("street.jpg"))
    >>> GivenFrames(np.zeros((93, 704, 1280, 3), np.uint8), fps=16)

    Args:
        given: a PIL picture, which its EXIF orientation turns upright, or uint8 RGB: (H, W, 3) for a picture,
            (F, H, W, 3) for a video.
        fps: frames per second of a video, for what depends on it.
    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, given: Any, *, fps: float = 24.0) -> None:
        import numpy as np

        if hasattr(given, "convert"):  # a PIL picture, whatever its mode
            from cosmos_cli.media.pixels import pixels_of

            given = pixels_of(given)
        if not isinstance(given, np.ndarray) or given.dtype != np.uint8:
            raise ValueError("must be a path, a PIL picture or a uint8 array of frames.")
        if given.ndim not in (3, 4) or given.shape[-1] != 3 or not given.size:
            raise ValueError(f"must be (H, W, 3) or (F, H, W, 3), but has the shape {given.shape}.")
        self.is_picture = given.ndim == 3
        self.frames_FHWC: np.ndarray = given[None] if self.is_picture else given
        self.fps = fps

    @property
    def stem(self) -> str:
        """What stands for the name of a file."""
        return "frames"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pixels."""
        import numpy as np

        return hashlib.sha256(np.ascontiguousarray(self.frames_FHWC).tobytes()).hexdigest()

    def __str__(self) -> str:
        num_frames, height, width, _ = self.frames_FHWC.shape
        what = "a picture" if self.is_picture else f"{num_frames} frames"
        return f"<{what} of {width}x{height} in memory, sha256 {self.digest[:16]}>"

    __repr__ = __str__


def _path_or_frames(value: Any, as_path: Any) -> Any:
    if isinstance(value, GivenFrames):
        return value
    if hasattr(value, "convert") or hasattr(value, "__array_interface__"):
        return GivenFrames(value)
    path = as_path(value)
    return stored(path) if isinstance(path, Path) else path


if TYPE_CHECKING:
    Source = Path | GivenFrames
else:
    # on the command line and in files it is a path; a record of frames says which they were
    Source = Annotated[Path, WrapValidator(_path_or_frames), PlainSerializer(str, when_used="json")]


def digest_of(source: Source) -> str:
    """SHA-256 of the content, wherever it is."""
    return source.digest if isinstance(source, GivenFrames) else digest(source)


def is_there(source: Source) -> bool:
    """Whether there is something to read: frames, or a file."""
    return isinstance(source, GivenFrames) or is_file(source)
