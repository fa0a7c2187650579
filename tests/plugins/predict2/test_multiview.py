"""What several cameras see, on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.video import read_video
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.requests import read_request_file, validate
from cosmos_plugins.predict2.multiview.inputs import Sample, check
from cosmos_plugins.predict2.multiview.pipeline import MultiviewPipeline, of_first_view, stacked
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.variants import MULTIVIEW
from tests.clips import encode, moving_gradient

TINY = MultiviewSettings(model_size="tiny", cache_dir=Path("cache"))


def views(num_views: int, num_frames: int) -> list[np.ndarray]:
    """Clips that tell each other apart by their brightness."""
    return [moving_gradient(num_frames, 48, 80) // 2 + 15 * view for view in range(num_views)]


@pytest.fixture
def folder() -> Path:
    path = Path("cameras")
    path.mkdir()
    for view, frames in enumerate(views(2, 6)):
        encode(path / f"{view}.mp4", frames.astype(np.uint8))
    return path


@pytest.fixture
def one_video() -> Path:
    return encode(Path("views.mp4"), np.concatenate(views(2, 6)).astype(np.uint8))


def a_request(**changes: object) -> MultiviewRequest:
    usual = {"prompt": "The car turns left.", "n_views": 2, "num_steps": 1, "save_path": "out.mp4"}
    return MultiviewRequest(**{**usual, **changes})


@pytest.mark.parametrize("count", [1, 5])
def test_a_folder_and_one_video_give_the_last_frames_of_every_view(folder: Path, one_video: Path, count: int) -> None:
    for path in (folder, one_video):
        sample = check(TINY, a_request(input_path=path, num_conditional_frames=count))()
        given = sample.given_VFHWC
        assert given.shape == (2, count, 48, 80, 3)
        assert list(sample.first_given) == [6 - count] * 2
        for view, frames in enumerate(views(2, 6)):
            assert np.abs(given[view].astype(int) - frames[-count:]).mean() < 3, path


def test_views_of_29_frames_one_below_the_other() -> None:
    result = MultiviewPipeline.load(TINY)(a_request(num_conditional_frames=0, preview=True))
    video = read_video(result.video)
    assert video.frames_FHWC.shape == (29, 2 * 48, 80, 3)
    assert video.fps == 10
    assert (result.num_views, result.num_frames, result.height, result.width) == (2, 29, 48, 80)
    assert result.preview is not None
    assert result.preview.exists()


def test_the_published_network_has_the_published_weights(golden: Path) -> None:
    published = json.loads((golden / "manifests" / "predict2_2b_multiview_7views.json").read_text())
    with torch.device("meta"):
        network = MinimalMultiviewDiT(MULTIVIEW["2B"].dit)
    own = {f"net.{key}": list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert own == {key: entry["shape"] for key, entry in published.items() if entry["kind"] == "parameter"}
    assert network.config.state_t == 1 + (29 - 1) // 4


def test_stacking_keeps_each_view_whole() -> None:
    frames = np.arange(3 * 2 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 2, 4, 5, 3)
    for number, picture in enumerate(stacked(frames)):
        for view in range(3):
            np.testing.assert_array_equal(picture[4 * view : 4 * view + 4], frames[view, number])


@pytest.mark.parametrize(("count", "num_latents"), [(0, 0), (1, 1), (5, 2)])
def test_given_frames_are_the_head_of_every_view_in_latents_and_in_pixels(
    folder: Path, count: int, num_latents: int
) -> None:
    pipeline = MultiviewPipeline.load(TINY)
    sample = check(TINY, a_request(input_path=folder, num_conditional_frames=count))()
    with torch.inference_mode():
        latents, mask = pipeline.condition(sample)
    assert mask.view(2, 8).sum(dim=1).tolist() == [num_latents] * 2
    for view in range(2):
        own = latents[:, :, 8 * view : 8 * view + num_latents]
        if count:
            video = to_video(sample.given_VFHWC[view], torch.device("cpu"), torch.float32)
            torch.testing.assert_close(own, pipeline.models.tokenizer.encode(video), atol=0, rtol=0)
    if count == 1:
        made = pipeline.make(sample).frames
        with torch.inference_mode():
            held = pipeline.models.tokenizer.decode(latents[:, :, :1])
        expected = ((held[0, :, 0] + 1) / 2).clamp(0, 1).mul(255).add(0.5).to(torch.uint8).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(made[0, 0], expected)


def test_the_prompt_is_that_of_the_first_view_alone() -> None:
    context = torch.randn(1, 4, 8)
    texts = of_first_view(context, 3)
    assert texts.shape == (1, 3, 4, 8)
    assert torch.equal(texts[:, 0], context)
    assert not texts[:, 1:].any()


def test_the_same_request_gives_the_same_video_and_the_sidecar_makes_it_again(folder: Path) -> None:
    Path("caption.txt").write_text("The car turns left.\nIgnored.\n")
    first = MultiviewPipeline.load(TINY)(a_request(input_path=folder, prompt="caption.txt", seed=2))
    assert json.loads(first.sidecar.read_text())["request"]["prompt"] == "The car turns left."
    Path("caption.txt").unlink()
    models = [MultiviewRequest, MultiviewSettings]
    request, settings = validate(models, read_request_file(first.sidecar, models) | {"save_path": "again.mp4"})
    again = MultiviewPipeline.load(settings)(request)
    assert again.video.read_bytes() == first.video.read_bytes()


BAD = {
    "no input": ({}, "--num-conditional-frames 0"),
    "missing": ({"input_path": "nowhere"}, "does not exist"),
    "too many views": ({"input_path": "cameras", "n_views": 3}, "2 files for 3 views"),
    "indivisible": ({"input_path": "views.mp4", "n_views": 5}, "12 frames, which do not divide"),
    "too short": ({"input_path": "views.mp4", "n_views": 6, "num_conditional_frames": 5}, "fewer than 5"),
    "short clip": ({"input_path": "short", "num_conditional_frames": 5}, "view 1"),
    "a folder": ({"num_conditional_frames": 0, "save_path": "."}, "folder"),
    "no mp4": ({"num_conditional_frames": 0, "save_path": "out.avi"}, ".mp4"),
    "no prompt file": ({"num_conditional_frames": 0, "prompt": "nowhere.txt"}, "nowhere.txt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(folder: Path, one_video: Path, case: str) -> None:
    Path("short").mkdir()
    for view, length in enumerate((6, 2)):
        encode(Path("short") / f"{view}.mp4", moving_gradient(length, 48, 80))
    changes, hint = BAD[case]
    with pytest.raises(InputError, match=hint):
        check(TINY, a_request(**changes))


def test_missing_checkpoints_are_named_with_their_download() -> None:
    with pytest.raises(CheckpointError) as caught:
        check(MultiviewSettings(), a_request(num_conditional_frames=0))
    for words in (
        *("model-720p-10fps-7views-29frames.pt missing", "tokenizer/tokenizer.pth missing", "google-t5/t5-11b"),
        "cosmos download predict2/multiview-2B",
    ):
        assert words in str(caught.value)


def test_without_an_input_the_sample_has_no_frames() -> None:
    sample = check(TINY, a_request(num_conditional_frames=0, n_views=7))()
    assert isinstance(sample, Sample)
    assert sample.given_VFHWC.shape == (7, 0, 48, 80, 3)
