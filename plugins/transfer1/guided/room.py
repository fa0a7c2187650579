"""The room view: what it is made of, and which part of it is held to the simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import cv2
import numpy as np

from cosmos_plugins.transfer1.controls.blur import blur
from cosmos_plugins.transfer1.controls.canny import outline
from cosmos_plugins.transfer1.guided.controls import (
    AnyFrames,
    Frames,
    depth_control,
    resized,
    rgb_frames,
    seg_control,
)
from cosmos_plugins.transfer1.guided.guidance import Held
from cosmos_plugins.transfer1.guided.masks import pixel_masks
from cosmos_plugins.transfer1.guided.samples import GuidedSample, Size
from cosmos_plugins.transfer1.requests import TransferRequest
from cosmos_plugins.transfer1.samples import Control, Paths, Sample

# F frames, H and W pixel height and width


def room_sample(sample: GuidedSample) -> Sample:
    """The room view as a plain transfer of what the room camera simulates."""
    episode, as_original = sample.episode, sample.request.as_original
    return plain_sample(
        sample,
        sample.asked.room,
        sample.asked.room_size,
        rgb_frames(episode, "room"),
        {
            "depth": depth_control(episode, "room", per_frame=as_original),
            "seg": seg_control(episode, "room", exchanged=as_original),
        },
    )


def held_in_room(sample: GuidedSample) -> list[Held]:
    """The foreground."""
    request, labels = sample.request, partial(sample.episode.labels, "room")
    return [foreground_of(labels, request.foreground, sample.asked.room_size, as_original=request.as_original)]


def foreground_of(
    labels: Callable[[np.ndarray], np.ndarray], foreground: Sequence[int], size: Size, *, as_original: bool
) -> Held:
    """Where these labels are, at the size of generation.

    Args:
        labels: places of frames to (F, H, W) uint8.
    """

    def masks(places: np.ndarray) -> np.ndarray:
        return pixel_masks(labels(places), foreground, size, original=as_original)

    return Held(masks, "original" if as_original else "maximum")


def plain_sample(
    sample: GuidedSample,
    request: TransferRequest,
    size: Size,
    frames_FHWC: AnyFrames,
    of_episode: Mapping[str, AnyFrames],
) -> Sample:
    """A view as a plain transfer has it; its frames are read and its controls computed when a chunk needs them.

    Args:
        size: height and width of generation, to which everything is stretched.
        of_episode: the controls that an episode has; edge and vis are made of the frames.
    """
    reference = resized(frames_FHWC, *size, cv2.INTER_AREA)
    made: dict[str, AnyFrames] = {
        "edge": _each(reference, lambda image: outline(image, request.canny_threshold)),
        "vis": _each(reference, lambda image: blur(image, request.blur_strength)),
        "depth": resized(of_episode["depth"], *size, cv2.INTER_LINEAR),
        "seg": resized(of_episode["seg"], *size, cv2.INTER_NEAREST),
    }
    controls = []
    for name, control in request.active_controls.items():
        assert isinstance(control.control_weight, float)
        # frames that are made when they are needed are indexed like an array
        controls.append(Control(name, cast(Any, made[name]), control.control_weight, is_computed=True))
    paths = Paths(sample.paths.base, sample.paths.tokenizer, sample.paths.text_encoder, sample.paths.controls)
    return Sample(request, cast(Any, reference), tuple(controls), *size, sample.episode.num_frames, {}, paths)


def _each(frames_FHWC: AnyFrames, make: Callable[[np.ndarray], np.ndarray]) -> Frames:
    def some(places: np.ndarray) -> np.ndarray:
        # the last frame is asked for many times where a chunk is longer than the clip
        wanted, back = np.unique(places, return_inverse=True)
        return np.stack([make(image) for image in frames_FHWC[wanted]])[back]

    shape = (len(frames_FHWC), *frames_FHWC.shape[1:3], 3)
    return Frames(shape, some)
