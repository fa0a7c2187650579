"""The tiny text encoder that ships: what it reads, and what it has learned."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.t5 import T5TextEncoder
from cosmos_cli.models.tiny_text import tokenizer, write_trained
from cosmos_cli.models.tiny_words import MASK, PHRASES, SYNONYMS, WORD, pieces, vocabulary
from cosmos_cli.worlds.captions import CAMERA_MOVES, reworded
from cosmos_cli.worlds.cast import draw

FOLDER = TINY_ROOT / "google-t5" / "t5-tiny"
OWN = tokenizer()


@pytest.fixture(scope="module")
def encoder() -> T5TextEncoder:
    return T5TextEncoder(FOLDER, dtype=torch.float32, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Of held-out worlds of both kinds."""
    one = [draw(seed, (48, 80), frames, split="held-out").caption() for seed in range(40) for frames in (1, 17)]
    several = [draw(seed, (48, 80), 9, split="held-out", num_views=6) for seed in range(5)]
    return one + [scene.caption(view) for scene in several for view in range(6)]


def encoded(encoder: T5TextEncoder, text: str) -> torch.Tensor:
    embedding, count = encoder.encode(text)
    return embedding[0, : count - 1]  # without its end


def test_captions_and_camera_sentences_are_whole_words(captions: list[str]) -> None:
    own = AutoTokenizer.from_pretrained(FOLDER)
    texts = [*captions, *(camera.sentence for camera in CAMERAS)]
    for text in texts:
        found = own.tokenize(text)
        assert [piece for piece in found if not piece.startswith(WORD)] == ["."] * text.count(".")
        assert len(found) == len(text.split()) + text.count(".")
    moves = {sentence for text in captions for sentence in text.lower().split(". ") if sentence[:10] == "the camera"}
    assert len(moves) > 3
    assert {move.rstrip(".") for move in moves} <= set(CAMERA_MOVES)


def test_the_tokenizer_that_ships_is_that_of_the_code() -> None:
    assert AutoTokenizer.from_pretrained(FOLDER).get_vocab() == {piece: i for i, piece in enumerate(pieces())}


@pytest.mark.parametrize("text", ["Ein Würfel, 3.5 m groß", "赤い立方体", "🤖 a robot's hand", "THE RED CUBES"])
def test_other_texts_are_spelt(text: str) -> None:
    normal = unicodedata.normalize("NFKC", text).lower()
    assert OWN.decode(OWN(text)["input_ids"], skip_special_tokens=True).strip() == normal


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60))
def test_no_text_has_parts_that_are_not_known(text: str) -> None:
    assert OWN.unk_token_id not in OWN(text.replace("<unk>", ""))["input_ids"]


def test_other_words_stand_for_words_that_captions_have() -> None:
    words = set(vocabulary())
    assert {word for key in (*SYNONYMS, *PHRASES) for word in key.split()} <= words
    said = reworded("A red ball rolls left.", lambda: 0.0)
    assert said[1:3] == [("crimson", "red"), ("sphere", "ball")]
    assert {meant for _, meant in said} <= {*["a", "red", "ball", "rolls", "to", "the", "left"], "."}
    assert reworded("A red ball.", lambda: 1.0) == [(word, word) for word in ("a", "red", "ball", ".")]


def test_it_tells_masked_words_of_captions_that_it_has_not_seen(encoder: T5TextEncoder, captions: list[str]) -> None:
    """What was said before, and what grammar asks for; which colour comes first nobody can tell."""
    own, table = AutoTokenizer.from_pretrained(FOLDER), encoder.model.shared.weight
    mask = own.convert_tokens_to_ids(MASK)
    right = []
    for i, text in enumerate(captions):
        numbers = own(text, return_tensors="pt")["input_ids"]
        place = 1 + i % (numbers.shape[1] - 2)
        expected = int(numbers[0, place])
        numbers[0, place] = mask
        with torch.no_grad():
            found = encoder.model(input_ids=numbers).last_hidden_state[0, place] @ table.T
        right.append(int(found.argmax()) == expected)
    assert sum(right) / len(right) > 0.6


def test_each_word_is_encoded_with_what_is_said_around_it(encoder: T5TextEncoder) -> None:
    red = encoded(encoder, "A red cube slides left in front of a green ball.")
    green = encoded(encoder, "A green ball slides left in front of a red cube.")
    other = encoded(encoder, "A red cube slides right in front of a green ball.")

    def apart(one: torch.Tensor, two: torch.Tensor) -> float:
        return float((one - two).square().mean().sqrt())

    assert red.square().mean().sqrt() == pytest.approx(1, abs=0.01)
    assert apart(red[1], green[9]) > 0.2  # the same colour, of what moves and of what is passed
    assert apart(red[3], green[3]) > 0.2  # "slides", of what is red and of what is green
    assert apart(red[1], other[1]) > 0.1


def test_other_words_are_encoded_nearly_as_those_of_captions(encoder: T5TextEncoder) -> None:
    def likeness(one: str, two: str) -> torch.Tensor:
        return torch.cosine_similarity(encoded(encoder, one), encoded(encoder, two), dim=-1)

    same = likeness("A red ball slides left.", "A crimson sphere glides left.")
    assert (same > likeness("A red ball slides left.", "A green cone rises left.") + 0.1)[1:4].all()


def test_an_export_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"net.blocks.0.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt|weights"):
        write_trained(tmp_path / "other.pt", tmp_path / "t5")
    assert not (tmp_path / "t5").exists()
