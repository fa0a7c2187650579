"""Prepared samples as a data set to train on."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.training.data.checking import check_each, tell
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.data.folders import root_of
from cosmos_cli.training.recipe import Recipe
from cosmos_plugins.nemo_bridge.dataset.layout import (
    NUM_TOKENS,
    TEXT,
    VIDEO,
    Listing,
    foreign_problems,
    latent_shape,
    list_samples,
    missing_problems,
)
from cosmos_plugins.nemo_bridge.dataset.samples import DTYPE, Shapes, read_fps, read_tensor, sample_problems

VIDEO_LATENT = "video_latent"
"""Name of an example's extra: latents (C, T, H, W) bfloat16, normalised, and NOT times sigma_data."""

NO_FRAMES_FHWC = torch.empty(0, 0, 0, 3, dtype=torch.uint8)


class LatentFolder:
    """A folder that `prepare-dataset`, or the original, has made. An example holds latents, and no frames.

    Examples stand in the original's order, which is that of texts: 0, 1, 10, 11, 2.

    Raises:
        InputError: the folder is not there, holds no samples, or the recipe asks for what no such folder has.
    Source: NeMo vfm f901ac82, nemo/collections/diffusion/datamodule.py (behaviour).
    """

    def __init__(self, recipe: Recipe) -> None:
        data = recipe.data
        if data.num_views > 1:
            raise InputError(
                f"{data.num_views} views in a data set of one.", where="data.num_views", fix="Set data.num_views=1."
            )
        if data.text_tokens != NUM_TOKENS:
            raise InputError(
                f"{data.text_tokens} positions of text in a data set of {NUM_TOKENS}.",
                where="data.text_tokens",
                fix=f"Set data.text_tokens={NUM_TOKENS}.",
            )
        self._root = root_of(data)
        self._shapes = Shapes(latent_shape(data.num_frames, data.height, data.width), data.text_channels)
        if not self._names:
            raise InputError(
                "holds no samples.", where=str(self._root), fix="Fill it with: cosmos nemo prepare-dataset"
            )

    def __len__(self) -> int:
        return len(self._names)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The sample of a number; nothing is left to chance."""
        name = self._names[index]
        # conditioning latents are for other programs: a training knows the first frames from the video's own
        extras = {VIDEO_LATENT: self._tensor(name, VIDEO)}
        text, fps = self._tensor(name, TEXT), read_fps(self._root, name)
        return Example(f"sample {name}", NO_FRAMES_FHWC, text, _rounded(fps), extras=extras)

    def check(self) -> None:
        """Raises InputError: all samples that cannot be used, files that are missing, and what is no sample's file."""
        report_together(
            lambda: tell(foreign_problems(self._root, self._listing.foreign)),
            lambda: check_each(self._names, self._problems, what="samples"),
        )

    def _problems(self, name: str) -> list[Problem]:
        there = self._listing.samples[name]
        return missing_problems(self._root, name, self._listing) + sample_problems(
            self._root, name, there, self._shapes
        )

    def _tensor(self, name: str, kind: str) -> Tensor:
        return read_tensor(self._root, name, kind, self._shapes)

    @cached_property
    def _listing(self) -> Listing:
        return list_samples(self._root)

    @cached_property
    def _names(self) -> list[str]:
        return self._listing.names


def _rounded(fps: float) -> float:
    """A rate as the original hands it to the network, in bfloat16: 29.97 becomes 30."""
    return float(torch.tensor(fps, dtype=DTYPE))
