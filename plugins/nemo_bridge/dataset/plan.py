"""The samples of a run: what each is cut from, and which are left to be made. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosmos_plugins.nemo_bridge.dataset.chunks import draw_starts
from cosmos_plugins.nemo_bridge.dataset.clips import Clip
from cosmos_plugins.nemo_bridge.dataset.layout import KINDS, NUM_TOKENS, latent_shape

_FRAME_BYTES = 1 << 11
"""Of a file of a tensor, beside its numbers."""


@dataclass(frozen=True)
class Sample:
    """A numbered chunk. clip: its place among the plan's. start: its first frame."""

    number: int
    clip: int
    start: int


@dataclass(frozen=True)
class Chunk:
    """Frames that are encoded once, for all samples that are cut there."""

    clip: int
    start: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """All samples of a run; they follow from its options and videos alone.

    folder: that they are written to. height, width: that frames are scaled to.
    """

    folder: Path
    clips: tuple[Clip, ...]
    samples: tuple[Sample, ...]
    chunk_frames: int
    height: int
    width: int

    @property
    def latents_CTHW(self) -> tuple[int, int, int, int]:
        """Shape of a sample's latents."""
        return latent_shape(self.chunk_frames, self.height, self.width)

    def sample_bytes(self, text_channels: int) -> int:
        """What a sample takes on the disk."""
        channels, frames, rows, columns = self.latents_CTHW
        numbers = 2 * channels * frames * rows * columns + NUM_TOKENS * (text_channels + 1)
        return 2 * numbers + len(KINDS) * _FRAME_BYTES


def draw_samples(
    clips: Sequence[Clip], *, num_chunks: int, chunk_frames: int, seed: int, repeats: bool
) -> Iterable[Sample]:
    """The samples of all videos, numbered through. Arguments as of `draw_starts`."""
    number = 0
    for place, clip in enumerate(clips):
        for start in draw_starts(
            clip.path.name,
            clip.num_frames,
            num_chunks=num_chunks,
            chunk_frames=chunk_frames,
            seed=seed,
            repeats=repeats,
        ):
            yield Sample(number, place, start)
            number += 1


def chunks_of(samples: Iterable[Sample]) -> list[Chunk]:
    """The chunks of some samples, by video and first frame, so that one pass through each video meets them all."""
    found: dict[tuple[int, int], list[int]] = {}
    for sample in samples:
        found.setdefault((sample.clip, sample.start), []).append(sample.number)
    return [Chunk(clip, start, tuple(numbers)) for (clip, start), numbers in sorted(found.items())]


def share_of(chunks: Sequence[Chunk], rank: int, world: int) -> Mapping[int, list[Chunk]]:
    """The chunks of one of several workers, by their video: neighbours, so that few videos are decoded by two."""
    own: dict[int, list[Chunk]] = {}
    for chunk in chunks[rank * len(chunks) // world : (rank + 1) * len(chunks) // world]:
        own.setdefault(chunk.clip, []).append(chunk)
    return own
