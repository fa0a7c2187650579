"""Videos out of prompts, pictures and clips, as a user asks for them, on the tiny models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.generation.networks import build_dit
from cosmos_cli.generation.settings import guidance_of
from cosmos_cli.generation.single_view import SingleViewResult
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.media.frames import to_video_over_128
from cosmos_cli.media.image import read_image
from cosmos_cli.media.resize import resize_bicubic
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.single_view import inputs
from cosmos_plugins.predict1_multiview.single_view.network import model_of, network_of
from cosmos_plugins.predict1_multiview.text2world.pipeline import Text2WorldPipeline
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict1_multiview.variants import SINGLE_VIEW
from cosmos_plugins.predict1_multiview.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldRequest, Video2WorldSettings
from tests.stand_ins import save, stand_in_of

Cosmos = Callable[..., CommandResult]
QUICK: dict[str, Any] = {"prompt": "A street in the rain.", "num_steps": 1, "guidance": 0}
TEXT, VIDEO = Text2WorldSettings(model_size="tiny"), Video2WorldSettings(model_size="tiny")


def of_text(settings: Text2WorldSettings = TEXT, **changes: Any) -> SingleViewResult:
    request = Text2WorldRequest(**QUICK | changes)
    result: SingleViewResult = Text2WorldPipeline.load(settings, [request])(request)
    return result


def frames_of_text(**changes: Any) -> np.ndarray:
    request = Text2WorldRequest(**QUICK | changes)
    frames: np.ndarray = Text2WorldPipeline.load(TEXT, [request]).generate(request).frames
    return frames


def test_a_prompt_becomes_a_video_with_the_prompt_beside_it(cosmos: Cosmos) -> None:
    line = ("--prompt", "a street in the rain", "--model", "tiny", "--num_steps", 1, "--preview", "--json")
    result = cosmos("predict1", "text2world", *line)
    assert result.exit_code == 0, result.stderr
    document = result.json
    assert (document["num_frames"], document["height"], document["width"], document["fps"]) == (33, 48, 80, 24)
    video = read_video(Path(document["video"]))
    assert (video.frames_FHWC.shape, video.fps) == ((33, 48, 80, 3), 24)
    assert Path(document["prompt"]).read_text() == "A street in the rain.\n"
    assert read_image(Path(document["preview"])).shape[2] == 3
    assert any("prompt upsampler" in line for line in document["not_run"])


def test_the_options_are_those_of_the_original(cosmos: Cosmos, clip: Path) -> None:
    line: list[object] = [
        *("--checkpoint_dir", "checkpoints", "--tokenizer_dir", "Cosmos-Tokenize1-CV8x8x8-720p"),
        *("--video_save_name", "made", "--video_save_folder", "folder", "--prompt", "A bus.", "--num_steps", 1),
        *("--negative_prompt", "Ugly.", "--guidance", 7, "--num_video_frames", 33, "--height", 32, "--width", 64),
        *("--fps", 30, "--seed", 2, "--num_gpus", 1, "--disable_prompt_upsampler", "--offload_prompt_upsampler"),
        *("--offload_diffusion_transformer", "--offload_tokenizer", "--offload_text_encoder_model"),
        *("--offload_guardrail_models", "--disable_guardrail", "--model", "tiny", "--json"),
    ]
    own = {
        "text2world": ["--prompt_upsampler_dir", "Cosmos-UpsamplePrompt1-12B-Text2World"],
        "video2world": ["--prompt_upsampler_dir", "Pixtral-12B", "--num_input_frames", 9],
    }
    own["text2world"] += ["--word_limit_to_skip_upsampler", 250]
    own["video2world"] += ["--input_image_or_video_path", clip, "--video_save_name", "continued"]
    for kind, options in own.items():
        result = cosmos("predict1", kind, *line, *options)
        assert result.exit_code == 0, result.stderr
        assert result.json["video"] == f"folder/{'made' if kind == 'text2world' else 'continued'}.mp4"
        assert (result.json["height"], result.json["width"], result.json["fps"]) == (32, 64, 30)
        assert "tokenizer and text encoder in host memory while idle" in " ".join(result.stderr.split())


def test_the_defaults_are_those_of_the_original() -> None:
    request, settings = Video2WorldRequest(input_image_or_video_path="a.jpg"), Video2WorldSettings()  # type: ignore[arg-type]
    assert (inputs.size_of(settings, request), request.fps) == ((704, 1280), 24)
    assert (request.num_steps, request.seed, request.num_input_frames) == (35, 1, 1)
    assert guidance_of(settings, request) == 7
    assert request.negative_prompt.startswith("The video captures a series of frames showing ugly scenes")
    work = inputs.work_of(settings, request)
    assert (work.clip_px[0], work.clip_latents) == (121, (16, 88, 160))


def test_the_sidecar_makes_the_same_video_again(clip: Path) -> None:
    request = Video2WorldRequest(**QUICK, seed=4, input_image_or_video_path=clip, num_input_frames=9)
    first = Video2WorldPipeline.load(VIDEO, [request])(request)
    document = json.loads(first.sidecar.read_text())
    assert document["prompt_used"] == "A street in the rain."
    assert Path(document["weights"]["dit"]["path"]).parent.name == "Cosmos-Predict1-Tiny-Video2World"
    values = read_request_file(first.sidecar, [Video2WorldRequest, Video2WorldSettings]) | {"video_save_name": "again"}
    again, settings = validate([Video2WorldRequest, Video2WorldSettings], values)
    made = Video2WorldPipeline.load(settings, [again])(again)
    assert made.video.read_bytes() == first.video.read_bytes()


def test_the_seed_the_prompts_and_the_rate_change_the_video() -> None:
    first = frames_of_text(guidance=2)
    np.testing.assert_array_equal(first, frames_of_text(guidance=2))
    for changes in ({"seed": 2}, {"prompt": "A tram."}, {"negative_prompt": "rain"}, {"fps": 10}, {"guidance": 0}):
        assert not np.array_equal(first, frames_of_text(**{"guidance": 2} | changes)), changes


@pytest.mark.parametrize(("source", "num_given", "num_latents"), [("street.png", 1, 1), ("clip.mp4", 9, 2)])
def test_the_last_frames_of_the_input_begin_the_video(
    picture: Path, clip: Path, source: str, num_given: int, num_latents: int
) -> None:
    request = Video2WorldRequest(**QUICK, input_image_or_video_path=source, num_input_frames=num_given)  # type: ignore[arg-type]
    loaded, sample = Video2WorldPipeline.load(VIDEO, [request]), inputs.check(VIDEO, request)()
    given = sample.given_FHWC
    assert given is not None
    expected = read_image(picture)[None] if num_given == 1 else read_video(clip).frames_FHWC[-9:]
    np.testing.assert_array_equal(given, expected)
    assert sample.first_given == (0 if num_given == 1 else len(read_video(clip).frames_FHWC) - 9)
    with torch.inference_mode():
        latents, mask = loaded._condition(sample, given)
        video = to_video_over_128(given, loaded.device, torch.float32)
        video = resize_bicubic(video[0].transpose(0, 1), 48, 80).transpose(0, 1)[None]
        # with grey filler behind, as in the original
        filled = torch.cat([video, video.new_zeros(1, 3, 33 - num_given, 48, 80)], dim=2)
        whole = loaded.models.tokenizer.encode(filled)
    assert mask.flatten().tolist() == [1.0] * num_latents + [0.0] * (5 - num_latents)
    torch.testing.assert_close(latents[:, :, :num_latents], whole[:, :, :num_latents])


def test_given_frames_come_out_as_they_went_in_unless_the_original_is_asked_for(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[torch.Tensor] = []
    wanted = None
    for like_original in (False, True):
        # enough steps for the last ones, in which all frames are free, to change little
        request = Video2WorldRequest(
            **QUICK | {"num_steps": 10}, input_image_or_video_path=clip, like_original=like_original
        )
        loaded, sample = Video2WorldPipeline.load(VIDEO, [request]), inputs.check(VIDEO, request)()
        assert sample.given_FHWC is not None
        decode = loaded.models.tokenizer.decode_chunks
        monkeypatch.setattr(
            loaded.models.tokenizer, "decode_chunks", lambda latents, decode=decode: decode(_kept(decoded, latents))
        )
        with torch.inference_mode():
            loaded.frames(sample, ".", Clock())
            wanted = loaded._condition(sample, sample.given_FHWC).latents_BCTHW[:, :, 0]
    assert wanted is not None
    exact, slipped = (latents[:, :, 0] for latents in decoded)
    torch.testing.assert_close(exact, wanted, atol=0.02, rtol=0)
    # the figure of the originals for ten steps
    assert ((slipped * wanted).sum() / (wanted * wanted).sum()).item() == pytest.approx(1.956, abs=0.01)


def _kept(found: list[torch.Tensor], latents: torch.Tensor) -> torch.Tensor:
    found.append(latents)
    return latents


def test_the_folder_of_a_published_model_says_its_size() -> None:
    for name, size in {
        "Cosmos-Predict1-14B-Video2World": "14B",
        "nvidia/Cosmos-Predict1-7B-Video2World": "7B",
    }.items():
        model = model_of(Video2WorldSettings(diffusion_transformer_dir=name))
        assert (model.size, model.is_own) == (size, False)
        assert model.paths.dit == Path("checkpoints/nvidia", Path(name).name, WEIGHTS)
    trained = model_of(Video2WorldSettings(diffusion_transformer_dir="Cosmos-Predict1-14B-Video2World_post-trained"))
    assert (trained.size, trained.is_own) == ("14B", True)
    assert trained.paths.dit == Path("checkpoints/Cosmos-Predict1-14B-Video2World_post-trained/model.pt")


def test_a_training_s_folder_and_its_files_serve_as_the_network() -> None:
    published = TINY_ROOT / "nvidia/Cosmos-Predict1-Tiny-Text2World/model.pt"
    folder = Path("checkpoints/project/group/name/checkpoints")
    folder.mkdir(parents=True)
    content = torch.load(published, weights_only=True)
    torch.save({key: torch.zeros_like(value) for key, value in content.items()}, folder / "iter_000000004_reg_model.pt")
    shutil.copy(published, folder / "iter_000000004_ema_model.pt")
    shutil.copytree(published.parent, "checkpoints/Mine_post-trained")
    expected = of_text()
    for number, name in enumerate(
        ["project/group/name", "Mine_post-trained", str(folder / "iter_000000004_ema_model.pt")]
    ):
        settings = Text2WorldSettings(model_size="tiny", diffusion_transformer_dir=name)
        made = of_text(settings, video_save_name=str(number))
        assert made.video.read_bytes() == expected.video.read_bytes()


def test_the_size_of_own_weights_is_that_of_the_file() -> None:
    with torch.device("meta"):
        network = build_dit(replace(SINGLE_VIEW["14B"].dit, num_blocks=1))
    save(stand_in_of(network, "net."), Path("checkpoints/mine/model.pt"))
    settings = Video2WorldSettings(diffusion_transformer_dir="mine")
    assert model_of(settings).size == "14B"
    assert network_of(settings).num_heads == 40


def test_a_folder_that_the_original_s_script_made_is_enough() -> None:
    for name in ("Cosmos-Predict1-7B-Text2World", "Cosmos-Tokenize1-CV8x8x8-720p"):
        Path("checkpoints", name).mkdir(parents=True)
    for file in (
        "Cosmos-Predict1-7B-Text2World/model.pt",
        "Cosmos-Tokenize1-CV8x8x8-720p/autoencoder.jit",
        "Cosmos-Tokenize1-CV8x8x8-720p/mean_std.pt",
    ):
        Path("checkpoints", file).touch()
    settings = Text2WorldSettings(disable_guardrail=True, disable_prompt_upsampler=True)
    files = inputs.job_of(settings, Text2WorldRequest(prompt=".")).files
    assert [str(file.path) for file in files if file.is_present] == [
        "checkpoints/Cosmos-Predict1-7B-Text2World/model.pt",
        "checkpoints/Cosmos-Tokenize1-CV8x8x8-720p/autoencoder.jit",
        "checkpoints/Cosmos-Tokenize1-CV8x8x8-720p/mean_std.pt",
    ]
