"""The wrist view: guided by the room view, as the wrist camera would see it, and by what it simulates itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from cosmos_cli import output
from cosmos_cli.files.scratch import scratch_array
from cosmos_plugins.transfer1.guided.composition import BACKGROUND, FOREGROUND, compose
from cosmos_plugins.transfer1.guided.controls import AnyFrames, Frames, depth_control, resized, seg_control, stacked
from cosmos_plugins.transfer1.guided.guidance import Held
from cosmos_plugins.transfer1.guided.masks import Reduction, pixel_masks
from cosmos_plugins.transfer1.guided.room import plain_sample
from cosmos_plugins.transfer1.guided.samples import GuidedSample, Size
from cosmos_plugins.transfer1.guided.splat import splat
from cosmos_plugins.transfer1.guided.views import VIEWS
from cosmos_plugins.transfer1.guided.warp import warp
from cosmos_plugins.transfer1.samples import Sample

# F frames, H and W pixel height and width

_AT_ONCE = 4

ORIGINAL_FOREGROUND = (3, 4)
"""What the original's warp takes for the foreground, whatever it is asked for."""


@dataclass(frozen=True)
class Warped:
    """The room view as the wrist camera sees it, with the simulated foreground before it; it lies on disk.

    frames_FHWC: (F, H, W, 3) uint8.
    roles_FHW: `BACKGROUND` where the room view is seen or was filled in, `FOREGROUND`, or 0; uint8.
    """

    frames_FHWC: np.ndarray
    roles_FHW: np.ndarray

    def roles(self) -> Frames:
        """As a picture: the foreground white, the background grey."""
        return Frames(self.frames_FHWC.shape, self._pictures)  # type: ignore[arg-type]  # of four sizes

    def _pictures(self, places: np.ndarray) -> np.ndarray:
        grey = np.zeros(256, np.uint8)
        grey[[BACKGROUND, FOREGROUND]] = 127, 255
        return np.repeat(grey[self.roles_FHW[places]][..., None], 3, axis=-1)


def warp_room(sample: GuidedSample, room_FHWC: np.ndarray, device: torch.device) -> Warped:
    """Warp all frames of the room view that was made, a few at a time."""
    episode, request = sample.episode, sample.request
    size, folder = _warped_size(sample), sample.outputs["episode"].parent
    frames_FHWC = scratch_array((episode.num_frames, *size, 3), np.uint8, folder)
    roles_FHW = scratch_array((episode.num_frames, *size), np.uint8, folder)
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
            frames_FHWC[some], roles_FHW[some] = compose(
                warped,
                wrist,
                foreground=foreground,
                fill_missing_pixels=request.fill_missing_pixels,
                as_original=request.as_original,
            )
            for _ in range(len(room.rgb_FHW3)):
                advance()
    return Warped(frames_FHWC, roles_FHW)


def _warped_size(sample: GuidedSample) -> Size:
    """As large as the wrist view will be made; the original takes the size of the episode."""
    if sample.request.as_original:
        return sample.episode.height, sample.episode.width
    height, width = sample.asked.wrist_size
    return height // (1 + sample.request.concat_video_second_view), width


def wrist_sample(sample: GuidedSample, room_FHWC: np.ndarray, warped: Warped) -> Sample:
    """The wrist view, below the room view unless it is to be made alone, as a plain transfer of the warped room."""
    episode, as_original = sample.episode, sample.request.as_original

    def both(of_room: AnyFrames, of_wrist: AnyFrames) -> AnyFrames:
        return stacked(of_room, of_wrist) if sample.request.concat_video_second_view else of_wrist

    height, width = warped.frames_FHWC.shape[1:3]
    shrunk = resized(room_FHWC, height, width, cv2.INTER_LINEAR if as_original else cv2.INTER_AREA)
    depth = [depth_control(episode, view, per_frame=as_original) for view in VIEWS]
    seg = [seg_control(episode, view, exchanged=as_original) for view in VIEWS]
    return plain_sample(
        sample,
        sample.asked.wrist,
        sample.asked.wrist_size,
        both(shrunk, warped.frames_FHWC),
        {"depth": both(*depth), "seg": both(*seg)},
    )


def held_in_wrist(sample: GuidedSample, warped: Warped) -> list[Held]:
    """The background that was warped, and then the foreground; a room view above belongs to the foreground."""
    as_original = sample.request.as_original

    def masks(role: int, above: int, places: np.ndarray) -> np.ndarray:
        labels_FHW = (warped.roles_FHW[places] == role).astype(np.uint8)
        if sample.request.concat_video_second_view:
            labels_FHW = np.concatenate([np.full_like(labels_FHW, above), labels_FHW], axis=1)
        return pixel_masks(labels_FHW, (1,), sample.asked.wrist_size, original=as_original)

    reductions: tuple[Reduction, Reduction] = ("original", "original") if as_original else ("minimum", "maximum")
    return [
        Held(partial(masks, BACKGROUND, 0), reductions[0]),
        Held(partial(masks, FOREGROUND, 1), reductions[1]),
    ]
