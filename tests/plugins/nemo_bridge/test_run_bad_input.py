"""Wrong input to `cosmos nemo run`: one panel that says what, where and what to do, before a model loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge.pipeline import NemoPipeline
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings

Cosmos = Callable[..., CommandResult]

T2W, V2W = (TINY_ROOT / "nvidia" / f"Cosmos-Predict1-Tiny-{kind}" for kind in ("Text2World", "Video2World"))
INPUT = "--conditioned_image_or_video_path"
NAMED = "Cosmos-1.0-Diffusion-7B"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "--prompt is required. Give --prompt."),
        ("--prompt a --height 50", 2, "--height must be a multiple of 16 from 16 to 1920, but is 50."),
        ("--prompt a --num_video_frames 57", 2, "must be 1 or a multiple of 33 up to 264, but is 57."),
        (f"--prompt a {INPUT} arm.png --num_video_frames 1", 2, "is 1, which the input gives: nothing is left to make"),
        (f"--prompt a {INPUT} arm.png --num_input_frames 5", 2, "'5' is not one of 1 or 9."),
        (f"--prompt a {INPUT} arm.png --num_input_frames 9", 2, "is a still picture, but --num-input-frames 9"),
        (f"--prompt a {INPUT} gone.mp4", 2, "gone.mp4 does not exist. Give a picture or a video."),
        ("--prompt a --sampler Euler", 2, "'Euler' is not one of 'RES'."),
        ("--prompt a --video_save_path outputs", 2, "--video-save-path outputs is a folder. Give the name of a file."),
        ("--prompt a --video_save_path out.avi", 2, "--video-save-path out.avi does not end in .mp4."),
        ("--prompt a --cp_size 8", 2, "--cp-size is 8, but 1 GPUs are asked for."),
        ("--prompt a --num_devices 3 --device cpu --parallel cp=3", 2, "cp=3 does not divide the 4 attention heads"),
        ("--prompt a --tokenizer_dir gone", 4, "--tokenizer-dir checkpoints/nvidia/gone does not exist."),
        ("--prompt a --t5_cache_dir outputs", 4, "--t5-cache-dir outputs holds no text encoder."),
        ("--prompt a --nemo_checkpoint gone/weights", 4, "--nemo-checkpoint gone/weights does not exist."),
        (
            f"--prompt a --nemo_checkpoint {V2W}",
            2,
            f"{INPUT.replace('_', '-')} is required: {V2W} is a Video2World model.",
        ),
        (f"--prompt a --nemo_checkpoint {T2W} {INPUT} arm.png", 2, "takes no frames: it is a Text2World model."),
        (f"--prompt a --nemo_checkpoint {T2W} --model 7B", 2, "reads text embeddings 128 wide, and those are 1024."),
        (
            f"--prompt a --model {NAMED}-Video2World",
            2,
            f"is required by {NAMED}-Video2World. Give a picture or a video",
        ),
        (f"--prompt a --model {NAMED}-Text2World {INPUT} arm.png", 2, f"but {NAMED}-Text2World takes no frames."),
        ("--prompt a --enable_prompt_upsampler --model 7B", 4, "is published in a form of its own, which cosmos does"),
        (
            "--prompt a --upsampler_url http://h",
            2,
            "--upsampler-url has no effect alone. Pass --enable-prompt-upsampler",
        ),
        ("--prompt a --model 14B", 4, "cosmos download nemo/Cosmos-1.0-Diffusion-14B-Text2World"),
    ],
)
def test_wrong_input_is_one_panel(cosmos: Cosmos, picture: Path, line: str, code: int, words: str) -> None:
    Path("outputs").mkdir()
    result = cosmos("nemo", "run", "--model", "tiny", *line.split())
    text = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == code, text
    assert words in text
    assert "Loading" not in text and not list(Path("outputs").iterdir())


def test_a_loaded_model_makes_no_videos_of_the_other_kind(picture: Path) -> None:
    settings = NemoSettings(model_size="tiny")
    request = NemoRequest(prompt="A robot.", num_steps=1, guidance=0)
    loaded = NemoPipeline.load(settings, [request])
    with pytest.raises(InputError, match="takes no frames"):
        loaded(request.model_copy(update={"conditioned_image_or_video_path": picture}))
