"""What a chat model is asked to write prompts, and how its answers are read: strictly, and asked for again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.documents import parse_json
from cosmos_cli.generation.settings import MAX_PROMPT_CHARACTERS
from cosmos_cli.models.chat_messages import ChatModel, Message, Sampling, without_reasoning
from cosmos_plugins.transfer1.prompts.two_views import WRIST_SUFFIX, TwoViewPrompt

T = TypeVar("T")

NUM_ATTEMPTS = 3
"""Answers that are asked for before a meta prompt is given up."""
META_PROMPTS_AT_ONCE = 20
MAX_META_CHARACTERS = 500
_MAX_ANSWER_CHARACTERS = 200_000
_TOKENS_OF_A_META_PROMPT = 48
_NUM_REMEMBERED = 60
_MAX_FRUITLESS = 3

_META_PROMPTS = """\
Think of {number} different scenes that all show {scene}. A robot arm scans something that lies on a table. The \
pictures will train robots, so the scenes shall differ: in the furniture and the equipment, the materials and the \
colours, the light and the time of day, and in how tidy the place is. No people are in them.

Sum each scene up in one short English sentence of 5 to 12 words, or in a few such phrases.{known}

Reply with a JSON list of {number} strings and nothing else."""

_KNOWN = """

These are taken, so think of others:
{sentences}"""

_TWO_VIEWS = """\
Two cameras film a robot arm that scans something on a table. One stands in the room and sees the scene as a whole. \
The other is at the robot's wrist and sees the surface of the table from close by. Describe in English what each of \
them shows, for a model that makes videos out of descriptions. The scene in short:

{meta_prompt}

top_view_prompt, for the camera in the room, in 70 to 110 words: which place it is; the furniture, the equipment and \
the walls in the background; their materials and colours; where the light comes from. The robot arm, whose look you \
choose, moves slowly and precisely over the table. Nothing else moves, the light stays as it is, the camera stands \
still, and there are no people. Say of which material and colour the top of the table is; it is matt and reflects \
nothing. Do not say what lies on the table.

bottom_view_prompt, for the camera at the wrist, in 15 to 40 words: a close view straight down onto the clean, empty \
surface of that same table, with the material and colour that you gave it and an even texture, without any reflection.

Reply with this JSON object and nothing else, each text on one line:
{{"top_view_prompt": "...", "bottom_view_prompt": "..."}}"""

_AGAIN = """

An earlier reply could not be used: it {fault} Reply in exactly the form asked for."""


class NoUsableAnswer(CosmosError):
    """The model has answered, and never as it was asked to. Exit code 1."""


class _Unusable(ValueError):
    """An answer that cannot be used, and why: the end of a sentence about it, without its words."""


@dataclass(frozen=True)
class Writer:
    """A chat model that writes prompts. The same seed and question give the same answer, as far as the model does."""

    model: ChatModel
    seed: int
    temperature: float
    max_new_tokens: int

    def expand(self, meta_prompt: str) -> TwoViewPrompt:
        """What the two cameras see of a scene.

        Raises:
            CosmosError: there was no answer; a `NoUsableAnswer` if there were some.
        """
        question = _TWO_VIEWS.format(meta_prompt=meta_prompt)
        return self._ask(question, _two_views, f"expand {meta_prompt}", self.max_new_tokens)

    def meta_prompts(self, scene: str, known: Sequence[str], number: int) -> list[str]:
        """Up to so many scenes that are not known yet; none if the model has no more ideas.

        Args:
            known: the latest last.
        Raises:
            CosmosError: as for `expand`.
        """
        number = min(number, META_PROMPTS_AT_ONCE)
        sentences = "\n".join(f"- {each}" for each in known[-_NUM_REMEMBERED:])
        question = _META_PROMPTS.format(
            number=number, scene=scene, known=_KNOWN.format(sentences=sentences) if known else ""
        )
        num_tokens = max(self.max_new_tokens, number * _TOKENS_OF_A_META_PROMPT)
        for attempt in range(_MAX_FRUITLESS):
            written = self._ask(question, _list_of_texts, f"{attempt} scenes after {len(known)}: {scene}", num_tokens)
            if new := without_repetitions(written, known)[:number]:
                return new
        return []

    def _ask(self, question: str, parse: Callable[[str], T], purpose: str, max_new_tokens: int) -> T:
        fault = ""
        for attempt in range(NUM_ATTEMPTS):
            again = _AGAIN.format(fault=fault) if fault else ""
            sampling = Sampling(
                max_new_tokens, temperature=self.temperature, seed=_seed(f"{self.seed} {attempt} {purpose}")
            )
            [answer] = self.model.answers([Message("user", [question + again])], sampling)
            try:
                return parse(answer)
            except _Unusable as error:
                fault = str(error)
        raise NoUsableAnswer(
            f"the chat model gave {NUM_ATTEMPTS} answers that cannot be used; the last {fault}",
            fix="Start the command again with another --seed, more --max-new-tokens, or another model.",
        )


def one_line(text: str) -> str:
    """A text on one line. Raises ValueError if it is empty or holds what nobody can see or a terminal obeys."""
    text = " ".join(text.split())
    if not text:
        raise ValueError("is empty.")
    if not text.isprintable():
        raise ValueError("holds control characters or others that nobody can see.")
    return text


def without_repetitions(texts: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """The texts that are not known and do not come twice; in small letters or capitals they are the same."""
    seen = {text.casefold() for text in known}
    return [text for text in texts if text.casefold() not in seen and not seen.add(text.casefold())]  # type: ignore[func-returns-value]


def _two_views(answer: str) -> TwoViewPrompt:
    document = _json_in(answer)
    names = list(TwoViewPrompt.model_fields)
    if not isinstance(document, dict):
        raise _Unusable("is no JSON object.")
    if missing := [name for name in names if name not in document]:
        raise _Unusable(f"lacks {' and '.join(missing)}.")
    if len(document) > len(names):
        raise _Unusable(f"has more in it than {' and '.join(names)}.")
    room = len(WRIST_SUFFIX)  # with which it must not be too long either
    texts = {name: _text(document[name], name, MAX_PROMPT_CHARACTERS - room) for name in names}
    return TwoViewPrompt(**texts)


def _list_of_texts(answer: str) -> list[str]:
    document = _json_in(answer)
    if not isinstance(document, list) or not document:
        raise _Unusable("is no JSON list.")
    return [_text(item, "an entry of it", MAX_META_CHARACTERS) for item in document[: 2 * META_PROMPTS_AT_ONCE]]


def _text(value: Any, name: str, most: int) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"is not as asked: {name} is no text.")
    try:
        text = one_line(value)
    except ValueError as error:
        raise _Unusable(f"is not as asked: {name} {error}") from error
    if len(text) > most:
        raise _Unusable(f"is not as asked: {name} has {len(text):,} characters, more than {most:,}.")
    if re.search(r"<[/!]?[A-Za-z]", text):
        raise _Unusable(f"is not as asked: {name} holds markup.")
    return text


def _json_in(answer: str) -> Any:
    """The document that an answer is; chat models often put a fence around it, and some think aloud before."""
    if len(answer) > _MAX_ANSWER_CHARACTERS:
        raise _Unusable(f"has {len(answer):,} characters.")
    said = without_reasoning(answer).strip()
    fenced = re.fullmatch(r"```(?:json)?\s(.*)```", said, re.DOTALL | re.IGNORECASE)
    try:
        return parse_json(fenced[1] if fenced else said, where="answer")
    except InputError as error:
        raise _Unusable("is no JSON, or is cut off.") from error


def _seed(purpose: str) -> int:
    """A seed of its own for each question, whatever is asked before it or beside it."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "big") >> 1
