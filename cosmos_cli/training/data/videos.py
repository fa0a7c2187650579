"""Clips of one view: `videos/NAME.mp4`, with their texts in `t5_xxl/NAME.pickle`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.data.checking import check_each, problems_in
from cosmos_cli.training.data.embeddings import check_embedding, read_embedding
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.data.folders import TEXTS, VIDEOS, clips, embeddings, length_of, root_of, span
from cosmos_cli.training.data.hints import Hints
from cosmos_cli.training.data.windows import check_length, rate_of, read_window, too_short
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
        self._hints = Hints(data, self._root)

    def __len__(self) -> int:
        return len(self._clips)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number; `generator` says where in it the window begins."""
        data, path = self._data, self._clips[index]
        text_LC = read_embedding(self._text_of(path), data.text_tokens, data.text_channels)
        of_hint = self._hints.paths(path.stem)
        shortest = min((path, *of_hint), key=lambda each: length_of(each).num_frames)
        num_starts = length_of(shortest).num_frames - span(data) + 1
        if num_starts < 1:
            raise too_short(shortest, data)
        start = int(torch.randint(num_starts, (1,), generator=generator))
        clip = read_window(path, data, start)
        hints = self._hints.read(of_hint, start, clip.frames_FHWC, generator)
        frames_FHWC = torch.from_numpy(clip.frames_FHWC)
        return Example(path.name, frames_FHWC, text_LC, rate_of(clip.fps, data), hints_FHWC=hints)

    def check(self) -> None:
        """Raises InputError: all clips that cannot be used, and all texts that are missing or of another model."""
        check_each(self._clips, self._problems, what="clips")
        check_rates([(path, length_of(path).fps) for path in self._clips], self._data)

    def _problems(self, path: Path) -> list[Problem]:
        text = partial(check_embedding, self._text_of(path), self._data.text_channels)
        films = (path, *self._hints.paths(path.stem))
        return problems_in(*(partial(check_length, film, self._data) for film in films), text)

    def _text_of(self, path: Path) -> Path:
        return self._texts.get(path.stem, self._root / TEXTS / f"{path.stem}.pickle")


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
