"""Prompts for the two views of an episode: the file that holds many, and the choice of one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.paths import given_anywhere
from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_cli.requests import StrictModel, shortened, validate

WRIST_SUFFIX = " The bottom video is facing the same table in the top video without reflection."
"""What the prompt of the wrist view ends with where one video shows both views, as the original adds it."""

_FORM = 'Give {"meta prompt": {"top_view_prompt": "...", "bottom_view_prompt": "..."}, ...}.'
_NUM_NAMED = 20


class TwoViewPrompt(StrictModel):
    """What the room camera and the wrist camera see of one scene."""

    top_view_prompt: NonEmptyPrompt
    """The room."""
    bottom_view_prompt: NonEmptyPrompt
    """The surface of the table."""


@dataclass(frozen=True)
class Chosen:
    """The prompts of one episode. meta_prompt: the name of the entry that they come from, "" for a text."""

    prompts: TwoViewPrompt
    meta_prompt: str = ""

    @property
    def room(self) -> str:
        return self.prompts.top_view_prompt

    @property
    def wrist(self) -> str:
        """For a video of the wrist view alone."""
        return self.prompts.bottom_view_prompt

    @property
    def stacked(self) -> str:
        """For a video of the wrist view below the room view."""
        return self.wrist + WRIST_SUFFIX


def names_a_file(prompt: str) -> bool:
    """Whether a prompt is the path of a file of prompts."""
    return prompt.strip().lower().endswith(".json")


def read_prompt(prompt: str) -> dict[str, TwoViewPrompt]:
    """Meta prompt to prompts: those of the file that the prompt names, or the text itself for both views.

    Raises:
        InputError: all that is wrong with the file, or the text is too long or empty.
    """
    if not names_a_file(prompt):
        if not (text := prompt.strip()):
            raise InputError("must not be empty.", where="--prompt", fix="Give a text or the path of a .json file.")
        check_prompt_length(text, where="--prompt")
        return {"": TwoViewPrompt(top_view_prompt=text, bottom_view_prompt=text)}
    try:
        path = given_anywhere(prompt.strip())
    except ValueError as error:
        raise InputError(str(error), where="--prompt", fix="Give a text or the path of a .json file.") from error
    return read_prompts(path)


def read_prompts(path: Path) -> dict[str, TwoViewPrompt]:
    """A file of prompts: meta prompt to prompts, in the order of the file.

    Raises:
        InputError: all that is wrong with it.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError("is no object of meta prompts.", where=str(path), fix=_FORM)
    if not document:
        raise InputError("holds no prompts.", where=str(path), fix=_FORM)
    prompts: dict[str, TwoViewPrompt] = {}

    def read_entry(meta_prompt: str, entry: Any) -> None:
        where = f"{path}, {shortened(meta_prompt)!r}"
        try:
            meta_prompt.encode()
        except UnicodeEncodeError as error:
            what = f"is no text: {meta_prompt[error.start]!r} in it is no character."
            raise InputError(what, where=where, fix="Give another meta prompt.") from error
        prompts[meta_prompt] = _entry(entry, where)

    try:
        report_together(*(lambda given=given: read_entry(*given) for given in document.items()))
    except InputError as error:
        raise _some_of(error, path) from None
    return prompts


def choose(prompts: Mapping[str, TwoViewPrompt], seed: int) -> Chosen:
    """The prompts for an episode, as the original draws them: all shuffled by the episode's seed, and the first taken.

    Source: i4h-workflows, simulation/environments/cosmos_transfer1/transfer.py (behaviour).
    """
    entries = list(prompts.items())
    random.Random(seed).shuffle(entries)
    meta_prompt, chosen = entries[0]
    return Chosen(chosen, meta_prompt)


def _entry(entry: Any, where: str) -> TwoViewPrompt:
    if not isinstance(entry, dict):
        kind = "a text" if isinstance(entry, str) else "no object"
        raise InputError(f"is {kind}, not the prompts of two views.", where=where, fix=_FORM)
    [prompts] = validate([TwoViewPrompt], entry, where=where)
    assert isinstance(prompts, TwoViewPrompt)
    return prompts


def _some_of(error: InputError, path: Path) -> InputError:
    """The same error with the first problems of many."""
    named = error.problems[:_NUM_NAMED]
    if more := len(error.problems) - len(named):
        named.append(Problem(f"and {more} more problems of the kind.", str(path)))
    return InputError.from_problems(named)  # type: ignore[return-value]
