"""Wrong input: one panel that says what, where and what to do, before a model loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.generation.networks import build_dit
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW
from tests.clips import encode, moving_gradient
from tests.stand_ins import save, stand_in_of

Cosmos = Callable[..., CommandResult]


@pytest.fixture(autouse=True)
def files(views: Path) -> None:
    iio.imwrite("picture.png", moving_gradient(1, 48, 80)[0])
    encode(Path("seven.mp4"), moving_gradient(7, 48, 80))
    encode(Path("twelve.mp4"), moving_gradient(12, 48, 80))
    Path("broken.mp4").write_bytes(b"no video")
    for name, changes in {"t2w": {"condition_mask": False}, "v2w": {}, "five": {"n_views": 5}}.items():
        with torch.device("meta"):
            network = build_dit(replace(MULTIVIEW["tiny"].dit, **changes))
        save(stand_in_of(network, "net."), Path(f"checkpoints/{name}/model.pt"))
    Path("checkpoints/empty").mkdir()


PROMPT = "--prompt a"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "--prompt is required. Give --prompt."),
        ("--prompt ''", 2, "--prompt must not be empty."),
        (f"{PROMPT} --height 50", 2, "--height must be a multiple of 16 from 16 to 1920, but is 50."),
        (f"{PROMPT} --width 0", 2, "--width must be a multiple of 16 from 16 to 1920, but is 0."),
        (f"{PROMPT} --width 4096", 2, "--width must be a multiple of 16"),
        (f"{PROMPT} --num_input_frames 2", 2, "'2' is not one of 1 or 9."),
        (
            f"{PROMPT} --num_video_frames 121",
            2,
            "--num-video-frames is 121, but the model makes 17 frames. Leave it out.",
        ),
        (f"{PROMPT} --frame_repeat_negative_condition -2", 2, "must be 0 or more, or -1 to say nothing of it"),
        (f"{PROMPT} --n_views 7", 2, "--n-views must be <= 6"),
        (f"{PROMPT} --input_image_or_video_path gone.mp4", 2, "gone.mp4 does not exist. Give a video of all cameras"),
        (f"{PROMPT} --input_image_or_video_path picture.png", 2, "picture.png is a picture, not a video of 6 cameras."),
        (f"{PROMPT} --input_image_or_video_path seven.mp4", 2, "7 frames, which do not divide among 6 cameras."),
        (f"{PROMPT} --input_image_or_video_path broken.mp4", 2, "broken.mp4"),
        (
            f"{PROMPT} --input_image_or_video_path twelve.mp4 --num_input_frames 9",
            2,
            "2 frames of each camera, fewer than the 9 of --num-input-frames. Give a longer video or pass "
            "--num-input-frames 1.",
        ),
        (f"{PROMPT} --num_gpus 3 --device cpu --parallel cp=3", 2, "cp=3 does not divide the 4 attention heads"),
        (f"{PROMPT} --parallel cp=2", 2, "--parallel has no effect on one GPU."),
        (f"{PROMPT} --diffusion_transformer_dir gone", 4, "checkpoints/gone/model.pt does not exist."),
        (f"{PROMPT} --diffusion_transformer_dir empty", 4, "The folder holds no checkpoint"),
        (f"{PROMPT} --diffusion_transformer_dir v2w", 2, "checkpoints/v2w/model.pt continues given frames."),
        (
            f"{PROMPT} --diffusion_transformer_dir t2w --input_image_or_video_path views.mp4",
            2,
            "is given, but checkpoints/t2w/model.pt takes no frames.",
        ),
        (
            f"{PROMPT} --diffusion_transformer_dir five --n_views 6 --input_image_or_video_path views.mp4",
            4,
            "model.pt knows 5 views, and 6 are asked for.",
        ),
        (f"{PROMPT} --tokenizer_dir gone", 4, "--tokenizer-dir"),
        (f"{PROMPT} --promt_left b", 2, "No such option: --promt-left"),
    ],
)
def test_wrong_input_is_one_panel(cosmos: Cosmos, line: str, code: int, words: str) -> None:
    arguments = ["" if word == "''" else word for word in line.split()]
    result = cosmos("predict1-multiview", "run", "--model", "tiny", *arguments)
    text = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == code, text
    assert words in text
    assert "defect" not in text
    assert "Loading" not in text
    assert not Path("outputs").exists()


def test_missing_weights_are_named_with_what_fetches_them(cosmos: Cosmos) -> None:
    result = cosmos("predict1-multiview", "run", "--prompt", "a", "--checkpoint_dir", "nothing")
    assert result.exit_code == 4
    text = " ".join(result.stderr.replace("│", " ").split())
    model = "nvidia/Cosmos-Predict1-7B-Text2World-Sample-AV-Multiview"
    assert "cosmos download predict1-multiview --checkpoint-dir nothing" in text or (
        f"cosmos download predict1-multiview/{model.partition('Predict1-')[2]} --checkpoint-dir nothing" in text
    )
    for part in (model, "autoencoder.jit", "google-t5/t5-11b", "Llama-Guard-3-8B", "--model tiny"):
        assert part in text


def test_a_pipeline_of_one_kind_refuses_a_request_of_the_other() -> None:
    settings = MultiviewSettings(model_size="tiny")
    loaded = MultiviewPipeline.load(settings, [MultiviewRequest(prompt=".", num_steps=1)])
    with pytest.raises(InputError, match="is for text2world, but this request is for video2world"):
        loaded(MultiviewRequest(prompt=".", input_image_or_video_path="views.mp4"))
    with pytest.raises(InputError, match="are needed"):
        MultiviewPipeline.load(settings)


def test_frames_of_a_program_may_be_given(views: Path) -> None:
    settings = MultiviewSettings(model_size="tiny")
    frames = np.concatenate([moving_gradient(1, 48, 80)] * 6)
    request, picture = (
        MultiviewRequest(
            prompt=".", input_image_or_video_path=GivenFrames(given), num_steps=1, guidance=0, height=32, width=32
        )
        for given in (frames, frames[0])
    )
    loaded = MultiviewPipeline.load(settings, [request])
    assert loaded.generate(request).frames.shape == (6, 17, 32, 32, 3)
    with pytest.raises(InputError, match="is a picture"):
        loaded.generate(picture)


def test_every_prompt_is_checked(cosmos: Cosmos) -> None:
    blocked = ("--model", "tiny", "--prompt", "A street.", "--prompt-back-left", "A torture chamber.")
    result = cosmos("predict1-multiview", "run", *blocked)
    assert result.exit_code == 3
    assert "torture" in result.stderr
    assert not Path("outputs").exists()
    free = cosmos(
        "predict1-multiview", "run", *blocked, "--disable-guardrail", "--num-steps", 1, "--guidance", 0, "--height", 32
    )
    assert free.exit_code == 0, free.stderr
