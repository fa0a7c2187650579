"""A check of prompts against a list of words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cosmos_cli.errors import GuardrailBlocked
from cosmos_cli.guardrails import Guardrail

if TYPE_CHECKING:
    import numpy as np

WORDS = frozenset({"avalanche", "earthquake"})


class WordList:
    """Refuses prompts that hold one of `WORDS`; lets every video pass."""

    def check_prompt(self, prompt: str) -> None:
        found = WORDS & set(re.findall(r"\w+", prompt.lower()))
        if found:
            raise GuardrailBlocked(
                f"The prompt holds {', '.join(sorted(found))}.", where="guardrail word-list", fix="Change the prompt."
            )

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        return frames_FHWC


def word_list(device: str, offload: bool) -> Guardrail:
    """The factory. There is nothing to put on a device."""
    return WordList()
