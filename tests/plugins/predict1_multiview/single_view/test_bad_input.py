"""Wrong input: one panel that says what, where and what to do, before a model loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.single_view import inputs
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldRequest, Video2WorldSettings
from tests.clips import moving_gradient

Cosmos = Callable[..., CommandResult]

T2W, V2W = (TINY_ROOT / "nvidia" / f"Cosmos-Predict1-Tiny-{kind}" for kind in ("Text2World", "Video2World"))
GIVEN = "video2world --prompt a --input_image_or_video_path"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("text2world", 2, "--prompt is required. Give --prompt."),
        ("text2world --prompt ''", 2, "--prompt must not be empty."),
        ("text2world --prompt a --height 50", 2, "--height must be a multiple of 16 from 16 to 1920, but is 50."),
        (
            "text2world --prompt a --num_video_frames 57",
            2,
            "--num-video-frames is 57, but the model makes 33 frames. Leave it out.",
        ),
        ("text2world --prompt a --num_gpus 3 --device cpu --parallel cp=3", 2, "cp=3 does not divide the 4 attention"),
        ("text2world --prompt a --parallel cp=2", 2, "--parallel has no effect on one GPU."),
        ("text2world --prompt a --diffusion_transformer_dir gone", 4, "checkpoints/gone/model.pt does not exist."),
        (f"text2world --prompt a --diffusion_transformer_dir {V2W}", 2, "begins with given frames: it is a network of"),
        ("text2world --prompt a --tokenizer_dir gone", 4, "--tokenizer-dir"),
        ("text2world --prompt a --upsampler_url http://h", 2, "--upsampler-model is required with --upsampler-url."),
        (
            "text2world --prompt a --upsampler_url http://h --upsampler_model m --disable_prompt_upsampler",
            2,
            "--upsampler-url has no effect alone. Leave out --disable-prompt-upsampler.",
        ),
        ("text2world --prompt a --prompt_upsampler_dir gone", 4, "checkpoints/gone does not exist."),
        ("text2world --batch_input_path gone.jsonl", 2, "gone.jsonl"),
        ("video2world --prompt a", 2, "--input-image-or-video-path is required."),
        (f"{GIVEN} gone.mp4", 2, "gone.mp4 does not exist. Give a picture or a video."),
        (f"{GIVEN} street.png --num_input_frames 2", 2, "'2' is not one of 1 or 9."),
        (f"{GIVEN} street.png --num_input_frames 9", 2, "a still picture, but --num-input-frames 9 needs a video"),
        (f"{GIVEN} broken.mp4", 2, "broken.mp4"),
        (f"{GIVEN} broken.png", 2, "broken.png cannot be read as an image"),
        (
            "video2world --input_image_or_video_path street.png --disable_prompt_upsampler",
            2,
            "--prompt is required: nothing writes a prompt out",
        ),
        (f"{GIVEN} street.png --diffusion_transformer_dir {T2W}", 2, "takes no given frames: it is a network of text2"),
    ],
)
def test_wrong_input_is_one_panel(cosmos: Cosmos, picture: Path, line: str, code: int, words: str) -> None:
    Path("broken.mp4").write_bytes(b"no video")
    Path("broken.png").write_bytes(b"no picture")
    kind, *arguments = ("" if word == "''" else word for word in line.split())
    result = cosmos("predict1", kind, "--model", "tiny", *arguments)
    text = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == code, text
    assert words in text
    assert "defect" not in text
    assert "Loading" not in text
    assert not Path("outputs").exists()


def test_missing_weights_are_named_with_what_fetches_them_and_what_does_without(cosmos: Cosmos, picture: Path) -> None:
    line = ("--input_image_or_video_path", picture, "--diffusion_transformer_dir", "Cosmos-Predict1-14B-Video2World")
    result = cosmos("predict1", "video2world", *line)
    assert result.exit_code == 4
    text = " ".join(result.stderr.replace("│", " ").split())
    for part in (
        "cosmos download predict1/14B-Video2World",
        "mistralai/Pixtral-12B-2409",
        *("autoencoder.jit", "google-t5/t5-11b", "Llama-Guard-3-8B", "--model tiny", "--disable-prompt-upsampler"),
    ):
        assert part in text


def test_the_upsampler_of_text2world_is_refused_where_it_would_be_asked(cosmos: Cosmos) -> None:
    result = cosmos("predict1", "text2world", "--prompt", "A bus.")
    assert result.exit_code == 4
    text = " ".join(result.stderr.replace("│", " ").split())
    assert "Cosmos-UpsamplePrompt1-12B-Text2World is published in a form of its own, which cosmos does not read" in text
    long = cosmos("predict1", "text2world", "--prompt", "bus " * 251)
    assert "Cosmos-UpsamplePrompt1-12B-Text2World" not in long.stderr


def test_frames_of_a_program_may_be_given() -> None:
    settings, frames = Video2WorldSettings(model_size="tiny"), moving_gradient(9, 48, 80)
    request = Video2WorldRequest(prompt=".", input_image_or_video_path=frames, num_input_frames=9)  # type: ignore[arg-type]
    given = inputs.check(settings, request)().given_FHWC
    assert given is not None
    np.testing.assert_array_equal(given, frames)
    short = Video2WorldRequest(prompt=".", input_image_or_video_path=frames[:8], num_input_frames=9)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has 8 frames"):
        inputs.check(settings, short)


def test_prompts_are_checked_unless_that_is_disabled(cosmos: Cosmos) -> None:
    blocked = ("--model", "tiny", "--prompt", "A torture chamber.", "--num-steps", 1, "--guidance", 0)
    result = cosmos("predict1", "text2world", *blocked)
    assert result.exit_code == 3
    assert "torture" in result.stderr
    assert not Path("outputs").exists()
    free = cosmos("predict1", "text2world", *blocked, "--disable_guardrail")
    assert free.exit_code == 0, free.stderr
