"""What a user gives to `cosmos predict1 video2world`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from cosmos_cli.errors import InputError
from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.media.source import Source
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings


class Video2WorldSettings(SingleViewSettings):
    """What is loaded once and serves many videos."""

    kind: ClassVar = "video2world"
    published_upsampler: ClassVar = "Pixtral-12B"

    prompt_upsampler_dir: str = published_upsampler
    """Chat model that looks at the input and writes the prompt: a folder under the checkpoint folder, or the path of
    one."""


class Video2WorldOptions(SingleViewOptions):
    """What may be said about a video, or once for many; only what has an input is a request."""

    input_image_or_video_path: Source | None = None
    """Picture or video to continue; required, unless rows of a batch name theirs."""
    num_input_frames: Literal[1, 9] = 1
    """Last frames of the input that begin the video; 1 also accepts a picture."""
    prompt: NonEmptyPrompt | None = None
    """What shall happen; required with --disable-prompt-upsampler, and else not used: the upsampler writes it."""
    like_original: bool = False
    """Repeat what the original gets wrong: given frames come out with too much contrast."""

    @property
    def source(self) -> Source | None:
        return self.input_image_or_video_path

    @property
    def num_given(self) -> int:
        return self.num_input_frames

    @property
    def repeats_slips(self) -> bool:
        return self.like_original


class Video2WorldRequest(Video2WorldOptions):
    """One video."""

    input_image_or_video_path: Source
    """Picture or video to continue."""


def one_video_or_a_batch(given: Mapping[str, Any]) -> None:
    """Raises InputError if neither an input is given nor a file of them."""
    if given.get("input_image_or_video_path") is None and given.get("batch_input_path") is None:
        where = "--input-image-or-video-path"
        raise InputError("is required.", where=where, fix=f"Give {where}.")
