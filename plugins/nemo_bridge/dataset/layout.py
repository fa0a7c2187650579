"""A folder of prepared samples as the NeMo recipes read it: five files for each, `NUMBER.KIND`, and nothing else.

The original takes every name in the folder, cut at its first dot, for a sample. Without torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cosmos_cli.errors import InputError, Problem

VIDEO, CONDITIONING = "video_latent.pth", "conditioning_latent.pth"
TEXT, MASK, INFO = "t5_text_embeddings.pth", "t5_text_mask.pth", "info.json"
KINDS = (VIDEO, CONDITIONING, TEXT, MASK, INFO)
"""What a sample's files are called behind its number."""

ESSENTIAL = frozenset({VIDEO, TEXT, INFO})
"""Without these there is nothing to train on; the others decide nothing, though the original reads them too."""

NUM_TOKENS = 512
"""Rows of a text embedding."""
LATENT_CHANNELS = 16
SPATIAL, TEMPORAL = 8, 8
"""Pixels of a side, and frames after the first, that one latent stands for."""


def file_of(folder: Path, sample: str | int, kind: str) -> Path:
    """A file of a sample."""
    return folder / f"{sample}.{kind}"


def latent_shape(num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Channels, frames, rows and columns of the latents of a chunk, whose size is given in pixels."""
    return LATENT_CHANNELS, 1 + (num_frames - 1) // TEMPORAL, height // SPATIAL, width // SPATIAL


@dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    samples: the kinds of files that are there of each. foreign: names that are no sample's.
    """

    samples: Mapping[str, frozenset[str]]
    foreign: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The samples in the original's order: as texts, so that 10 comes before 2."""
        return sorted(self.samples)

    @cached_property
    def needed(self) -> frozenset[str]:
        """The kinds that every sample must have: what any of them has, and what training reads."""
        return ESSENTIAL.union(*self.samples.values())


def list_samples(folder: Path) -> Listing:
    """Everything in a folder, hidden files and folders too.

    Raises:
        InputError: it cannot be read.
    """
    found: dict[str, set[str]] = {}
    foreign = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                sample, _, kind = entry.name.partition(".")
                if sample and kind in KINDS and entry.is_file():
                    found.setdefault(sample, set()).add(kind)
                else:
                    foreign.append(entry.name)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}.", where=str(folder), fix="Give a folder that prepare-dataset has made."
        ) from error
    return Listing({sample: frozenset(kinds) for sample, kinds in found.items()}, tuple(sorted(foreign)))


def foreign_problems(folder: Path, foreign: tuple[str, ...]) -> list[Problem]:
    """That there is something else in the folder, which NeMo would take for samples."""
    if not foreign:
        return []
    shown = ", ".join(foreign[:10]) + (f" and {len(foreign) - 10} more" if len(foreign) > 10 else "")
    return [Problem(f"holds what is no part of a sample: {shown}.", str(folder), "Move it to another folder.")]


def missing_problems(folder: Path, sample: str, listing: Listing) -> list[Problem]:
    """That files of a sample are missing, with all their names."""
    missing = [f"{sample}.{kind}" for kind in KINDS if kind in listing.needed - listing.samples[sample]]
    if not missing:
        return []
    return [
        Problem(
            f"sample {sample} is half-written: {', '.join(missing)} missing.",
            str(folder),
            "Run prepare-dataset once more as before, which completes it; or remove its other files.",
        )
    ]
