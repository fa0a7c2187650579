"""Videos of the Cosmos-1.0 diffusion models, as a user asks for them, on the tiny ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.diffusion.edm import SIGMA_DATA
from cosmos_cli.generation.settings import guidance_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.image import read_image
from cosmos_cli.media.resize import stretch_smoothly
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge import inputs
from cosmos_plugins.nemo_bridge.model import model_of
from cosmos_plugins.nemo_bridge.pipeline import NemoPipeline
from cosmos_plugins.nemo_bridge.requests import NemoRequest, NemoSettings

Cosmos = Callable[..., CommandResult]
QUICK: dict[str, Any] = {"prompt": "A robot lifts a box.", "num_steps": 1, "guidance": 0}
TINY = NemoSettings(model_size="tiny")
LINE = ("--model", "tiny", "--prompt", "A robot lifts a box.", "--num_steps", 1, "--guidance", 0)


def frames_of(settings: NemoSettings = TINY, **changes: Any) -> np.ndarray:
    request = NemoRequest(**QUICK | changes)
    frames: np.ndarray = NemoPipeline.load(settings, [request]).generate(request).frames
    return frames


def test_the_options_are_those_of_the_originals(cosmos: Cosmos, clip: Path) -> None:
    line = (
        *("--model", "tiny", "--prompt", "Lifts a box.", "--negative_prompt", "", "--subject_name", "teal robot"),
        *("--guidance", 7, "--sampler", "RES", "--video_save_path", "made/arm.mp4", "--fps", 30, "--height", 32),
        *("--width", 64, "--seed", 2, "--num_devices", 1, "--cp_size", 1, "--num_steps", 1),
        *("--num_video_frames", 33, "--tokenizer_dir", "", "--cosmos_assets_dir", "checkpoints"),
        *("--nemo_checkpoint", "", "--t5_cache_dir", ""),
        *("--prompt_upsampler_dir", "Cosmos-1.0-Prompt-Upsampler-12B-Text2World", "--guardrail_dir", ""),
        *("--num_input_frames", 9, "--conditioned_image_or_video_path", clip, "--json"),
    )
    result = cosmos("nemo", "run", *line)
    assert result.exit_code == 0, result.stderr
    document = result.json
    assert (document["video"], document["prompt"]) == ("made/arm.mp4", "made/arm.txt")
    assert (document["num_frames"], document["height"], document["width"], document["fps"]) == (33, 32, 64, 30)
    assert Path("made/arm.txt").read_text() == "A video of sks teal robot. Lifts a box.\n"
    assert read_video(Path("made/arm.mp4")).frames_FHWC.shape == (33, 32, 64, 3)


def test_the_defaults_are_those_of_the_originals() -> None:
    request, settings = NemoRequest(prompt="A robot."), NemoSettings()
    assert (inputs.size_of(settings, request), inputs.num_frames_of(settings, request), request.fps) == (
        (704, 1280),
        121,
        24,
    )
    assert (request.num_steps, request.seed, request.num_input_frames) == (35, 1, 1)
    assert guidance_of(settings, request) == 7
    assert request.negative_prompt.startswith("The video captures a series of frames showing ugly scenes")
    assert inputs.work_of(settings, request).clip_latents == (16, 88, 160)
    assert model_of(settings, "text2world").paths.dit.parent.name == "Cosmos-1.0-Diffusion-7B-Text2World"


def test_the_sidecar_makes_the_same_video_again(clip: Path) -> None:
    request = NemoRequest(**QUICK, seed=4, conditioned_image_or_video_path=clip, num_input_frames=9)
    first = NemoPipeline.load(TINY, [request])(request)
    document = json.loads(first.sidecar.read_text())
    assert document["command"] == "cosmos nemo run" and document["prompt_used"] == "A robot lifts a box."
    values = read_request_file(first.sidecar, [NemoRequest, NemoSettings]) | {"video_save_name": "again"}
    again, settings = validate([NemoRequest, NemoSettings], values)
    made = NemoPipeline.load(settings, [again])(again)
    assert made.video.read_bytes() == first.video.read_bytes()


def test_the_seed_the_prompts_the_subject_and_the_rate_change_the_video() -> None:
    first = frames_of(guidance=2)
    changes: list[dict[str, Any]] = [{"seed": 2}, {"subject_name": "arm"}, {"negative_prompt": "rain"}, {"fps": 10}]
    for change in changes:
        assert not np.array_equal(first, frames_of(**{"guidance": 2} | change)), change


@pytest.mark.parametrize(("source", "num_given", "num_latents"), [("arm.png", 1, 1), ("arm.mp4", 9, 2)])
def test_given_frames_are_prepared_as_for_training_and_scaled_once(
    picture: Path, clip: Path, source: str, num_given: int, num_latents: int
) -> None:
    request = NemoRequest(**QUICK, conditioned_image_or_video_path=source, num_input_frames=num_given)  # type: ignore[arg-type]
    loaded, sample = NemoPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    given = read_image(picture)[None] if num_given == 1 else read_video(clip).frames_FHWC[-9:]
    assert sample.given_FHWC is not None
    np.testing.assert_array_equal(sample.given_FHWC, given)
    stretched = np.stack([stretch_smoothly(frame, 48, 80) for frame in given])
    with torch.inference_mode():
        latents, mask = loaded._condition(sample, sample.given_FHWC)
        video = to_video(stretched, loaded.device, torch.float32)
        filled = torch.cat([video, video.new_zeros(1, 3, 33 - num_given, 48, 80)], dim=2)
        whole = loaded.models.tokenizer.encode(filled)
    assert loaded.models.tokenizer.sigma_data == SIGMA_DATA
    assert mask.flatten().tolist() == [1.0] * num_latents + [0.0] * (5 - num_latents)
    torch.testing.assert_close(latents[:, :, :num_latents], whole[:, :, :num_latents])


def test_given_frames_come_out_as_they_went_in(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = NemoRequest(**QUICK, conditioned_image_or_video_path=clip, num_input_frames=9)
    loaded, sample = NemoPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(loaded, "_decoded", lambda latents: (seen.append(latents), [np.zeros((33, 48, 80, 3))])[1])
    with torch.inference_mode():
        loaded.frames(sample, "A robot.", Clock())
        assert sample.given_FHWC is not None
        latents, _ = loaded._condition(sample, sample.given_FHWC)
    # the frames are given with noise of 0.001 and replaced until the rest has no more
    torch.testing.assert_close(seen[0][:, :, :2], latents[:, :, :2])


@pytest.mark.parametrize("num_frames", [1, 66])
def test_a_picture_and_a_longer_video_can_be_made(cosmos: Cosmos, num_frames: int) -> None:
    result = cosmos("nemo", "run", *LINE, "--num_video_frames", num_frames, "--height", 32, "--width", 32, "--json")
    assert result.exit_code == 0, result.stderr
    assert read_video(Path(result.json["video"])).frames_FHWC.shape == (num_frames, 32, 32, 3)
    planned = cosmos("nemo", "run", *LINE, "--num_video_frames", num_frames, "--overwrite", "--plan")
    assert planned.exit_code == 0 and f"{num_frames} frame" in planned.stdout


def test_a_plan_says_what_is_missing_of_a_published_model(cosmos: Cosmos) -> None:
    result = cosmos("nemo", "run", "--prompt", "A robot.", "--model", "Cosmos-1.0-Diffusion-14B-Text2World", "--plan")
    assert result.exit_code == 0, result.stderr
    assert "nemo text2world 14B" in result.stdout
    assert "nvidia/Cosmos-1.0-Diffusion-14B-Text2World/model.pt" in result.stdout
    assert "nvidia/Cosmos-1.0-Tokenizer-CV8x8x8/encoder.jit" in result.stdout


def test_the_text_encoder_may_lie_in_a_cache_of_the_hub(cosmos: Cosmos, tmp_path: Path) -> None:
    from cosmos_cli.generation.variants import TINY_ROOT

    cache = tmp_path / "cache" / "models--google-t5--t5-11b" / "snapshots" / "0"
    cache.parent.mkdir(parents=True)
    cache.symlink_to(TINY_ROOT / "google-t5" / "t5-tiny")
    result = cosmos("nemo", "run", *LINE, "--t5_cache_dir", tmp_path / "cache", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(Path(result.json["sidecar"]).read_text())
    assert Path(document["weights"]["text_encoder"]["path"]) == cache


def test_a_blocked_prompt_ends_with_the_exit_code_of_guardrails(cosmos: Cosmos) -> None:
    result = cosmos("nemo", "run", *LINE, "--subject_name", "gore")
    assert result.exit_code == 3, result.stderr
    assert not Path("outputs").exists()
