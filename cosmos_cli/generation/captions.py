"""Writing a short prompt out as a long caption, as models that see no picture are asked to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cosmos_cli.generation.upsampler import PromptUpsampler
from cosmos_cli.models.chat import ChatModel, Part, Sampling

if TYPE_CHECKING:
    import numpy as np

_TASK = "Upsample the short caption to a long caption: "
_SAMPLING = Sampling(max_new_tokens=512, temperature=0.01)
_HEADING = re.compile(r"- \*\*(.*?)\*\*")
_SHORT_HEADING = 10
"""Words from which on a heading is taken for a sentence."""
_LEADS = ("Caption:", "#####", "####", "- ", "* ", ",")
_AROUND = " -,*:\"'“”"


def caption_writer(model: ChatModel) -> PromptUpsampler:
    """Asks for a long caption in place of the prompt.

    Source: cosmos-predict1 4ed35fa, diffusion/prompt_upsampler/text2world_prompt_upsampler_inference.py (behaviour).
    """
    return PromptUpsampler(model, _ask, _SAMPLING, as_caption)


def _ask(prompt: str, frames_FHWC: np.ndarray) -> Sequence[Part]:
    return [f"{_TASK}{prompt}"]


def as_caption(answer: str) -> str:
    """The sentences of an answer, without headings, marks of lists, quotes and line ends."""
    text = _HEADING.sub(lambda found: found[0] if _num_words(found[1]) >= _SHORT_HEADING else "", _in_one_line(answer))
    for lead in _LEADS:
        text = text.removeprefix(lead).lstrip() if text.startswith(lead) else text
    return " ".join(text.split()).strip(_AROUND)


def _in_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ")


def _num_words(text: str) -> int:
    return len(re.findall(r"\w+", text))
