"""Videos out of prompts alone, on the tiny models."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.generation.settings import DEFAULT_NEGATIVE_PROMPT, guidance_of, negative_prompt_of
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest
from cosmos_plugins.predict2.text2world.inputs import check, divide
from cosmos_plugins.predict2.text2world.pipeline import Text2WorldPipeline
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.transfer1.requests import TransferRequest

TINY = Text2WorldSettings(model_size="tiny", cache_dir=Path("cache"))


def a_request(**changes: object) -> Text2WorldRequest:
    usual = {"prompt": "A bus drives off.", "save_path": "new/out.mp4", "num_steps": 2, "num_frames": 5}
    return Text2WorldRequest(**{**usual, **changes})


def test_it_is_a_picture_and_what_video2world_makes_of_it() -> None:
    result = Text2WorldPipeline.load(TINY)(a_request(seed=4, preview=True))
    stages = divide(TINY, a_request(seed=4, save_path="by_hand/out.mp4"))
    picture = Text2ImagePipeline.load(stages.image_settings)(stages.image_request)
    video = Video2WorldPipeline.load(stages.video_settings)(stages.video_request)
    assert result.first_frame.image == Path("new/out_first_frame.png")
    assert result.first_frame.image.read_bytes() == picture.image.read_bytes()
    assert result.video.video.read_bytes() == video.video.read_bytes()
    assert read_video(Path("new/out.mp4")).frames_FHWC.shape == (5, 64, 112, 3)
    assert stages.image_request.guidance == 4
    assert guidance_of(stages.video_settings, stages.video_request) == 3
    assert stages.image_request.negative_prompt == stages.video_request.negative_prompt


def test_the_first_model_is_gone_before_the_second_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Video2WorldPipeline.load

    def watched(*arguments: object) -> Video2WorldPipeline:
        assert not [thing for thing in gc.get_objects() if type(thing) is Text2ImagePipeline]
        return load(*arguments)

    monkeypatch.setattr(Video2WorldPipeline, "load", watched)
    Text2WorldPipeline.load(TINY)(a_request(num_frames=1, num_steps=1))


def test_the_sidecar_tells_of_both_models_and_makes_the_same_video_again() -> None:
    first = Text2WorldPipeline.load(TINY.model_copy(update={"distill_steps": 2}))(a_request())
    document = json.loads(first.video.sidecar.read_text())
    assert document["command"] == "cosmos predict2 text2world"
    assert {"dit", "tokenizer", "first_frame_dit", "first_frame_tokenizer"} <= set(document["weights"])
    models = [Text2WorldRequest, Text2WorldSettings]
    request, settings = validate(models, read_request_file(first.video.sidecar, models) | {"save_path": "again.mp4"})
    again = Text2WorldPipeline.load(settings)(request)
    assert again.video.video.read_bytes() == first.video.video.read_bytes()


BAD = {
    "no mp4": ({}, {"save_path": "out.gif"}, ".mp4"),
    "a folder": ({}, {"save_path": "."}, "folder"),
    "video taken": ({}, {"save_path": "taken.mp4"}, "taken.mp4 exists"),
    "first frame taken": ({}, {"save_path": "free.mp4"}, "free_first_frame.png exists"),
    "EMA of nothing": ({"load_ema": True}, {}, "--dit-path-text2image"),
    "sparse tiny": ({"natten": True}, {}, "no checkpoint"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_anything_is_made(case: str) -> None:
    for name in ("taken.mp4", "free_first_frame.png"):
        Path(name).write_text("an earlier file")
    settings, request, hint = BAD[case]
    with pytest.raises(InputError, match=hint):
        check(TINY.model_copy(update=settings), a_request(**request))
    assert not Path("new").exists()


def test_missing_checkpoints_of_both_models_are_named_each_once() -> None:
    with pytest.raises(CheckpointError) as caught:
        check(Text2WorldSettings(), a_request())
    text = str(caught.value)
    for name in ("2B-Text2Image: model.pt", "2B-Video2World: model-720p-16fps.pt"):
        assert f"nvidia/Cosmos-Predict2-{name}" in text
    assert "cosmos download predict2 predict2/text2image-2B\n" in text and text.count("cosmos download") == 1
    assert text.count("google-t5/t5-11b") == 1
    assert text.count("--model tiny") == 1


def test_guidance_is_what_is_asked_for_or_suits_the_model() -> None:
    """No guidance at all is something to ask for, too."""
    published, request = TINY.model_copy(update={"model_size": "2B"}), a_request()
    assert [guidance_of(settings, request) for settings in (TINY, published)] == [3, 7]
    assert [guidance_of(published, request.model_copy(update={"guidance": asked})) for asked in (0.0, 3.0)] == [0, 3]


@pytest.mark.parametrize("kind", [Text2WorldRequest, Text2ImageRequest, TransferRequest])
def test_tiny_models_have_no_negative_prompt_but_one_that_is_given(kind: Any) -> None:
    """They have never read the published one: led away from it, no green and no yellow is left in a video."""
    published = TINY.model_copy(update={"model_size": "2B"})
    for text in (kind.model_fields["negative_prompt"].default, DEFAULT_NEGATIVE_PROMPT):
        request = kind.model_construct(negative_prompt=text)
        assert negative_prompt_of(TINY, request) == ""
        assert negative_prompt_of(published, request) == text
    given = kind.model_construct(negative_prompt="a red cube")
    assert negative_prompt_of(TINY, given) == "a red cube"
