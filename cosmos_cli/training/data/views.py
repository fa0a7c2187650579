"""Clips of several cameras: `videos/VIEW/NAME.mp4`, the same moments under the same name in every view's folder."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.data.checking import check_each, in_threads, problems_in, tell
from cosmos_cli.training.data.embeddings import SUFFIXES, check_embedding, read_embedding
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.data.folders import (
    CLIP_SUFFIX,
    PREFIXES,
    TEXTS,
    VIDEOS,
    clips,
    embeddings,
    length_of,
    root_of,
    span,
)
from cosmos_cli.training.data.hints import Hints
from cosmos_cli.training.data.videos import check_rates
from cosmos_cli.training.data.windows import check_length, rate_of, read_window
from cosmos_cli.training.recipe import Recipe

_RATE_TOLERANCE = 1e-3
"""Relative; 29.97 counts as 30 nowhere, but containers round."""


def front_of(view_keys: tuple[str, ...]) -> int:
    """The view whose text is a caption: the one that looks ahead, or the first."""
    ahead = [place for place, key in enumerate(view_keys) if key == "front" or key.endswith("_front")]
    return ahead[0] if ahead else 0


class ViewFolders:
    """Folders of views. An example is one window, of the same frames in every view.

    With fewer views than folders, the first goes along always and chance takes some of the others.

    Raises:
        InputError: folders are not there or hold no clips, or the recipe's views do not fit together.
    Source: cosmos-transfer1, diffusion/datasets/example_transfer_dataset.py (behaviour).
    """

    def __init__(self, recipe: Recipe) -> None:
        self._data = data = recipe.data
        self._root = root_of(data)
        if not data.view_keys:
            raise InputError("names no views.", where="data.view_keys", fix="Pass data.view_keys=[front,left,right].")
        if data.num_views > len(data.view_keys):
            raise InputError(
                f"{data.num_views} views, but {len(data.view_keys)} are named by data.view_keys.",
                where="data.num_views",
                fix=f"Set data.num_views={len(data.view_keys)}.",
            )
        if data.view_indices and len(data.view_indices) != len(data.view_keys):
            raise InputError(
                f"{len(data.view_indices)} rows for {len(data.view_keys)} views.",
                where="data.view_indices",
                fix="Name one row of the network's view table for each of data.view_keys.",
            )
        self._names = list(clips(self._root / VIDEOS / data.view_keys[0]))
        self._texts = {key: embeddings(self._root / TEXTS / key) for key in data.view_keys}
        self._front = front_of(data.view_keys)
        self._hints = Hints(data, self._root)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The window of a number; `generator` chooses views where not all go along."""
        data = self._data
        place = int(np.searchsorted(self._ends, index, side="right"))
        name = self._names[place]
        start = (index - (int(self._ends[place - 1]) if place else 0)) * data.start_frame_interval
        views = self._chosen(generator)
        text = torch.cat([self._text(view, name) for view in views])
        windows = [read_window(self._clip(data.view_keys[view], name), data, start) for view in views]
        check_agreement([(self._clip(data.view_keys[v], name), w.fps) for v, w in zip(views, windows, strict=True)])
        frames_FHWC = np.concatenate([window.frames_FHWC for window in windows])
        of_hint = self._hints.paths(name, [data.view_keys[view] for view in views])
        rows = data.view_indices or tuple(range(len(data.view_keys)))
        return Example(
            f"{name} from frame {start}",
            torch.from_numpy(frames_FHWC),
            text,
            rate_of(windows[0].fps, data),
            hints_FHWC=self._hints.read(of_hint, start, frames_FHWC, generator),
            extras={"view_indices": torch.tensor([rows[view] for view in views])},
        )

    def check(self) -> None:
        """Raises InputError: all clips that cannot be used, and all texts that are missing or of another model."""
        data = self._data
        prefixes = [self._prefix(key) for view, key in enumerate(data.view_keys) if self._reads_prefix(view)]
        tell(problems_in(*(partial(check_embedding, path, data.text_channels) for path in prefixes)))
        check_each(self._names, self._problems, what="clips")
        first = [self._clip(data.view_keys[0], name) for name in self._names]
        check_rates([(path, length_of(path).fps) for path in first], data)

    def _problems(self, name: str) -> list[Problem]:
        data = self._data
        found = [self._clip(key, name) for key in data.view_keys]
        missing = [path for path in found if not path.is_file()]
        problems = [
            Problem(
                f"is missing: {len(found) - len(missing)} of {len(found)} views have this clip.",
                str(path),
                "Add it, or remove the clip from the folders of all views.",
            )
            for path in missing
        ]
        there = [path for path in found if path not in missing]
        films = [*there, *self._hints.paths(name, data.view_keys)]
        unreadable = problems_in(*(partial(check_length, path, data) for path in films))
        problems += unreadable
        if not missing and not unreadable:
            problems += problems_in(lambda: check_agreement([(path, length_of(path).fps) for path in there]))
        captions = [self._caption(view, name) for view in range(len(found)) if self._reads_caption(view)]
        return problems + problems_in(*(partial(check_embedding, path, data.text_channels) for path in captions))

    @cached_property
    def _ends(self) -> np.ndarray:
        """Number of windows up to the end of each clip."""

        def num_windows(name: str) -> int:
            try:
                films = [self._clip(key, name) for key in self._data.view_keys]
                films += self._hints.paths(name, self._data.view_keys)
                shortest = min(length_of(film).num_frames for film in films)
            except InputError:
                return 0  # `check` has named it
            return max(0, (shortest - span(self._data)) // self._data.start_frame_interval + 1)

        ends = np.cumsum(in_threads(num_windows, self._names))
        if not ends[-1]:
            raise InputError(
                f"no clip has the {span(self._data)} frames of a window in every view.", where=str(self._root)
            )
        return ends

    def _chosen(self, generator: torch.Generator) -> list[int]:
        num_all, num_views = len(self._data.view_keys), self._data.num_views
        others = torch.randperm(num_all - 1, generator=generator)[: num_views - 1] if num_views < num_all else None
        return list(range(num_all)) if others is None else [0, *sorted((others + 1).tolist())]

    def _text(self, view: int, name: str) -> Tensor:
        """What a view reads: its camera's sentence, a caption, or one behind the other."""
        data = self._data
        num_tokens, channels = data.text_tokens, data.text_channels
        paths = [self._prefix(data.view_keys[view])] if self._reads_prefix(view) else []
        paths += [self._caption(view, name)] if self._reads_caption(view) else []
        parts = [read_embedding(path, None, channels) for path in paths]
        text_LC = torch.cat(parts)[:num_tokens]
        return torch.nn.functional.pad(text_LC, (0, 0, 0, num_tokens - len(text_LC)))

    def _reads_prefix(self, view: int) -> bool:
        return self._data.captions_of_all_views or view != self._front

    def _reads_caption(self, view: int) -> bool:
        return self._data.captions_of_all_views or view == self._front

    def _clip(self, key: str, name: str) -> Path:
        return self._root / VIDEOS / key / f"{name}{CLIP_SUFFIX}"

    def _caption(self, view: int, name: str) -> Path:
        key = self._data.view_keys[view]
        return self._texts[key].get(name, self._root / TEXTS / key / f"{name}.pkl")

    def _prefix(self, key: str) -> Path:
        return prefix_of(self._root, key)


def prefix_of(root: Path, key: str) -> Path:
    """The embedding of a camera's sentence, under either name that the originals give it."""
    stems = (f"prefix_{key}", f"prefix_t5_embeddings_{key}")
    places = [root / PREFIXES / f"{stem}{suffix}" for stem in stems for suffix in (".pkl", *SUFFIXES)]
    return next((place for place in places if place.is_file()), places[0])


def check_agreement(rates: list[tuple[Path, float]]) -> None:
    """Raises InputError: the views of a clip differ in their rates, so that equal places are no equal moments."""
    first, fps = rates[0]
    for path, other in rates[1:]:
        if abs(other - fps) > _RATE_TOLERANCE * max(fps, other):
            raise InputError(
                f"has {other:g} frames per second, but {first.parent.name}/{first.name} has {fps:g}.",
                where=str(path),
                fix="Convert all views of a clip to one rate.",
            )
