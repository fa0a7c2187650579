"""One driving video to those of all cameras, as a user asks for it, on the tiny models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.mosaic import mosaic_frames
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_plugins.transfer1.multiview import inputs
from cosmos_plugins.transfer1.multiview.cameras import cameras_of, full_prompt
from cosmos_plugins.transfer1.multiview.clips import plan_clips
from cosmos_plugins.transfer1.multiview.pipeline import MultiviewPipeline, MultiviewResult
from cosmos_plugins.transfer1.multiview.requests import MultiviewControl, MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.spec import read_multiview_spec
from cosmos_plugins.transfer1.multiview.variants import FOLDER
from tests.clips import encode, moving_gradient

TINY = MultiviewSettings(model_size="tiny")
Request = Callable[..., MultiviewRequest]


def clip(name: str, num_frames: int, shift: int = 0) -> Path:
    return encode(Path(name), np.roll(moving_gradient(num_frames, 36, 64), shift, axis=2))


@pytest.fixture
def request_of() -> Request:
    """A request of one step with six road maps and a front video of 57 frames, unless changed."""
    front, maps = clip("front.mp4", 57), [clip(f"map{i}.mp4", 57, shift=7 * i) for i in range(6)]

    def make(**changes: Any) -> MultiviewRequest:
        given: dict[str, Any] = {
            "controls": {"hdmap": {"control_weight": 1, "input_control": [str(path) for path in maps]}},
            "view_condition_video": front,
            "num_steps": 1,
            "guidance": 0,
        }
        return MultiviewRequest(**given | changes)

    return make


def run(request: MultiviewRequest, settings: MultiviewSettings = TINY) -> MultiviewResult:
    return MultiviewPipeline.load(settings, [request])(request)


def make(request: MultiviewRequest) -> list[np.ndarray]:
    """Every view's frames, as they are before they are written."""
    pipeline, sample = MultiviewPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    with torch.inference_mode():
        text = pipeline.encode_text([camera.sentence for camera in CAMERAS])
        return list(pipeline.generation(sample, text, Clock()).frames())


def problems(request: MultiviewRequest, settings: MultiviewSettings = TINY) -> str:
    with pytest.raises(InputError) as error:
        inputs.check(settings, request)()
    return str(error.value)


def test_one_video_becomes_six_one_after_the_other_and_a_mosaic(request_of: Request) -> None:
    result = run(request_of(guidance=3, preview=True))
    assert (result.num_frames, result.num_clips, len(result.cameras)) == (57, 1, 6)
    video = read_video(result.video)
    assert video.frames_FHWC.shape == (6 * 57, 48, 80, 3)
    assert video.fps == 24
    mosaic = read_video(result.mosaic).frames_FHWC
    assert mosaic.shape == (57, 96, 240, 3)
    # as the note about the tiny model says: what is given comes back, and the other cameras show noise
    height, width = video.frames_FHWC.shape[1:3]
    given = np.stack([cv2.resize(frame, (width, height)) for frame in read_video(Path("front.mp4")).frames_FHWC[:57]])
    off = [np.abs(video.frames_FHWC[57 * view : 57 * view + 57].astype(int) - given).mean() for view in range(6)]
    assert off[0] < 0.5 * min(off[1:]), off
    # the rear camera stands in the middle below; both files are compressed
    tile, alone = mosaic[10, 48:, 80:160].astype(int), video.frames_FHWC[3 * 57 + 10]
    assert np.abs(tile - alone).mean() < 20 < np.abs(mosaic[10, :48, 80:160].astype(int) - alone).mean()
    assert result.preview is not None
    assert read_image(result.preview).shape[2] == 3


def test_the_sidecar_makes_the_same_videos_again(request_of: Request) -> None:
    first = run(request_of(seed=4, prompt_left="A bus overtakes."))
    document = json.loads(first.sidecar.read_text())
    assert document["prompts_used"]["left"] == f"{CAMERAS[1].sentence} A bus overtakes."
    values = read_request_file(first.sidecar, [MultiviewRequest, MultiviewSettings]) | {"video_save_name": "again"}
    request, settings = validate([MultiviewRequest, MultiviewSettings], values)
    again = run(request, settings)  # type: ignore[arg-type]
    assert again.video.read_bytes() == first.video.read_bytes()
    assert again.mosaic.read_bytes() == first.mosaic.read_bytes()


def test_the_front_view_is_given_and_the_others_follow_the_seed(request_of: Request) -> None:
    front, *others = make(request_of(seed=1))
    again, *different = make(request_of(seed=2))
    np.testing.assert_array_equal(front, again)
    assert not any(np.array_equal(*pair) for pair in zip(others, different, strict=True))
    pipeline = MultiviewPipeline.load(TINY, [request_of()])
    with torch.inference_mode():
        video = to_video(inputs.check(TINY, request_of())().front_FHWC, pipeline.models.device, torch.float32)
        tokenizer = pipeline.models.tokenizer
        decoded = tokenizer.decode(tokenizer.encode(video))
    np.testing.assert_array_equal(front, to_frames_truncated(decoded))


def test_each_prompt_is_encoded_for_its_own_camera(request_of: Request) -> None:
    pipeline = MultiviewPipeline.load(TINY, [request_of()])
    prompts = [camera.sentence for camera in CAMERAS]
    with torch.inference_mode():
        before = pipeline.encode_text(prompts).chunk(6, dim=1)
        after = pipeline.encode_text([*prompts[:2], "A tram stops.", *prompts[3:]]).chunk(6, dim=1)
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False, True, True, True]


def test_a_control_video_steers_and_one_of_weight_0_is_neither_read_nor_loaded(request_of: Request) -> None:
    maps = request_of().controls["hdmap"].input_control
    swapped = {"hdmap": {"control_weight": 1, "input_control": [*maps[:1], *reversed(maps[1:])]}}
    idle = request_of(controls={"lidar": {"control_weight": 0, "input_control": ["gone.mp4"] * 6}})
    made = [make(request)[1] for request in (request_of(), request_of(controls=swapped), idle)]
    assert not np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    pipeline, sample = MultiviewPipeline.load(TINY, [idle]), inputs.check(TINY, idle)()
    assert not pipeline.models.branches
    assert any("weight 0" in line for line in pipeline.lacks(sample))


def test_videos_that_go_on_from_first_frames(request_of: Request) -> None:
    long = str(clip("long.mp4", 80))
    encode(Path("views.mp4"), moving_gradient(6 * 9, 36, 64))
    controls = {"hdmap": {"input_control": [long] * 6}}
    request = request_of(
        initial_condition_video="views.mp4", view_condition_video=long, controls=controls, num_input_frames=9
    )
    result = run(request)
    assert (result.num_clips, result.num_frames) == (1, 57)
    assert read_video(result.video).num_source_frames == 6 * 57
    document = json.loads(result.sidecar.read_text())
    assert Path(document["weights"]["base"]["path"]).name == "v2w_base_model.pt"
    assert "57 of the front video's 80 frames are used, in 1 clip(s) of 57" in document["notices"]


def test_a_clip_is_given_the_last_frames_of_the_one_before(
    request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = str(clip("long.mp4", 57 + 56))
    encode(Path("views.mp4"), moving_gradient(6, 36, 64))
    request = request_of(
        initial_condition_video="views.mp4",
        view_condition_video=long,
        controls={"hdmap": {"input_control": [long] * 6}},
    )
    pipeline, sample = MultiviewPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    given: list[np.ndarray] = []
    with torch.inference_mode():
        text = pipeline.encode_text([camera.sentence for camera in CAMERAS])
        generation = pipeline.generation(sample, text, Clock())
        condition = generation.condition

        def noticing(clip: Any, previous: np.ndarray) -> Any:
            given.append(previous)
            return condition(clip, previous)

        monkeypatch.setattr(generation, "condition", noticing)
        frames = generation.frames()
    assert sample.initial_VFHWC is not None
    assert frames.shape[:2] == (6, 57 + 56)
    np.testing.assert_array_equal(given[0], sample.initial_VFHWC)
    np.testing.assert_array_equal(given[1], frames[:, 56:57])


def test_a_folder_of_first_frames_is_the_same_as_one_video(request_of: Request) -> None:
    views = [np.roll(moving_gradient(2, 48, 80), 9 * i, 2) for i in range(6)]
    encode(Path("views.mp4"), np.concatenate(views))
    folder = Path("views")
    folder.mkdir()
    for number, view in enumerate(views[1:], start=1):  # those of the front camera are not needed
        encode(folder / f"{number:03}.mp4", view)
    by_file, by_folder = (
        inputs.check(TINY, request_of(initial_condition_video=path))().initial_VFHWC
        for path in (Path("views.mp4"), folder)
    )
    assert by_file is not None
    assert by_folder is not None
    assert by_file.shape == (6, 1, 48, 80, 3)
    assert np.abs(by_file[1:].astype(int) - by_folder[1:]).mean() < 3  # both are compressed
    assert np.abs(by_file[2].astype(int) - by_folder[1]).mean() > 10


def test_shared_frames_are_given_in_every_view(request_of: Request) -> None:
    encode(Path("views.mp4"), moving_gradient(6 * 9, 36, 64))
    request = request_of(initial_condition_video="views.mp4", num_input_frames=9)
    pipeline, sample = MultiviewPipeline.load(TINY, [request]), inputs.check(TINY, request)()
    with torch.inference_mode():
        generation = pipeline.generation(sample, torch.empty(0), Clock())
        latents, mask = generation.condition(sample.clips[0], sample.initial_VFHWC)
        assert sample.initial_VFHWC is not None
        right = to_video(sample.initial_VFHWC[2], pipeline.models.device, torch.float32)
        tokenizer = pipeline.models.tokenizer
        expected = tokenizer.normalise(tokenizer.network.encode(right))
    assert mask.view(6, 8).tolist() == [[1] * 8, *[[1, 1, 0, 0, 0, 0, 0, 0]] * 5]
    torch.testing.assert_close(latents[:, :, 16:18], expected)


def test_five_cameras_without_the_rear_one(request_of: Request) -> None:
    maps = request_of().controls["hdmap"].input_control[:5]
    weights = FOLDER / "t2w_hdmap_control.pt"
    request = request_of(controls={"hdmap": {"input_control": maps, "ckpt_path": str(weights)}})
    settings = MultiviewSettings(model_size="tiny", waymo_example=True)
    result = run(request, settings)
    assert result.cameras == ["front", "left", "right", "rear left", "rear right"]
    assert read_video(result.video).num_source_frames == 5 * 57
    assert read_video(result.mosaic).frames_FHWC[:, 56:, 88:152].mean() < 10  # nothing stands where the rear would
    assert [camera.view_index for camera in cameras_of(True)] == [0, 1, 2, 4, 5]
    with pytest.raises(CheckpointError, match="not published"):
        inputs.check(settings, request_of(controls={"hdmap": {"input_control": maps}}, video_save_name="other"))()


def test_the_mosaic_shows_each_camera_where_it_looks() -> None:
    views = np.arange(6, dtype=np.uint8)[:, None, None, None, None] + np.zeros((6, 2, 2, 2, 3), np.uint8)
    first, second = mosaic_frames(views, CAMERAS)
    assert first[::2, ::2, 0].tolist() == [[1, 0, 2], [4, 3, 5]]
    assert np.array_equal(first, second)


def test_a_prompt_begins_with_its_camera() -> None:
    left = CAMERAS[1]
    assert full_prompt(left, "") == left.sentence
    assert full_prompt(left, "Rain.") == f"{left.sentence} Rain."
    assert full_prompt(left, f"{left.sentence} Rain.") == f"{left.sentence} Rain."


def test_clips_are_as_many_as_fit() -> None:
    assert [tuple(c) for c in plan_clips("t2w", 200, 9, -1)] == [(0, 0, 57, 0)]
    assert plan_clips("t2w", 56, 1, -1) == []
    assert [c.stop for c in plan_clips("v2w", 112, 1, 0)] == [57]
    assert [(c.start, c.stop) for c in plan_clips("v2w", 153, 9, -1)] == [(0, 57), (48, 105), (96, 153)]
    assert len(plan_clips("v2w", 1000, 1, 3)) == 3


def test_missing_videos_are_named_by_camera(request_of: Request) -> None:
    maps = [str(path) for path in request_of().controls["hdmap"].input_control]
    text = problems(request_of(controls={"hdmap": {"input_control": maps[:4]}}))
    assert "4 videos for 6 cameras: none for rear left, rear right" in text
    text = problems(request_of(controls={"hdmap": {"input_control": [*maps[:3], "gone.mp4", *maps[4:]]}}))
    assert "hdmap, input_control, rear camera: gone.mp4 does not exist" in text
    assert "7 videos for 6" in problems(request_of(controls={"hdmap": {"input_control": [*maps, maps[0]]}}))
    assert "no modality 'depth'" in problems(request_of(controls={"depth": {"input_control": maps}}))
    text = problems(request_of(view_condition_video="gone.mp4"))
    assert "--view-condition-video, front camera: gone.mp4" in text
    folder = Path("views")
    folder.mkdir()
    shutil.copy(maps[0], folder / "001.mp4")
    text = problems(request_of(initial_condition_video=folder))
    assert "right camera: views/002.mp4 does not exist" in text
    assert "left camera: views/001.mp4" not in text
    assert "--initial-condition-video: gone.mp4" in problems(request_of(initial_condition_video="gone.mp4"))


def test_wrong_lengths_are_told(request_of: Request) -> None:
    short = str(clip("short.mp4", 30))
    maps = [str(path) for path in request_of().controls["hdmap"].input_control]
    assert "30 frames, fewer than the 57" in problems(request_of(view_condition_video=short))
    text = problems(request_of(controls={"hdmap": {"input_control": [*maps[:5], short]}}))
    assert "hdmap, input_control, rear right camera: has 30 frames, fewer than the 57 that are made" in text
    assert "57 frames, which do not divide among 6" in problems(request_of(initial_condition_video=maps[0]))
    text = problems(request_of(initial_condition_video=short, num_input_frames=9))
    assert "left camera: has 5 frames, but --num-input-frames 9" in text


def test_a_specification_as_they_are_published(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "front.mp4").touch()
    control = {
        "control_weight": "1",
        "input_control": ["assets/front.mp4"] * 6,
        "ckpt_path": f"{FOLDER}/t2w_hdmap_control.pt",
    }
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"hdmap": control, "view_condition_video": "assets/front.mp4", "num_steps": 30}))
    values = read_multiview_spec(spec)
    [request] = validate([MultiviewRequest], values)
    assert isinstance(request, MultiviewRequest)
    assert request.view_condition_video == tmp_path / "assets" / "front.mp4"
    assert set(request.controls["hdmap"].input_control) == {tmp_path / "assets" / "front.mp4"}
    assert (request.num_steps, request.controls["hdmap"].control_weight) == (30, 1.0)


def test_a_field_at_the_wrong_level_is_read_past_and_told(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    control = {"input_control": ["front.mp4"] * 6}
    spec.write_text(json.dumps({"hdmap": {**control, "num_steps": 3}, "control_weight": 0.3, "plan": True}))
    with output.recording():
        values = read_multiview_spec(spec)
        notes = output.notices()
    assert values == {"controls": {"hdmap": validate([MultiviewControl], control)[0]}}
    assert [note.partition(": ")[2].partition(" ")[0] for note in notes] == ["control_weight", "plan", "num_steps"]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ({"hdmap": {"input_control": "front.mp4"}}, "must be a list with the path of one video per camera"),
        ({"hdmap": {"input_control": [], "control_weight": 2}}, "must be <= 1"),
        ({"hdmap": {"input_contrl": []}}, "Did you mean 'input_control'?"),
        ({"hdmap": 1}, "must be an object"),
        ({"hdmap": {"input_control": []}, "promt": "x"}, "Did you mean 'prompt'?"),
        ({"edge": {"input_control": []}}, "Unknown entry 'edge'"),
        ({"prompt": "x"}, "holds no control"),
        ([], "one JSON object"),
    ],
)
def test_a_wrong_specification_says_where(tmp_path: Path, spec: Any, hint: str) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    with pytest.raises(InputError) as error:
        read_multiview_spec(path)
    assert hint in str(error.value)
    assert "spec.json" in str(error.value)


def test_only_the_weights_that_a_request_needs_are_asked_for(request_of: Request) -> None:
    settings = MultiviewSettings(checkpoint_dir=Path("empty"))
    with pytest.raises(CheckpointError) as error:
        inputs.check(settings, request_of())()
    text = str(error.value)
    for part in ("t2w_base_model.pt", "t2w_hdmap_control.pt", "autoencoder.jit", "google-t5/t5-11b", "--model tiny"):
        assert part in text
    assert "lidar" not in text
    assert "v2w" not in text
    own = request_of(controls={"hdmap": {"input_control": ["front.mp4"] * 6, "ckpt_path": "gone.pt"}})
    with pytest.raises(CheckpointError, match=r"hdmap, ckpt_path: gone\.pt does not exist"):
        inputs.check(TINY, own)()


def test_a_pipeline_of_one_kind_refuses_a_request_of_the_other(request_of: Request) -> None:
    encode(Path("views.mp4"), moving_gradient(6, 36, 64))
    pipeline = MultiviewPipeline.load(TINY, [request_of()])
    with pytest.raises(InputError, match="is t2w, but this request needs v2w"):
        pipeline(request_of(initial_condition_video="views.mp4"))


def test_bad_input_is_found_before_anything_heavy_is_loaded() -> None:
    code = (
        "import sys\n"
        "from cosmos_cli.errors import InputError\n"
        "from cosmos_plugins.transfer1.multiview.inputs import check\n"
        "from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings\n"
        "try:\n"
        "    check(MultiviewSettings(), MultiviewRequest(controls={}, view_condition_video='gone.mp4'))\n"
        "except InputError:\n"
        "    print(sorted({'torch', 'transformers', 'cv2', 'numpy'} & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_the_tiny_models_are_there() -> None:
    files = sorted((TINY_ROOT / FOLDER).iterdir())
    assert [file.name for file in files] == [
        *(f"t2w_{name}.pt" for name in ("base_model", "hdmap_control", "lidar_control")),
        *(f"v2w_{name}.pt" for name in ("base_model", "hdmap_control", "lidar_control")),
    ]
