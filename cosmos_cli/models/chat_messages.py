"""What is said to a vision-language chat model, and what such a model is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Image:
    """A picture, and how large the model should see it.

    image_HWC: uint8 RGB.
    min_pixels, max_pixels: its area in pixels is brought within these; None is the model's own limit.
    """

    image_HWC: np.ndarray
    min_pixels: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class Video:
    """A clip to show, already thinned out to the frames that the model should see.

    frames_FHWC: uint8 RGB.
    fps: how many of these frames make a second.
    total_pixels: of the whole clip after resizing, counted as the Qwen models do: each pair of frames once.
    """

    frames_FHWC: np.ndarray
    fps: float
    total_pixels: int = 90_316_800

    def frame_limits(self, unit: int = 28) -> tuple[int, float]:
        """Least and most pixels of a frame: an equal share of the clip's, within 128 to 768 tokens.

        Args:
            unit: pixels along each side of what becomes one token.
        Source: qwen-vl-utils, vision_process.py (behaviour).
        """
        least = 128 * unit**2
        share = 2 * self.total_pixels / len(self.frames_FHWC)
        return least, max(min(768 * unit**2, share), int(least * 1.05))


Part = str | np.ndarray | Image | Video
"""Text, a picture (H, W, 3) uint8 RGB with or without limits, or a clip."""


def evenly_spaced(frames_FHWC: np.ndarray, num_frames: float) -> np.ndarray:
    """About `num_frames` of the frames from the first to the last: an even number, since models take them in pairs.

    At most 768 and no more than there are, but a single frame comes twice.

    Source: qwen-vl-utils, vision_process.py (behaviour).
    """
    available = len(frames_FHWC)
    chosen = max(2, int(min(num_frames, 768, available)) // 2 * 2)
    return frames_FHWC[np.linspace(0, available - 1, chosen).round().astype(int)]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; text and pictures reach the model in the order given."""

    role: Literal["system", "user", "assistant"]
    content: Sequence[Part]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Where None is given, the model's own setting rules.

    max_new_tokens: where an answer is cut.
    temperature: 0 always takes the likeliest token.
    top_p: probability mass to sample from.
    top_k: how many of the likeliest tokens to sample from.
    repetition_penalty: what the logit of a token that has occurred is divided by; 1 is no penalty.
    seed: the same seed gives the same answers, as far as the model's runtime allows.
    num_answers: how many to draw, each by itself.
    ascii_only: draw no token whose text goes beyond ASCII. A server cannot be asked for that and is not.
    """

    max_new_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int = 0
    num_answers: int = 1
    ascii_only: bool = False


class ChatModel(Protocol):
    """A model that answers in text, wherever it runs."""

    def answers(self, messages: Sequence[Message], sampling: Sampling) -> list[str]:
        """As many next turns as `sampling` asks for, without the model's control tokens.

        Raises:
            CosmosError: there was no answer; says why and what to do.
        """


_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)|\A(?:(?!<think>).)*</think>", re.IGNORECASE | re.DOTALL)


def without_reasoning(answer: str) -> str:
    """An answer without what its model thinks aloud in tags, also where their beginning or their end is cut off."""
    return _REASONING.sub("", answer)
