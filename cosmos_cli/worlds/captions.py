"""Captions without clips, to train a text encoder on: `data.source=cosmos_cli.worlds.captions:Captions`.

Most are worded as those of rendered worlds are, of things that need not fit into a picture. The rest are sentences of
everyday words. In half of them some words are put in other words, whose meaning is then known.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.models.tiny_words import (
    DEEDS,
    END,
    LOOKS,
    PHRASES,
    PLACES,
    SYNONYMS,
    THINGS,
    WHEN,
    WHERE,
    WORD,
    pieces,
)
from cosmos_cli.training.data.examples import Example
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.worlds.bodies import COLOURS, SHAPES, SIZES, Body
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.patterns import patterns
from cosmos_cli.worlds.words import MEETINGS, WAYS, tell

# L pieces of a text, zeros behind its end

CAMERA_MOVES = tuple(
    f"the camera {what}"
    for what in (
        *("pans left", "pans right", "orbits to the left", "orbits to the right"),
        *("moves forward", "moves backward", "moves to the left", "moves to the right"),
    )
)

_MOST_BODIES = 4
_WORDS = re.compile(r"\w+|[^\w\s]")


class Captions:
    """`data.num_mock_clips` captions, from `trainer.seed` and their number, cut at `data.text_tokens` pieces.

    Examples have no frames and no embeddings, but `extras`: the numbers of the pieces `said`, and of those `meant`.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._data, self._seed = recipe.data, recipe.trainer.seed
        self._numbers = {piece: number for number, piece in enumerate(pieces())}

    def __len__(self) -> int:
        return self._data.num_mock_clips

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The caption of a number; `generator` decides on its words."""
        text = caption(Chance(self._seed, index))
        chance = Chance(int(torch.randint(1 << 31, (1,), generator=generator)))
        words = reworded(text, chance.share if chance.share() < 0.5 else lambda: 1.0)
        said_L, meant_L = (self.numbers([pair[i] for pair in words]) for i in (0, 1))
        no_frames, no_text = torch.zeros(0, 0, 0, 3, dtype=torch.uint8), torch.zeros(0, 0)
        extras = {"said": said_L, "meant": meant_L}
        return Example(f"caption {index}", no_frames, no_text, self._data.fps, extras=extras)

    def numbers(self, words: list[str]) -> torch.Tensor:
        """Of the pieces that these words are, (L,) integers."""
        length = self._data.text_tokens
        numbers = [self._numbers[f"{WORD}{word}" if word[0].isalnum() else word] for word in words[: length - 1]]
        numbers.append(self._numbers[END])
        return torch.tensor(numbers + [0] * (length - len(numbers)))


def caption(chance: Chance) -> str:
    """One of a world, or of everyday life; some with the sentence of a camera before it, or that alone."""
    kind = chance.share()
    if kind < 0.03:
        return chance.one_of(CAMERAS).sentence
    text = _of_everyday(chance) if kind < 0.15 else _of_a_world(chance)
    return f"{chance.one_of(CAMERAS).sentence} {text}" if kind > 0.9 else text


def _of_a_world(chance: Chance) -> str:
    number = int(chance.share() * (_MOST_BODIES + 1)) if chance.share() < 0.9 else 1
    is_picture = chance.share() < 0.1
    bodies, ways, meetings = [], {}, {}
    for i, colour in enumerate(chance.some_of(list(COLOURS), number)):
        is_still = is_picture or chance.share() < 0.5
        path_F3 = np.zeros((1 if is_picture else 2, 3))
        path_F3[1:] += not is_still
        bodies.append(Body(chance.one_of(SHAPES), colour, chance.one_of(list(SIZES)), 0.0, path_F3))
        ways[i] = None if is_still or chance.share() < 0.05 else chance.one_of(WAYS)
        if ways[i] in ("left", "right") and number > 1 and chance.share() < 0.6:
            other = chance.one_of([j for j in range(number) if j != i])
            meetings[i] = chance.one_of(MEETINGS), other
    move = chance.one_of(CAMERA_MOVES) if not is_picture and chance.share() < 0.5 else ""
    return tell(bodies, ways, meetings, chance.one_of(patterns()).word, move)


def _of_everyday(chance: Chance) -> str:
    def thing() -> str:
        looks = chance.one_of([*LOOKS, *COLOURS, *filter(None, SIZES)])
        return f"{looks} {chance.one_of(SHAPES if chance.share() < 0.15 else THINGS)}"

    start = chance.one_of(("a", "the", "a video of a", "a photo of a", "two", "there is a", "in this scene a"))
    sentence = f"{start} {thing()} {chance.one_of(DEEDS)}"
    if chance.share() < 0.4:
        sentence += f" {chance.one_of(('a', 'the', 'with a', 'and a'))} {thing()}"
    if chance.share() < 0.7:
        sentence += f" {chance.one_of((*WHERE, 'in', 'on', 'at', 'towards'))} the {chance.one_of(PLACES)}"
    if chance.share() < 0.3:
        sentence += f" {chance.one_of(WHEN)}"
    return f"{sentence}. {chance.one_of(CAMERA_MOVES)}." if chance.share() < 0.3 else f"{sentence}."


def reworded(text: str, share: Callable[[], float]) -> list[tuple[str, str]]:
    """The words of a caption as they are said, each with the caption's word that it stands for.

    Args:
        share: chance in 0..1; other words are taken where it is below a half.
    """
    words, found = _WORDS.findall(text.lower()), []
    while words:
        for count in (3, 2, 1):
            key = " ".join(words[:count])
            others = PHRASES.get(key) or SYNONYMS.get(key)
            if others and share() < 0.5:
                chosen = others[int(share() * len(others))]
                pairs = [pair.partition("=") for pair in chosen.split()]
                found += [(said, meant or (key if count == 1 else said)) for said, _, meant in pairs]
                del words[:count]
                break
        else:
            found.append((words[0], words.pop(0)))
    return found
