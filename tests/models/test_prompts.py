"""What becomes of a prompt before a network reads it."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_cli.errors import CosmosError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.prompt_length import MAX_PROMPT_CHARACTERS
from cosmos_cli.models.prompts import checked_prompt

FRAMES = np.zeros((1, 2, 2, 3), np.uint8)


def refined(answer: str) -> str:
    return checked_prompt("A bus.", FRAMES, Guardrails({}), {"writer": lambda *_: answer}, way_out="Do without it.")


def test_a_refiner_s_answer_is_held_to_the_limit_of_prompts() -> None:
    assert refined(" A red bus. ") == "A red bus."
    assert len(refined("x" * MAX_PROMPT_CHARACTERS)) == MAX_PROMPT_CHARACTERS
    with pytest.raises(
        CosmosError, match=r"prompt refiner writer: has 16,777,216 characters, more than .* Do without it"
    ):
        refined("x" * (1 << 24))


def test_a_refiner_s_empty_answer_is_none() -> None:
    with pytest.raises(CosmosError, match="returned an empty prompt"):
        refined(" \n")
