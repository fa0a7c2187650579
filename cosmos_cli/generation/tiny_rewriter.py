"""What rewrites prompts for the tiny models, in the place of the chat models that the published ones come with.

It is a rule, not a model, and looks at nothing: it writes a prompt as a sentence, since the tiny models have learned
from captions that are sentences. So everything that happens to a prompt that is written out happens with the tiny
models too, and nothing is added that they have never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_cli.models.prompt_length import MAX_PROMPT_CHARACTERS

if TYPE_CHECKING:
    import numpy as np

    from cosmos_cli.models.prompts import Refiner

# F frames, H and W pixel height and width, C = 3 colours

NAME = "sentence-by-rule"
OF_NOTHING = "Something moves."
"""What stands for a prompt that is empty."""


def as_sentence(prompt: str, frames_FHWC: np.ndarray) -> str:
    """The prompt with a capital, a full stop and single spaces, or `OF_NOTHING`; the longest has no stop."""
    words = " ".join(prompt.split())
    if not words:
        return OF_NOTHING
    stop = "" if words[-1] in ".!?" or len(words) >= MAX_PROMPT_CHARACTERS else "."
    return words[0].upper() + words[1:] + stop


def by_rule() -> dict[str, Refiner]:
    """The rule, as `cosmos_cli.generation.load.load_models` takes `refiners`."""
    return {NAME: as_sentence}


def says_so(what: str) -> str:
    """What a run says that did without a chat model. what: "prompt refiner" or "prompt upsampler"."""
    return f"{what}: the tiny model has none; a rule writes every prompt as a sentence"
