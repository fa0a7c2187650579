"""Clips with a robot's actions, to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.training.data.checking import check_each, problems_in
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.data.folders import root_of, stems
from cosmos_cli.training.data.mock import MockClips
from cosmos_cli.training.data.windows import check_length, rate_of, read_window
from cosmos_cli.training.recipe import Recipe
from cosmos_plugins.predict2.action.actions import read_actions
from cosmos_plugins.predict2.variants import ACTION_WIDTH, ACTIONS_PER_CHUNK


class BridgeClips:
    """A robot's clips: `annotation/train/NAME.json` has the actions, and names the clip or has it in `videos/train`.

    An example is a window of one of them, at any place, with the actions between its frames, and without text.

    Raises:
        InputError: the folder is not there or holds no annotations, or the recipe's windows fit no 12 actions.
    Source: cosmos-predict2, data/action_conditioned (behaviour).
    """

    def __init__(self, recipe: Recipe) -> None:
        self._data = data = recipe.data
        if data.num_frames != 1 + ACTIONS_PER_CHUNK or data.sequence_interval != 1:
            raise InputError(
                f"the network reads {ACTIONS_PER_CHUNK} actions, one between each two frames.",
                where="data",
                fix=f"Set data.num_frames={1 + ACTIONS_PER_CHUNK} and data.sequence_interval=1.",
            )
        self._root = root_of(data)
        folder = self._root / "annotation" / "train"
        self._annotations = list(stems(folder, (".json",)).values())
        if not self._annotations:
            raise InputError("holds no .json files.", where=str(folder))

    def __len__(self) -> int:
        return len(self._annotations)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number; `generator` says where in it the window begins."""
        data, path = self._data, self._annotations[index]
        actions_NA = read_actions(path)
        _check_number(len(actions_NA), path)
        start = int(torch.randint(len(actions_NA) - ACTIONS_PER_CHUNK + 1, (1,), generator=generator))
        clip = read_window(self._clip_of(path), data, start)
        actions = torch.from_numpy(actions_NA[start : start + ACTIONS_PER_CHUNK]).float()
        text_LC = torch.zeros(data.text_tokens, data.text_channels)
        frames = torch.from_numpy(clip.frames_FHWC)
        return Example(path.stem, frames, text_LC, rate_of(clip.fps, data), extras={"actions": actions})

    def check(self) -> None:
        """Raises InputError: all annotations and clips that cannot be used."""
        check_each(self._annotations, self._problems, what="clips")

    def _problems(self, path: Path) -> list[Problem]:
        return problems_in(lambda: _check_number(len(read_actions(path)), path), lambda: self._check_clip(path))

    def _check_clip(self, path: Path) -> None:
        check_length(self._clip_of(path), self._data)

    def _clip_of(self, path: Path) -> Path:
        """Raises InputError: the annotation is no JSON."""
        document = read_json(path)
        match document:
            case {"videos": [{"video_path": str(name)}, *_]}:
                return self._root / name
        return self._root / "videos" / "train" / path.stem / "rgb.mp4"


def _check_number(num_actions: int, path: Path) -> None:
    if num_actions < ACTIONS_PER_CHUNK:
        raise InputError(f"has {num_actions} actions; a window takes {ACTIONS_PER_CHUNK}.", where=str(path))


class MockActions(MockClips):
    """Made-up clips with actions of noise, and without text."""

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The clip of a number."""
        clip = super().example(index, generator)
        own = torch.Generator().manual_seed(index)
        actions = torch.randn(ACTIONS_PER_CHUNK, ACTION_WIDTH, generator=own)
        return replace(clip, text_LC=torch.zeros_like(clip.text_LC), extras={"actions": actions})
