"""Reading the frames that a video begins with: the last of an input. Torch, and what decodes, only inside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_cli.errors import InputError
from cosmos_cli.generation.checks import check_file
from cosmos_cli.media.source import Source

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


NUM_INPUT_FRAMES = "--num-input-frames"


def read_given(
    source: Source | None, count: int, *, where: str, option: str = NUM_INPUT_FRAMES
) -> tuple[np.ndarray | None, int]:
    """The last `count` frames of an input, in its own size, and the number of the first of them in it.

    Args:
        where: the option that names the input. option: the one that says how many frames are needed.
    Returns:
        (count, H, W, 3) uint8 and a number from 0; None and 0 if there is no input.
    Raises:
        InputError: the input is missing, unreadable, a picture where several frames are needed, or too short.
    """
    if source is None:
        return None, 0
    check_file(source, where, "a picture or a video")

    from cosmos_cli.media.image import is_image, read_image
    from cosmos_cli.media.video import read_last_frames

    if is_image(source):
        if count > 1:
            raise _too_short(source, 1, count, where, option)
        return read_image(source)[None], 0
    clip = read_last_frames(source, count)
    if len(clip.frames_FHWC) < count:
        raise _too_short(source, clip.num_source_frames, count, where, option)
    return clip.frames_FHWC, clip.num_source_frames - count


def check_given(source: Source | None, count: int, *, where: str, option: str = NUM_INPUT_FRAMES) -> int:
    """Frames of an input, as its container counts them, 0 if there is none. Raises InputError: they are too few.

    Arguments as `read_given`.
    """
    if source is None:
        return 0
    check_file(source, where, "a picture or a video")
    from cosmos_cli.media.facts import read_facts

    num_frames = read_facts(source).num_frames
    if num_frames < count:
        raise _too_short(source, num_frames, count, where, option)
    return num_frames


def _too_short(source: Source, num_frames: int, count: int, where: str, option: str) -> InputError:
    from cosmos_cli.media.image import is_image

    if is_image(source):
        return InputError(
            f"{source} is a still picture, but {option} {count} needs a video.",
            where=where,
            fix=f"Give a video, or pass {option} 1.",
        )
    frames = "1 frame" if num_frames == 1 else f"{num_frames} frames"
    return InputError(
        f"{source} has {frames}, but {option} {count} needs at least that many.",
        where=where,
        fix=f"Give a longer clip, or pass {option} 1.",
    )
