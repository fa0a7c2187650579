"""What every kind of generation is loaded with, and the prompts that all of them read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import Field, StringConstraints

from cosmos_cli.generation.parts import DIT, GUARDRAILS, REFINER, TEXT, TOKENIZER
from cosmos_cli.models.prompt_length import MAX_PROMPT_CHARACTERS
from cosmos_cli.models.t5_files import STORED_IN, find_encoder
from cosmos_cli.requests import Flag
from cosmos_cli.settings import ParallelSettings

__all__ = [
    "DEFAULT_NEGATIVE_PROMPT",
    "DIT",
    "GUARDRAILS",
    "MAX_PROMPT_CHARACTERS",
    "REFINER",
    "TEXT",
    "TOKENIZER",
    "UNGUARDED",
    "GenerationSettings",
    "Guidance",
    "NonEmptyPrompt",
    "Prompt",
    "TextEncoderSettings",
    "UpsamplerSettings",
    "guidance_of",
    "negative_prompt_of",
]

Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]
Guidance = Annotated[float | None, Field(ge=0, allow_inf_nan=False), Flag(default="7; 3 of tiny")]
"""Strength of classifier-free guidance as a field of requests; None is what suits the model, see `guidance_of`."""
_GUIDANCE, _TINY_GUIDANCE = 7.0, 3.0
"""As the originals have it; and where little is known to be led by, so that more burns it out."""
NonEmptyPrompt = Annotated[Prompt, StringConstraints(min_length=1, strip_whitespace=True)]

UNGUARDED = "guardrail: disabled, nothing is checked"
"""What a run says whose user has disabled its guardrails."""

DEFAULT_NEGATIVE_PROMPT = (
    "The video captures a series of frames showing ugly scenes, static with no motion, motion blur, over-saturation, "
    "shaky footage, low resolution, grainy texture, pixelated images, poorly lit areas, underexposed and overexposed "
    "scenes, poor color balance, washed out colors, choppy sequences, jerky movements, low frame rate, artifacting, "
    "color banding, unnatural transitions, outdated special effects, fake elements, unconvincing visuals, poorly "
    "edited content, jump cuts, visual noise, and flickering. Overall, the video is of poor quality."
)
"""What to avoid in videos, as the originals do."""


class GenerationSettings(ParallelSettings):
    """What is loaded once and serves many requests. Families add their own, under the originals' names."""

    offload_options: ClassVar[Mapping[str, str]] = {}
    """Field to what leaves the device, except while it works, where the field is true."""
    min_safe_share: ClassVar[float] = 1.0
    """Share of the frames of a video that must be safe for it to be written."""
    safe_classes: ClassVar[tuple[str, ...]] = ("safe",)
    """What the content filter may call a frame that is safe."""

    model_size: Annotated[str, Flag(aliases=("--model",))]
    """Model; tiny ships with cosmos and runs anywhere."""

    @property
    def is_tiny(self) -> bool:
        """Whether the model ships with cosmos, and needs no file that others publish."""
        return self.model_size == "tiny"

    @property
    def offloaded(self) -> frozenset[str]:
        """What leaves the device except while it works, as far as the user asks for it."""
        return frozenset(part for field, part in self.offload_options.items() if getattr(self, field))

    @property
    def offloads_guardrails(self) -> bool:
        """Whether guardrails wait in host memory: asked for, or implied by a limit on the device's."""
        return GUARDRAILS in self.offloaded or self.max_memory is not None

    @property
    def is_guarded(self) -> bool:
        """Whether guardrails check what goes in and what comes out; families say who may leave them out."""
        return True

    @property
    def text_precision(self) -> str:
        """In which the text encoder computes: "float32" or "bfloat16"."""
        return "float32"

    @property
    def text_weights(self) -> str:
        """Which weights the text encoder is read from, see `TextEncoderSettings.text_encoder`."""
        return "auto"


class TextEncoderSettings(GenerationSettings):
    """What a model that reads a prompt is loaded with."""

    text_encoder: Annotated[Literal["auto", "bf16", "fp32"], Flag(default="auto: fp32 if it is there, else bf16")] = (
        "auto"
    )
    """Published weights of the text encoder, by the precision they are stored in: NVIDIA's copy, which `cosmos
    download` fetches, or Google's file, which the originals read."""

    @property
    def text_weights(self) -> str:
        return self.text_encoder


class UpsamplerSettings(TextEncoderSettings):
    """What a model is loaded with whose prompts another may write out."""

    upsampler_url: str | None = None
    """Server with an OpenAI-compatible API to rewrite prompts, such as http://localhost:8000/v1."""
    upsampler_model: str | None = None
    """Model to ask for at --upsampler-url."""
    offload_prompt_upsampler: bool = False
    """Keep the prompt upsampler off the device except while it works."""


S = TypeVar("S", bound=GenerationSettings)


def as_made(settings: S, text_folder: Path | None) -> S:
    """These settings as a sidecar keeps them: whatever is downloaded later, they mean the same text encoder.

    Args:
        text_folder: of the text encoder; None for models without text.
    """
    if text_folder is None or settings.text_weights != "auto" or not isinstance(settings, TextEncoderSettings):
        return settings
    stored = find_encoder(text_folder).stored
    return settings.model_copy(update={"text_encoder": next((f for f, s in STORED_IN.items() if s == stored), "auto")})


class _Asks(Protocol):
    @property
    def guidance(self) -> float | None: ...


def guidance_of(settings: GenerationSettings, request: _Asks) -> float:
    """Strength of classifier-free guidance that a request asks for, or that suits the model; 0 is unguided."""
    if request.guidance is not None:
        return request.guidance
    return _TINY_GUIDANCE if settings.is_tiny else _GUIDANCE


class _Avoids(Protocol):
    @property
    def negative_prompt(self) -> str: ...


def negative_prompt_of(settings: GenerationSettings, request: _Avoids) -> str:
    """The negative prompt that guidance leads away from; "" is none, which the networks have learned as zeros.

    The published one is for the published models. Of the tiny ones none has read a word of it: what they make of it is
    some world of their own, and guidance away from that takes its colours out of every video.
    """
    kind: Any = type(request)
    published = (DEFAULT_NEGATIVE_PROMPT, kind.model_fields["negative_prompt"].default)
    return "" if settings.is_tiny and request.negative_prompt in published else request.negative_prompt
