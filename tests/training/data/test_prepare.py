"""Texts of a data set become the files that training and the originals read."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.training.data.checking import check_data
from cosmos_cli.training.data.prepare import prepare
from tests.training.data.folders import VIEWS, clip, recipe_with


class Encoder:
    """Counts the texts that it encodes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> tuple[torch.Tensor, int]:
        self.texts.append(text)
        context_1LD = torch.zeros(1, 512, 8)
        context_1LD[:, : len(text)] = len(text)
        return context_1LD, len(text)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


def captions(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / "metas" / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def held(path: Path) -> np.ndarray:
    (array,) = pickle.loads(path.read_bytes())
    assert array.dtype == np.float16
    assert isinstance(array, np.ndarray)
    return array


def test_each_caption_becomes_a_trimmed_array_and_each_text_is_encoded_once(tmp_path: Path, encoder: Encoder) -> None:
    done = prepare(captions(tmp_path, a="A bus.", b="A car passes.", c="A bus."), encoder)
    assert (done.num_written, done.num_kept, done.num_texts) == (3, 0, 2)
    assert encoder.texts == ["A bus.", "A car passes."]
    assert held(tmp_path / "t5_xxl" / "a.pickle").shape == (6, 8)
    assert (held(tmp_path / "t5_xxl" / "b.pickle") == 13).all()


def test_what_is_there_stays_unless_its_caption_is_newer_or_all_is_asked_for(tmp_path: Path, encoder: Encoder) -> None:
    prepare(captions(tmp_path, a="One", b="Two"), encoder)
    assert prepare(tmp_path, encoder).num_kept == 2
    captions(tmp_path, b="Three")
    os.utime(tmp_path / "metas" / "b.txt", (4e9, 4e9))
    assert prepare(tmp_path, encoder).num_written == 1
    assert held(tmp_path / "t5_xxl" / "b.pickle").shape == (5, 8)
    assert prepare(tmp_path, encoder, overwrite=True).num_written == 2


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, encoder: Encoder) -> None:
    captions(tmp_path, a="One", b="Two", c="Three")

    def stops(text: str) -> tuple[torch.Tensor, int]:
        if text == "Two":
            raise CosmosError("full")
        return encoder(text)

    with pytest.raises(CosmosError):
        prepare(tmp_path, stops)
    assert sorted(path.name for path in (tmp_path / "t5_xxl").iterdir()) == ["a.pickle"]
    prepare(tmp_path, encoder)
    assert encoder.texts == ["One", "Two", "Three"]


def test_one_caption_for_all_clips_stands_beside_them(tmp_path: Path, encoder: Encoder) -> None:
    for name in ("a", "b"):
        clip(tmp_path / "videos" / f"{name}.mp4", 5)
    prepare(tmp_path, encoder, "A robot.")
    assert (tmp_path / "metas" / "b.txt").read_text() == "A robot.\n"
    assert encoder.texts == ["A robot."]
    assert prepare(tmp_path, encoder).num_kept == 2
    with pytest.raises(InputError, match="says something else than --prompt"):
        prepare(tmp_path, encoder, "A bus.")


def test_every_camera_gets_its_sentence(tmp_path: Path, encoder: Encoder) -> None:
    for key in VIEWS:
        clip(tmp_path / "videos" / key / "a.mp4", 6)
    prepare(captions(tmp_path, pinhole_front__a="A bus."), encoder)
    recipe = recipe_with("views:ViewFolders", tmp_path, view_keys=VIEWS, num_views=3)
    check_data(recipe)  # all that training reads is there
    assert len(encoder.texts) == 4
    assert encoder.texts[0] == "A bus."
    assert any("rear left side" in text for text in encoder.texts)


def test_a_camera_of_unknown_direction_needs_a_sentence(tmp_path: Path, encoder: Encoder) -> None:
    clip(tmp_path / "videos" / "roof" / "a.mp4", 6)
    captions(tmp_path, roof__a="A bus.")
    with pytest.raises(InputError, match=r"prefix_roof\.txt"):
        prepare(tmp_path, encoder)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "prefix_roof.txt").write_text("From above.")
    prepare(tmp_path, encoder)
    assert held(tmp_path / "cache" / "prefix_roof.pkl").shape == (11, 8)


@pytest.mark.parametrize(
    ("content", "said"), [(b" \n", "is empty"), (b"\xff\xfe\x00", "metas"), (b"a" * 6000, "6,000 characters")]
)
def test_captions_that_are_none_are_told_before_anything_is_encoded(
    tmp_path: Path, encoder: Encoder, content: bytes, said: str
) -> None:
    captions(tmp_path, a="A bus.")
    (tmp_path / "metas" / "b.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        prepare(tmp_path, encoder)
    assert not encoder.texts


def test_the_command_writes_what_the_tiny_model_reads(tmp_path: Path, cosmos: Callable[..., Any]) -> None:
    clip(tmp_path / "videos" / "a.mp4", 5)
    captions(tmp_path, a="A bus.")
    given = "predict1-multiview", "prepare-data", "--dataset-path", str(tmp_path), "--model", "tiny", "--device", "cpu"
    result = cosmos(*given, "--json")
    assert result.exit_code == 0
    assert result.json["written"] == 1
    width = held(tmp_path / "t5_xxl" / "a.pickle").shape[1]
    check_data(recipe_with("videos:VideoFolder", tmp_path, text_channels=width))
    assert cosmos(*given, "--json").json["kept"] == 1


def test_the_command_names_what_is_missing(tmp_path: Path, cosmos: Callable[..., Any]) -> None:
    result = cosmos("predict1-multiview", "prepare-data", "--dataset-path", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "there is no such folder" in result.stderr
    captions(tmp_path, a="A bus.")
    result = cosmos("predict1-multiview", "prepare-data", "--dataset-path", str(tmp_path))
    assert result.exit_code == 4
    assert "cosmos download google-t5/t5-11b" in " ".join(result.stderr.split())
