"""An episode that was read: what a pipeline makes realistic, and where that goes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_plugins.transfer1.guided.requests import GuidedRequest
from cosmos_plugins.transfer1.prompts.two_views import Chosen
from cosmos_plugins.transfer1.requests import TransferRequest
from cosmos_plugins.transfer1.samples import Paths

if TYPE_CHECKING:
    from cosmos_plugins.transfer1.guided.episodes.episode import Episode

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Asked:
    """What both views of an episode are asked, as plain transfers. room_size, wrist_size: of generation."""

    room: TransferRequest
    wrist: TransferRequest
    room_size: Size
    wrist_size: Size


@dataclass(frozen=True)
class GuidedSample:
    """One episode to make realistic.

    prompts: those that its seed has chosen. seed: its own.
    """

    request: GuidedRequest
    episode: Episode
    prompts: Chosen
    seed: int
    asked: Asked
    outputs: Mapping[str, Path]
    paths: Paths

    @property
    def guide_size(self) -> Size:
        """Of what guides the wrist view: as large as that will be made; the original takes the size of the episode."""
        if self.request.as_original:
            return self.episode.height, self.episode.width
        return self.view_size

    @property
    def view_size(self) -> Size:
        """Of the wrist view as it is made, without a room view above it."""
        height, width = self.asked.wrist_size
        return height // (1 + self.request.concat_video_second_view), width

    @property
    def scratch_bytes(self) -> int:
        """What lies on the disk until its files are written: both views, and what guides the wrist view."""
        sizes = ((self.asked.room_size, 3), (self.guide_size, 3 + 2), (self.view_size, 3))
        return self.episode.num_frames * sum(height * width * each for (height, width), each in sizes)

    @property
    def weights(self) -> Mapping[str, Path]:
        return self.paths.named()


def name_of(request: GuidedRequest) -> str:
    """What the files of an episode begin with: data_ and its number, or its own name if that ends in none."""
    from cosmos_plugins.transfer1.guided.episodes.episode import number_of

    assert request.source_data_dir is not None
    number, offset = number_of(request.source_data_dir), request.save_name_offset
    if number is not None:
        return f"data_{offset + number}"
    stem = request.source_data_dir.stem
    return f"{stem}_{offset}" if offset else stem


def seed_of(request: GuidedRequest) -> int:
    """The seed of an episode: one for each name of an output, whatever else is made or was made before."""
    return random.Random(f"{request.seed} {name_of(request)}").randrange(2**31)


def output_folder(request: GuidedRequest) -> Path:
    """Where the new episodes go: beside the old ones, unless the request names a folder."""
    if request.output_data_dir is not None:
        return request.output_data_dir
    source = request.source_data_dir
    assert source is not None
    return source if source.is_dir() else source.parent


def output_paths(request: GuidedRequest) -> dict[str, Path]:
    """The files of one episode: "episode" and "sidecar", each view's video and prompt, and previews if asked for."""
    folder, name = output_folder(request), name_of(request)
    paths = {
        "episode": folder / f"{name}.hdf5",
        "sidecar": folder / f"{name}.json",
        "room_view": folder / f"{name}_room_view.mp4",
        "room_prompt": folder / f"{name}_room_view.txt",
        "wrist_view": folder / f"{name}_wrist_view.mp4",
        "wrist_prompt": folder / f"{name}_wrist_view.txt",
    }
    if request.preview:
        paths |= {"preview": folder / f"{name}_preview.mp4", "sheet": folder / f"{name}_preview.png"}
    return paths
