"""How many clips the videos are good for, and what each shares with the one before it."""

from __future__ import annotations

from cosmos_cli.errors import InputError
from cosmos_plugins.transfer1.chunks import Chunk
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest
from cosmos_plugins.transfer1.multiview.variants import CLIP_FRAMES, Kind


def plan_clips(kind: Kind, num_frames: int, overlap: int, limit: int) -> list[Chunk]:
    """The clips that fit into videos of `num_frames` frames; what is left over at the end is not used.

    Args:
        overlap: frames that a clip of the v2w model is given, the first of them too.
        limit: the most there may be; 0 or less is as many as fit.
    Returns:
        One clip of t2w, any number of v2w, none if not even one fits.
    """
    if kind == "t2w":
        overlap, limit = 0, 1
    step = CLIP_FRAMES - overlap
    count = max(0, (num_frames - overlap) // step)
    if limit > 0:
        count = min(count, limit)
    return [Chunk(i, i * step, i * step + CLIP_FRAMES, overlap) for i in range(count)]


def clips_of(request: MultiviewRequest, num_frames: int) -> list[Chunk]:
    """The clips of a request whose front video has `num_frames` frames. Raises InputError: not even one fits."""
    clips = plan_clips(request.kind, num_frames, request.num_input_frames, request.n_clip_max)
    if not clips:
        raise InputError(
            f"has {num_frames} frames, fewer than the {CLIP_FRAMES} of a clip.",
            where="--view-condition-video",
            fix="Give a longer video.",
        )
    return clips
