"""What rewrites prompts for the tiny models, in the place of the chat models that the published ones come with.

It is a rule, not a model: it adds the same words to every prompt and looks at nothing. So everything that happens to a
prompt that is written out happens with the tiny models too, and nobody takes what it writes for a description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosmos_cli.models.prompt_length import MAX_PROMPT_CHARACTERS

if TYPE_CHECKING:
    import numpy as np

    from cosmos_cli.models.prompts import Refiner

# F frames, H and W pixel height and width, C = 3 colours

NAME = "words-by-rule"
WORDS = "Everything moves smoothly. The light is even."


def add_words(prompt: str, frames_FHWC: np.ndarray) -> str:
    """The prompt with `WORDS` behind it, or `WORDS` alone where there is none; too long for them, it stays."""
    given = prompt.strip()
    if not given:
        return WORDS
    longer = f"{given}{'' if given[-1] in '.!?' else '.'} {WORDS}"
    return longer if len(longer) <= MAX_PROMPT_CHARACTERS else prompt


def by_rule() -> dict[str, Refiner]:
    """The rule, as `cosmos_cli.generation.load.load_models` takes `refiners`."""
    return {NAME: add_words}


def says_so(what: str) -> str:
    """What a run says that did without a chat model. what: "prompt refiner" or "prompt upsampler"."""
    return f"{what}: the tiny model has none; a rule adds the same words to every prompt"
