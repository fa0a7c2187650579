"""Frames in memory where a request would name a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from cosmos_cli.media.facts import read_facts
from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.source import GivenFrames, Source, digest_of, is_there
from cosmos_cli.media.video import read_last_frames
from cosmos_cli.requests import StrictModel, json_schema, request_document
from tests.clips import encode, moving_gradient


class Asked(StrictModel):
    source: Source | None = None
    several: tuple[Source, ...] = ()


def test_paths_stay_paths_and_frames_become_frames() -> None:
    frames = moving_gradient(3, 8, 16)
    asked = Asked(source="a.mp4", several=[frames, Image.fromarray(frames[0]), "b.mp4"])
    assert asked.source == Path("a.mp4")
    clip, picture, path = asked.several
    assert (clip.is_picture, picture.is_picture, path) == (False, True, Path("b.mp4"))
    np.testing.assert_array_equal(read_last_frames(clip, 2).frames_FHWC, frames[1:])
    np.testing.assert_array_equal(read_image(picture), frames[0])
    assert is_image(picture)
    assert not is_image(clip)
    assert is_there(clip)


def test_frames_read_like_the_file_that_holds_them(tmp_path: Path) -> None:
    frames = moving_gradient(5, 32, 64)
    given, file = GivenFrames(frames, fps=10), encode(tmp_path / "a.mp4", frames)
    assert read_facts(given) == read_facts(file)

    def halve(image: np.ndarray) -> np.ndarray:
        return image[::2]

    ours, theirs = (read_last_frames(source, 3, halve) for source in (given, file))
    assert ours.frames_FHWC.shape == theirs.frames_FHWC.shape
    assert (ours.fps, ours.num_source_frames) == (theirs.fps, theirs.num_source_frames)
    assert np.abs(ours.frames_FHWC.astype(int) - theirs.frames_FHWC).mean() < 4  # a codec lies between


def test_a_record_says_which_frames_they_were_and_the_schema_asks_for_a_path() -> None:
    frames = moving_gradient(3, 8, 16)
    document = request_document(Asked(source=frames))
    assert document["source"] == f"<3 frames of 16x8 in memory, sha256 {digest_of(GivenFrames(frames))[:16]}>"
    assert digest_of(GivenFrames(frames)) != digest_of(GivenFrames(frames[:2]))
    [as_text, _] = json_schema(Asked)["properties"]["source"]["anyOf"]
    assert (as_text["format"], as_text["type"]) == ("path", "string")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 4, 3), np.uint8), 5]
)
def test_what_is_neither_path_nor_frames_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Asked(source=wrong)
