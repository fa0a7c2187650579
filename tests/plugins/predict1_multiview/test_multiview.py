"""What all cameras of a car see, as a user asks for it, on the tiny models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.frames import to_video_over_128
from cosmos_cli.media.image import read_image
from cosmos_cli.media.resize import resize_bicubic
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.multiview import inputs, pipeline
from cosmos_plugins.predict1_multiview.multiview.cameras import cameras_of, frame_repeats
from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline, MultiviewResult
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from tests.plugins.predict1_multiview.conftest import six_views

Cosmos = Callable[..., CommandResult]
TINY = MultiviewSettings(model_size="tiny")
SMALL = ("--height", 32, "--width", 32)
QUICK: dict[str, Any] = {"prompt": "A street in the rain.", "num_steps": 1, "guidance": 0, "height": 32, "width": 32}


def request_of(**changes: Any) -> MultiviewRequest:
    return MultiviewRequest(**QUICK | changes)


def run(request: MultiviewRequest, settings: MultiviewSettings = TINY) -> MultiviewResult:
    result: MultiviewResult = MultiviewPipeline.load(settings, [request])(request)
    return result


def frames_of(request: MultiviewRequest, settings: MultiviewSettings = TINY) -> np.ndarray:
    """As they are before they are written, (V, F, H, W, 3)."""
    frames: np.ndarray = MultiviewPipeline.load(settings, [request]).generate(request).frames
    return frames


def test_prompts_become_six_videos_one_after_the_other_and_a_grid() -> None:
    result = run(request_of(guidance=3, preview=True, prompt_left="A tram\nstops.", height=None, width=None))
    assert (result.num_frames, result.height, result.width) == (17, 48, 80)
    video = read_video(result.video)
    assert (video.frames_FHWC.shape, video.fps) == ((6 * 17, 48, 80, 3), 24)
    assert result.grid.name == "output_grid.mp4"
    grid = read_video(result.grid).frames_FHWC
    assert grid.shape == (17, 96, 240, 3)
    # left, front, right above, rear left, rear, rear right below; both files are compressed
    for number, (row, column) in enumerate([(0, 1), (0, 0), (0, 2), (1, 1), (1, 0), (1, 2)]):
        tile = grid[10, 48 * row : 48 * row + 48, 80 * column : 80 * column + 80].astype(int)
        distances = [np.abs(tile - video.frames_FHWC[17 * view + 10]).mean() for view in range(6)]
        assert np.argmin(distances) == number
    lines = result.prompts.read_text().splitlines()
    assert lines[:2] == ["A street in the rain.", "A tram stops."]
    assert lines[2:] == [camera.sentence for camera in CAMERAS[2:]]
    assert result.preview is not None
    assert read_image(result.preview).shape[2] == 3


def test_the_sidecar_makes_the_same_videos_again(views: Path) -> None:
    first = run(request_of(seed=4, prompt_back="A bus follows.", input_image_or_video_path=views))
    document = json.loads(first.sidecar.read_text())
    assert document["prompts_used"]["rear"] == "A bus follows."
    assert Path(document["weights"]["dit"]["path"]).parent.name.startswith("Cosmos-Predict1-Tiny-Video2World")
    values = read_request_file(first.sidecar, [MultiviewRequest, MultiviewSettings]) | {"video_save_name": "again"}
    request, settings = validate([MultiviewRequest, MultiviewSettings], values)
    again = run(request, settings)  # type: ignore[arg-type]
    assert again.video.read_bytes() == first.video.read_bytes()
    assert again.grid.read_bytes() == first.grid.read_bytes()


def test_the_options_are_those_of_the_original(cosmos: Cosmos, views: Path) -> None:
    line = [
        *("--checkpoint_dir", "checkpoints", "--input_image_or_video_path", views, "--num_input_frames", 1),
        *("--prompt", "Front.", "--prompt_left", "Left.", "--prompt_right", "Right.", "--prompt_back", "Back."),
        *("--prompt_back_left", "Back left.", "--prompt_back_right", "Back right.", "--num_video_frames", 17),
        *("--video_save_name", "scene", "--video_save_folder", "made", "--num_steps", 1, "--guidance", 7),
        *("--height", 32, "--width", 64, "--fps", 30, "--seed", 2, "--negative_prompt", "Ugly.", "--num_gpus", 1),
        *("--tokenizer_dir", "Cosmos-Tokenize1-CV8x8x8-720p", "--frame_repeat_negative_condition", -1),
        *("--disable_prompt_upsampler", "--offload_prompt_upsampler", "--disable_guardrail"),
        *("--offload_diffusion_transformer", "--offload_tokenizer", "--offload_text_encoder_model"),
        "--offload_guardrail_models",
    ]
    result = cosmos("predict1-multiview", "run", "--model", "tiny", *line, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["video"] == "made/scene.mp4"
    assert (result.json["height"], result.json["width"], result.json["fps"]) == (32, 64, 30)
    assert "tokenizer and text encoder in host memory while idle" in " ".join(result.stderr.split())


@pytest.mark.parametrize(("num_given", "like_original", "num_latents"), [(1, False, 1), (9, False, 2), (9, True, 1)])
def test_the_last_frames_of_every_view_begin_it(num_given: int, like_original: bool, num_latents: int) -> None:
    request = request_of(
        input_image_or_video_path=six_views("longer.mp4", 12, height=36, width=64),
        num_input_frames=num_given,
        like_original=like_original,
    )
    loaded, sample = MultiviewPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    given = sample.given_VFHWC
    assert given is not None
    assert given.shape == (6, num_given, 36, 64, 3)
    assert sample.first_given == 12 - num_given
    source = read_video(Path("longer.mp4")).frames_FHWC
    np.testing.assert_array_equal(given[2], source[3 * 12 - num_given : 3 * 12])
    with torch.inference_mode():
        latents, mask = loaded.condition(sample, given)
        video = to_video_over_128(given[2], loaded.device, torch.float32)
        video = resize_bicubic(video[0].transpose(0, 1), 32, 32).transpose(0, 1)[None]
        # with grey filler behind, as in the original
        filled = torch.cat([video, video.new_zeros(1, 3, 17 - num_given, 32, 32)], dim=2)
        expected = loaded.models.tokenizer.encode(filled)[:, :, :num_latents]
    assert mask.view(6, 3).tolist() == [[1.0] * num_latents + [0.0] * (3 - num_latents)] * 6
    torch.testing.assert_close(latents[:, :, 6 : 6 + num_latents], expected)


def test_given_frames_come_out_as_they_went_in_unless_the_original_is_asked_for(views: Path) -> None:
    # enough steps for the last ones, in which all frames are free, to change little
    given = {"input_image_or_video_path": views, "num_steps": 10}
    made = {}
    for like_original in (False, True):
        request = request_of(like_original=like_original, **given)
        loaded, sample = MultiviewPipeline.load(TINY, [request]), inputs.check(TINY, request)()
        assert sample.given_VFHWC is not None
        with torch.inference_mode():
            conditioning = loaded.condition(sample, sample.given_VFHWC)
            text = loaded.encode_text(["."] * 6)
            made[like_original] = loaded._denoise(sample, text, conditioning, Clock())
    wanted = conditioning.latents_BCTHW[:, :, ::3]
    torch.testing.assert_close(made[False][:, :, ::3], wanted, atol=0.02, rtol=0)
    # the figure of the specification for ten steps
    ratio = (made[True][:, :, ::3] * wanted).sum() / (wanted * wanted).sum()
    assert ratio.item() == pytest.approx(1.956, abs=0.01)


def test_the_seed_and_every_prompt_change_the_videos(views: Path) -> None:
    first = frames_of(request_of())
    np.testing.assert_array_equal(first, frames_of(request_of()))
    for changes in ({"seed": 2}, {"prompt_back_right": "A tram."}, {"input_image_or_video_path": views}, {"fps": 10}):
        assert not np.array_equal(first, frames_of(request_of(**changes))), changes


def test_each_prompt_is_encoded_for_its_own_camera() -> None:
    loaded = MultiviewPipeline.load(TINY, [request_of()])
    prompts = [camera.sentence for camera in CAMERAS]
    with torch.inference_mode():
        before = loaded.encode_text(prompts).chunk(6, dim=1)
        after = loaded.encode_text([*prompts[:2], "A tram stops.", *prompts[3:]]).chunk(6, dim=1)
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False, True, True, True]


def test_repeated_frames_are_told_of_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[Tensor | None]] = []
    guided_network = pipeline.guided_network

    def noticing(dit: Any, cond: Any, uncond: Any, *given: Any, **options: Any) -> Any:
        told.append([cond.frame_repeat_BV, uncond.frame_repeat_BV])
        assert not uncond.text_BLD.any()
        return guided_network(dit, cond, uncond, *given, **options)

    monkeypatch.setattr(pipeline, "guided_network", noticing)
    field = "frame_repeat_negative_condition"
    asked = [{}, {field: 4}, {field: -1}, {"frame_repeat_contrast": True}, {field: 0}]
    made = [frames_of(request_of(guidance=7, **changes)) for changes in asked]
    shown = [[None if side is None else side.tolist() for side in sides] for sides in told]
    tail = [[0, 0, 0, 0, 10, 10]]
    assert shown == [[tail, tail], [[[0, 0, 0, 0, 4, 4]]] * 2, [None, None], [None, tail], [[[0] * 6]] * 2]
    np.testing.assert_array_equal(made[2], made[4])  # nothing said is zero
    assert len({frames.tobytes() for frames in made[:4]}) == 4


def test_fewer_cameras() -> None:
    settings = MultiviewSettings(model_size="tiny", n_views=5)
    result = run(request_of(), settings)
    assert result.cameras == ["front", "left", "right", "rear left", "rear right"]
    assert read_video(result.video).num_source_frames == 5 * 17
    assert read_video(result.grid).frames_FHWC[:, 36:60, 36:60].mean() < 10  # nothing stands where the rear would
    assert [camera.name for camera in cameras_of(3)] == ["front", "left", "right"]
    assert frame_repeats(cameras_of(5), 10) == [0, 0, 0, 10, 10]


def test_the_commands_of_the_original_s_post_training_guide(cosmos: Cosmos, views: Path) -> None:
    name = "Cosmos-Predict1-7B-Video2World-Sample-AV-Multiview_post-trained"
    trained = Path("checkpoints/posttraining/diffusion_video2world/video2world_multiview_7b_example")
    (trained / "checkpoints").mkdir(parents=True)
    for number, kind in ((200, "ema"), (1000, "ema"), (1200, "reg")):
        source = next(TINY_ROOT.rglob("*Video2World*/model.pt"))
        shutil.copy(source, trained / "checkpoints" / f"iter_{number:09}_{kind}_model.pt")
    Path("checkpoints", name).mkdir()
    shutil.copy(trained / "checkpoints" / "iter_000001000_ema_model.pt", f"checkpoints/{name}/model.pt")
    line = [*("--checkpoint_dir", "checkpoints", "--input_image_or_video_path", views, "--num_input_frames", 1)]
    line += ["--prompt", "A road.", "--model", "tiny", "--num_steps", 1, *SMALL]
    copied = cosmos("predict1-multiview", "run", *line, "--diffusion_transformer_dir", name)
    assert copied.exit_code == 0, copied.stderr
    folder = trained.relative_to("checkpoints")
    direct = ("--diffusion_transformer_dir", folder, "--video_save_name", "direct")
    result = cosmos("predict1-multiview", "run", *line, *direct)
    assert result.exit_code == 0, result.stderr
    assert "iter_000001000_ema_model.pt" in "".join(result.stderr.split())
    assert Path("outputs/direct.mp4").read_bytes() == Path("outputs/output.mp4").read_bytes()


def test_the_originals_names_of_models_are_understood_by_download(cosmos: Cosmos) -> None:
    names = ("--model_sizes", "7B", "--model_types", "Video2World-Sample-AV-Multiview", "--dry-run", "--json")
    for line in (("predict1-multiview", "download"), ("download",), ("download", "predict1-multiview")):
        result = cosmos(*line, *names)
        assert result.exit_code == 0, result.stderr
        [first, *_] = result.json["files"]
        assert first["path"] == "nvidia/Cosmos-Predict1-7B-Video2World-Sample-AV-Multiview/model.pt"
    several = cosmos("download", "--model_sizes", "7B", "14B", *names[2:])
    assert several.exit_code == 0, several.stderr
    wrong = cosmos("predict1-multiview", "download", "--model_sizes", "14B")
    assert wrong.exit_code == 2
    assert "no model of predict1-multiview has the size 14b" in " ".join(wrong.stderr.split())


def test_a_folder_that_the_original_s_script_made_is_enough() -> None:
    for name in ("Cosmos-Predict1-7B-Text2World-Sample-AV-Multiview", "Cosmos-Tokenize1-CV8x8x8-720p"):
        Path("checkpoints", name).mkdir(parents=True)
    Path("checkpoints/Cosmos-Predict1-7B-Text2World-Sample-AV-Multiview/model.pt").touch()
    for file in ("autoencoder.jit", "mean_std.pt"):
        Path("checkpoints/Cosmos-Tokenize1-CV8x8x8-720p", file).touch()
    files = inputs.job_of(MultiviewSettings(disable_guardrail=True), request_of()).files
    assert [str(file.path) for file in files if file.is_present] == [
        "checkpoints/Cosmos-Predict1-7B-Text2World-Sample-AV-Multiview/model.pt",
        "checkpoints/Cosmos-Tokenize1-CV8x8x8-720p/autoencoder.jit",
        "checkpoints/Cosmos-Tokenize1-CV8x8x8-720p/mean_std.pt",
    ]


def test_a_plan_and_a_wrong_request_load_nothing(views: Path) -> None:
    code = (
        "import sys\n"
        "from cosmos_cli.errors import InputError\n"
        "from cosmos_cli.generation.command import plan_one\n"
        "from cosmos_plugins.predict1_multiview.multiview import inputs\n"
        "from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings\n"
        "plan_one(inputs, MultiviewSettings(cache_dir='cache'), MultiviewRequest(prompt='.'))\n"
        "try:\n"
        "    inputs.check(MultiviewSettings(), MultiviewRequest(prompt='.', input_image_or_video_path='gone.mp4'))\n"
        "except InputError:\n"
        "    print(sorted({'torch', 'transformers', 'cv2'} & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
