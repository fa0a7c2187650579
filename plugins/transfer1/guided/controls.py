"""Frames of an episode that are made when they are asked for: what a view shows, and its control videos."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from cosmos_cli.media.resize import stretch
from cosmos_plugins.transfer1.guided.episodes.episode import Episode
from cosmos_plugins.transfer1.guided.episodes.labels import is_one_of
from cosmos_plugins.transfer1.guided.views import VIEWS, View

# F frames, H and W pixel height and width

NEAR_M = 0.01
"""What is nearer has the brightest grey too, in metres: one stray number must not darken a whole episode."""

_AT_ONCE = 64


@dataclass(frozen=True)
class Frames:
    """Frames that can be indexed like an array along their first axis, and are made anew each time.

    >>> frames = rgb_frames(episode, "room")
    >>> take(frames, chunk)

    shape: (F, H, W, 3).
    make: places of frames, ascending or not, to (F, H, W, 3) uint8.
    """

    shape: tuple[int, int, int, int]
    make: Callable[[np.ndarray], np.ndarray]

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: int | slice | np.ndarray) -> np.ndarray:
        if isinstance(frames, slice):
            return self.make(np.arange(*frames.indices(len(self))))
        places = np.asarray(frames)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        if places.size and not (places.min() >= -len(self) and places.max() < len(self)):
            raise IndexError(f"frames {places.min()} to {places.max()} of {len(self)}")
        places = np.where(places < 0, places + len(self), places)
        made = self.make(np.atleast_1d(places))
        return made[0] if places.ndim == 0 else made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        for first in range(0, len(self), _AT_ONCE):
            whole[first : first + _AT_ONCE] = self[first : first + _AT_ONCE]
        return whole if dtype is None else whole.astype(dtype, copy=False)


AnyFrames = Frames | np.ndarray


def rgb_frames(episode: Episode, view: View) -> Frames:
    """What a camera sees."""
    return Frames(_shape(episode), partial(episode.rgb, view))


def mask_frames(episode: Episode, view: View, foreground: Collection[int]) -> Frames:
    """White where the foreground is, else black."""
    return Frames(_shape(episode), partial(_masks, episode, view, frozenset(foreground)))


def depth_control(episode: Episode, view: View, *, per_frame: bool = False) -> Frames:
    """The inverse of depth, from 0 for the farthest to 255 for the nearest of the whole episode; 0 if all is one.

    Args:
        per_frame: as the original does, each frame has its own nearest and farthest, so that the whole flickers.
    Source: i4h-workflows, utils/inference_utils.py (behaviour), for `per_frame`.
    """
    return Frames(_shape(episode), partial(_inverse_depth, episode, view, per_frame))


def seg_control(episode: Episode, view: View, *, exchanged: bool = False) -> Frames:
    """The segmentation in the colours that the episode has.

    Args:
        exchanged: with red for blue and blue for red, as the original has them.
    """
    return Frames(_shape(episode), partial(_segmentation, episode, view, exchanged))


def stacked(top: AnyFrames, bottom: AnyFrames) -> Frames:
    """Two of one length and width as one, the first above the second. Raises ValueError: they differ."""
    if len(top) != len(bottom) or top.shape[2:] != bottom.shape[2:]:
        raise ValueError(f"{top.shape} cannot stand on {bottom.shape}")
    num_frames, height, width, colours = top.shape
    return Frames((num_frames, height + bottom.shape[1], width, colours), partial(_both, top, bottom))


def resized(frames: AnyFrames, height: int, width: int, interpolation: int = cv2.INTER_AREA) -> Frames:
    """All frames scaled to exactly height x width.

    Args:
        interpolation: of OpenCV: INTER_AREA for input videos, INTER_LINEAR for depth and INTER_NEAREST for
            segmentations, as for all videos that are transferred.
    """
    shape = (len(frames), height, width, frames.shape[3])
    return Frames(shape, partial(_resized, frames, height, width, interpolation))


def _shape(episode: Episode) -> tuple[int, int, int, int]:
    return (episode.num_frames, episode.height, episode.width, 3)


def _masks(episode: Episode, view: View, foreground: Collection[int], places: np.ndarray) -> np.ndarray:
    return _grey(is_one_of(episode.labels(view, places), foreground) * np.uint8(255))


def _inverse_depth(episode: Episode, view: View, per_frame: bool, places: np.ndarray) -> np.ndarray:
    inverse_FHW = _inverse(episode.depth(view, places))
    if per_frame:
        low, high = (extreme(inverse_FHW, axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    else:
        near, far = episode.depth_ranges[VIEWS.index(view)]
        low, high = _inverse(np.float32(max(far, NEAR_M))), _inverse(np.float32(max(near, NEAR_M)))
    span = np.where(high > low, high - low, 1)
    # what is farther than all that was measured is nothing
    return _grey(((inverse_FHW - low) / span * 255).clip(0, 255).astype(np.uint8))


def _inverse(depth: Any) -> Any:
    return 1 / (depth + np.float32(1e-6))


def _segmentation(episode: Episode, view: View, exchanged: bool, places: np.ndarray) -> np.ndarray:
    colours_FHW3 = episode.colours(view, places)
    return colours_FHW3[..., ::-1] if exchanged else colours_FHW3


def _grey(levels_FHW: np.ndarray) -> np.ndarray:
    return np.repeat(levels_FHW[..., None], 3, axis=-1)


def _both(top: AnyFrames, bottom: AnyFrames, places: np.ndarray) -> np.ndarray:
    return np.concatenate([top[places], bottom[places]], axis=1)


def _resized(frames: AnyFrames, height: int, width: int, interpolation: int, places: np.ndarray) -> np.ndarray:
    made = np.empty((len(places), height, width, frames.shape[3]), np.uint8)
    # few at a time, and of those that are asked for several times, only one
    wanted, back = np.unique(places, return_inverse=True)
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        for place, image_HWC in zip(some, frames[some], strict=True):
            made[back == np.searchsorted(wanted, place)] = stretch(
                image_HWC, height, width, interpolation=interpolation
            )
    return made
