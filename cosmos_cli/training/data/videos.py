"""Clips of one view: `videos/NAME.mp4`, with their texts in `t5_xxl/NAME.pickle`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.media.resize import stretch_smoothly
from cosmos_cli.media.video import Clip, read_frames
from cosmos_cli.training.data.checking import check_each, problems_in
from cosmos_cli.training.data.embeddings import check_embedding, read_embedding
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.data.folders import TEXTS, VIDEOS, clips, embeddings, length_of, root_of, span
from cosmos_cli.training.recipe import Data, Recipe


class VideoFolder:
    """A folder of clips. An example is a window of one of them, at any place, in the clip's own rate.

    Raises:
        InputError: the folder is not there or holds no clips.
    Source: cosmos-predict2, data/dataset_video.py (behaviour).
    """

    def __init__(self, recipe: Recipe) -> None:
        self._data = data = recipe.data
        if data.num_views > 1:
            raise InputError(
                f"{data.num_views} views in a data set of one.", where="data.num_views", fix="Set data.num_views=1."
            )
        self._root = root_of(data)
        self._clips = list(clips(self._root / VIDEOS).values())
        self._texts = embeddings(self._root / TEXTS)

    def __len__(self) -> int:
        return len(self._clips)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number; `generator` says where in it the window begins."""
        data, path = self._data, self._clips[index]
        text_LC = read_embedding(self._text_of(path), data.text_tokens, data.text_channels)
        num_starts = length_of(path).num_frames - span(data) + 1
        if num_starts < 1:
            raise too_short(path, data)
        start = int(torch.randint(num_starts, (1,), generator=generator))
        clip = read_window(path, data, start)
        return Example(path.name, torch.from_numpy(clip.frames_FHWC), text_LC, rate_of(clip.fps, data))

    def check(self) -> None:
        """Raises InputError: all clips that cannot be used, and all texts that are missing or of another model."""
        check_each(self._clips, self._problems, what="clips")
        check_rates([(path, length_of(path).fps) for path in self._clips], self._data)

    def _problems(self, path: Path) -> list[Problem]:
        text = partial(check_embedding, self._text_of(path), self._data.text_channels)
        return problems_in(partial(check_length, path, self._data), text)

    def _text_of(self, path: Path) -> Path:
        return self._texts.get(path.stem, self._root / TEXTS / f"{path.stem}.pickle")


def read_window(path: Path, data: Data, start: int) -> Clip:
    """The frames of a window in the size of the recipe, whatever that does to their shape."""

    def each(image_HWC: np.ndarray) -> np.ndarray:
        return stretch_smoothly(image_HWC, data.height, data.width)

    return read_frames(path, range(start, start + span(data), data.sequence_interval), each)


def rate_of(fps: float, data: Data) -> float:
    """Frames per second of a window."""
    return (fps or data.fps) / data.sequence_interval


def check_length(path: Path, data: Data) -> None:
    """Raises InputError: a clip cannot be read, or is shorter than a window."""
    if length_of(path).num_frames < span(data):
        raise too_short(path, data)


def too_short(path: Path, data: Data) -> InputError:
    """The error that a clip is shorter than a window."""
    return InputError(
        f"has {length_of(path).num_frames} frames; a window takes {span(data)}.",
        where=str(path),
        fix="Remove the clip, or set data.num_frames lower.",
    )


def check_rates(rates: list[tuple[Path, float]], data: Data) -> None:
    """Raises InputError: clips of differing rates would come into one batch, whose time is counted for all alike."""
    if data.batch_size == 1 or len({fps or data.fps for _, fps in rates}) == 1:
        return
    first, fps = rates[0]
    path, other = next((path, other) for path, other in rates if (other or data.fps) != (fps or data.fps))
    raise InputError(
        f"has {other or data.fps:g} frames per second and {first.name} {fps or data.fps:g}: clips of one batch must "
        "agree.",
        where=str(path),
        fix="Set data.batch_size=1 and data.global_batch_size to the clips of a step, or convert the clips to one "
        "rate, such as: ffmpeg -i CLIP -r 24 NEW.mp4",
    )
