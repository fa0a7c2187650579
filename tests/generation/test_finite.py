"""NaN and infinity end a generation with an error that says where they began, in place of a black video."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.edm_euler import euler_sigmas, sample_edm_euler
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.errors import CosmosError
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_frames, to_frames_truncated
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.runtime.finite import not_finite
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from tests.clips import encode, moving_gradient

NAN = float("nan")
Sampler = Callable[[Callable[..., torch.Tensor], Any], torch.Tensor]


def ab2(denoiser: Any, steps: Any) -> torch.Tensor:
    return sample_ab2(denoiser, torch.ones(1, 1, 1, 2, 2), karras_sigmas(4, 0.002, 80.0), steps)


def res(denoiser: Any, steps: Any) -> torch.Tensor:
    return sample_res(denoiser, torch.ones(1, 1, 1, 2, 2), karras_sigmas(4, 0.002, 80.0), steps)


def midpoint(denoiser: Any, steps: Any) -> torch.Tensor:
    return sample_res(denoiser, torch.ones(1, 1, 1, 2, 2), karras_sigmas(4, 0.002, 80.0), steps, solver="2mid")


def edm_euler(denoiser: Any, steps: Any) -> torch.Tensor:
    return sample_edm_euler(lambda x, sigma: (x, denoiser(x, sigma)), torch.ones(1, 1, 1, 2, 2), euler_sigmas(4), steps)


@pytest.mark.parametrize("sample", [ab2, res, midpoint, edm_euler])
@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_the_step_that_a_prediction_breaks_is_named(sample: Sampler, value: float) -> None:
    num_done = 0

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        x0 = torch.zeros_like(x)
        if num_done == 2:
            x0[..., 1, 1] = value
        return x0

    def count() -> None:
        nonlocal num_done
        num_done += 1

    with pytest.raises(CosmosError, match=r"step 3 of 4.*prediction"), Clock().denoising(4) as steps:

        def on_step(index: int, x: torch.Tensor) -> None:
            count()
            steps(index, x)

        sample(steps.watched(denoiser), on_step)


def test_what_comes_before_and_after_the_steps_is_told_apart() -> None:
    with pytest.raises(CosmosError, match="starts from"), Clock().denoising(4) as steps:
        sample_ab2(
            steps.watched(lambda x, _: x), torch.full((1, 1, 1, 1, 1), NAN), karras_sigmas(4, 0.002, 80.0), steps
        )
    with pytest.raises(CosmosError, match="last evaluation"), Clock().denoising(1) as steps:
        predict = steps.watched(lambda x, sigma: x / (sigma > 1))
        sample_ab2(predict, torch.ones(1, 1, 1, 1, 1), karras_sigmas(1, 0.002, 80.0), steps)


def test_sums_show_what_is_not_finite_and_large_numbers_are() -> None:
    large = torch.full((2, 1000), 3e38)
    tensors = [large, torch.tensor([1.0, NAN]), torch.tensor([float("inf"), -float("inf")]), large.bfloat16()]
    assert not_finite(*tensors).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("convert", [to_frames, to_frames_truncated])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_that_are_no_numbers_do_not_turn_black(convert: Any, dtype: torch.dtype) -> None:
    video = torch.zeros(1, 3, 2, 4, 4, dtype=dtype)
    assert convert(video).shape == (2, 4, 4, 3)
    video[0, 1, 1, 2, 3] = NAN
    with pytest.raises(CosmosError, match="decoded frames"):
        convert(video)


def spoil(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(NAN)


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("dit", "step 1 of 2"),
        ("tokenizer.encoder", "latents of the given frames"),
        ("tokenizer.decoder", "decoded frames"),
        ("text", "text embeddings"),
    ],
)
def test_weights_that_are_no_numbers_name_the_stage(tmp_path: Path, network: str, what: str) -> None:
    pipeline = Video2WorldPipeline.load(Video2WorldSettings(model_size="tiny", cache_dir=tmp_path / "cache"))
    models = pipeline.models
    if network == "text":
        encoder, placement = models.text_encoder._encoder = models.text_encoder._load()
        assert placement
        spoil(encoder.model)
    else:
        spoil({"dit": models.dit, **dict(named(models.tokenizer))}[network])
    request = Video2WorldRequest(
        input_path=GivenFrames(np.zeros((90, 160, 3), np.uint8)), prompt="A bus.", num_steps=2, num_frames=9
    )
    with pytest.raises(CosmosError, match=what) as raised:
        pipeline.generate(request)
    assert raised.value.exit_code == 1
    assert "--verify" in str(raised.value)


def named(tokenizer: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    return [(f"tokenizer.{name}", module) for name, module in tokenizer.named_children()]


@pytest.mark.parametrize("distill_steps", [0, 2])
def test_a_picture_of_no_numbers_is_refused_too(tmp_path: Path, distill_steps: int) -> None:
    settings = Text2ImageSettings(model_size="tiny", cache_dir=tmp_path / "cache", distill_steps=distill_steps)
    pipeline = Text2ImagePipeline.load(settings)
    spoil(pipeline.models.dit)
    with pytest.raises(CosmosError, match="step 1 of 2"):
        pipeline.generate(Text2ImageRequest(prompt="A bus.", num_steps=2))


def test_guidance_that_overflows_is_an_error_and_leaves_nothing(
    cosmos: Callable[..., CommandResult], tmp_path: Path
) -> None:
    clip = encode(tmp_path / "clip.mp4", moving_gradient(9, 96, 128))
    (tmp_path / "spec.json").write_text(json.dumps({"edge": {}, "input_video_path": str(clip), "prompt": "A bus."}))
    tiny = ("--model", "tiny", "--guidance", "1e308", "--num-steps", 2, "--json")
    transfer = cosmos("transfer", "run", "--controlnet-specs", tmp_path / "spec.json", *tiny)
    picture = cosmos("predict2", "text2image", "--prompt", "A bus.", "--save-path", "bus.png", *tiny)
    for result in (transfer, picture):
        [problem] = result.json["problems"]
        assert (result.exit_code, problem["where"]) == (1, "denoising"), result.stderr
        assert "step 1 of 2" in problem["what"] and "--guidance" in problem["fix"]
    assert not [path for path in Path().rglob("*") if path.suffix in (".mp4", ".png", ".json")]
