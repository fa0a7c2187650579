"""The wrist view: guided by the room view, as the wrist camera would see it, and by what it simulates itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from cosmos_cli import output
from cosmos_cli.files.scratch import scratch_array
from cosmos_cli.runtime.workers.agreement import together
from cosmos_plugins.transfer1.guided.controls import AnyFrames, Frames, depth_control, resized, seg_control, stacked
from cosmos_plugins.transfer1.guided.guidance import Held
from cosmos_plugins.transfer1.guided.masks import pixel_masks
from cosmos_plugins.transfer1.guided.room import plain_sample
from cosmos_plugins.transfer1.guided.samples import GuidedSample
from cosmos_plugins.transfer1.guided.views import VIEWS
from cosmos_plugins.transfer1.guided.warp.composition import below_room, compose
from cosmos_plugins.transfer1.guided.warp.splat import splat
from cosmos_plugins.transfer1.guided.warp.zbuffer import warp
from cosmos_plugins.transfer1.samples import Sample

# F frames, H and W pixel height and width

_AT_ONCE = 4

ORIGINAL_FOREGROUND = (3, 4)
"""What the original's warp takes for the foreground, whatever it is asked for."""


@dataclass(frozen=True)
class WristGuide:
    """The room view as the wrist camera sees it, with the simulated foreground before it; it lies on disk.

    frames_FHWC: (F, H, W, 3) uint8.
    planes_2FHW: where the background is known, and where the foreground is; uint8, 0 or 1.
    """

    frames_FHWC: np.ndarray
    planes_2FHW: np.ndarray

    def planes(self) -> Frames:
        """As a picture: the foreground white, the background grey."""
        return Frames(self.frames_FHWC.shape, self._pictures)

    def _pictures(self, places: np.ndarray) -> np.ndarray:
        background_FHW, foreground_FHW = self.planes_2FHW[:, places]
        return np.repeat((background_FHW * 127 + foreground_FHW * 255)[..., None], 3, axis=-1)


def guide_wrist(sample: GuidedSample, room_FHWC: np.ndarray, device: torch.device) -> WristGuide:
    """Warp all frames of the room view that was made, a few at a time."""
    episode, request = sample.episode, sample.request
    size, folder = sample.guide_size, sample.outputs["episode"].parent
    guide = together(
        lambda: WristGuide(
            scratch_array((episode.num_frames, *size, 3), np.uint8, folder),
            scratch_array((2, episode.num_frames, *size), np.uint8, folder),
        )
    )
    foreground = ORIGINAL_FOREGROUND if request.as_original else request.foreground
    with output.progress("Warping the room view", episode.num_frames, unit="frames") as advance:
        for first in range(0, episode.num_frames, _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            room, wrist = episode.read("room", some), episode.read("wrist", some)
            if request.as_original:
                small_FHWC = resized(room_FHWC[some], *size, cv2.INTER_LINEAR)[:]
                warped = splat(small_FHWC, room, wrist, foreground=foreground, device=device)
            else:
                warped = warp(room_FHWC[some], room, wrist, foreground=foreground, size=size, device=device)
            composed = compose(
                warped, wrist, foreground=foreground, fill=request.fill_missing_pixels, reference=request.as_original
            )
            guide.frames_FHWC[some], guide.planes_2FHW[:, some] = composed.frames_FHWC, composed.planes_2FHW
            for _ in range(len(composed.frames_FHWC)):
                advance()
    return guide


def wrist_sample(sample: GuidedSample, room_FHWC: np.ndarray, guide: WristGuide) -> Sample:
    """The wrist view, below the room view unless it is to be made alone, as a plain transfer of the warped room."""
    episode, as_original = sample.episode, sample.request.as_original

    def both(of_room: AnyFrames, of_wrist: AnyFrames) -> AnyFrames:
        return stacked(of_room, of_wrist) if sample.request.concat_video_second_view else of_wrist

    height, width = guide.frames_FHWC.shape[1:3]
    shrunk = resized(room_FHWC, height, width, cv2.INTER_LINEAR if as_original else cv2.INTER_AREA)
    depth = [depth_control(episode, view, per_frame=as_original) for view in VIEWS]
    seg = [seg_control(episode, view, exchanged=as_original) for view in VIEWS]
    return plain_sample(
        sample,
        sample.asked.wrist,
        sample.asked.wrist_size,
        both(shrunk, guide.frames_FHWC),
        {"depth": both(*depth), "seg": both(*seg)},
    )


def held_in_wrist(sample: GuidedSample, guide: WristGuide) -> list[Held]:
    """The background that was warped, and then the foreground; a room view above belongs to the foreground."""
    as_original = sample.request.as_original

    def masks(plane: int, places: np.ndarray) -> np.ndarray:
        planes_2FHW = guide.planes_2FHW[:, places]
        if sample.request.concat_video_second_view:
            planes_2FHW = below_room(planes_2FHW)
        return pixel_masks(planes_2FHW[plane], (1,), sample.asked.wrist_size, original=as_original)

    background, foreground = partial(masks, 0), partial(masks, 1)
    if as_original:
        return [Held(background, "original"), Held(foreground, "original")]
    return [Held(background, "minimum"), Held(foreground, "maximum")]
