"""What a user gives to `cosmos predict1 text2world`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from cosmos_cli.errors import InputError
from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_plugins.predict1_multiview.single_view.requests import SingleViewOptions, SingleViewSettings


class Text2WorldSettings(SingleViewSettings):
    """What is loaded once and serves many videos."""

    kind: ClassVar = "text2world"
    published_upsampler: ClassVar = "Cosmos-UpsamplePrompt1-12B-Text2World"

    prompt_upsampler_dir: str = published_upsampler
    """Chat model that writes short prompts out, a folder under the checkpoint folder or the path of one; the published
    one is in a form that cosmos does not read."""


class Text2WorldOptions(SingleViewOptions):
    """What may be said about a video, or once for many; only what has a prompt is a request."""

    prompt: NonEmptyPrompt | None = None
    """What the video shows; required, unless rows of a batch have theirs."""
    word_limit_to_skip_upsampler: int = Field(default=250, ge=0)
    """Use a prompt of more words as it is given."""

    @property
    def is_long(self) -> bool:
        return len((self.prompt or "").split()) > self.word_limit_to_skip_upsampler


class Text2WorldRequest(Text2WorldOptions):
    """One video."""

    prompt: NonEmptyPrompt
    """What the video shows."""


def one_video_or_a_batch(given: Mapping[str, Any]) -> None:
    """Raises InputError if neither a prompt is given nor a file of them."""
    if given.get("prompt") is None and given.get("batch_input_path") is None:
        raise InputError("is required.", where="--prompt", fix="Give --prompt.")
