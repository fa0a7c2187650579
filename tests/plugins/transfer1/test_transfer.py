"""Transfer as a user runs it, on the tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cosmos_cli.errors import InputError
from cosmos_cli.generation.steps import Clock
from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.generation import Generation, Texts
from cosmos_plugins.transfer1.multiview.pipeline import MultiviewPipeline
from cosmos_plugins.transfer1.multiview.requests import MultiviewSettings
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from tests.clips import encode, moving_gradient

Run = Callable[..., CommandResult]


def test_a_control_computed_from_the_input_makes_a_video_of_its_length(transfer: Run, clip: Path) -> None:
    result = transfer({"edge": {"control_weight": 1.0}, "input_video_path": str(clip)}, "--json", "--preview")
    assert result.exit_code == 0, result.stderr
    document = result.json
    assert document["status"] == "ok"
    assert (document["num_frames"], document["height"], document["width"], document["fps"]) == (9, 80, 112, 24)
    video = read_video(Path("outputs/output.mp4"))
    assert video.frames_FHWC.shape == (9, 80, 112, 3)
    assert video.fps == 24
    saved = read_video(Path(document["controls"]["edge"]))
    assert saved.frames_FHWC.shape == video.frames_FHWC.shape
    assert saved.frames_FHWC.max() > 200  # outlines were found
    assert read_image(Path("outputs/output.png")).shape[2] == 3


def test_several_controls_given_and_computed(transfer: Run, clip: Path, tmp_path: Path) -> None:
    encode(tmp_path / "depth.mp4", moving_gradient(9, 50, 60))
    spec = {
        "prompt": "A harbour at dusk.",
        "input_video_path": str(clip),
        "vis": {"control_weight": "0.25"},
        "edge": {"control_weight": 0.25},
        "depth": {"control_weight": 0.5, "input_control": str(tmp_path / "depth.mp4")},
    }
    result = transfer(spec, "--json")
    assert result.exit_code == 0, result.stderr
    assert set(result.json["controls"]) == {"vis", "edge"}
    sidecar = json.loads(Path("outputs/output.json").read_text())
    assert sidecar["request"]["prompt"] == "A harbour at dusk."
    assert list(sidecar["request"]["controls"]) == ["vis", "edge", "depth"]


def test_a_picture_is_computed_as_one_frame(tmp_path: Path) -> None:
    write_png(tmp_path / "street.png", moving_gradient(1, 72, 96)[0])
    np.save(tmp_path / "map.npy", np.full((4, 6), 0.5, np.float32))
    request = TransferRequest.model_validate(
        {
            "controls": {"edge": {"control_weight": tmp_path / "map.npy"}, "vis": {}},
            "regional_prompts": [{"prompt": "A tree.", "region_definitions_path": [0, 0, 0.5, 1]}],
            "input_video_path": tmp_path / "street.png",
            "num_steps": 1,
        }
    )
    settings = TransferSettings(model_size="tiny")
    job, seen = inputs.job_of(settings, request), []
    assert (job.frames.made, job.frames.computed, job.work.clip_px[0]) == (1, 1, 1)
    pipeline = TransferPipeline.load(settings, [request])
    made = pipeline.generate(request, on_step=lambda step: seen.append(step.x0_BCTHW.shape))
    assert made.frames.shape == (1, 80, 112, 3)
    assert [shape[2] for shape in seen] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(("num_frames", "num_chunks"), [(1, 1), (33, 1), (34, 2), (65, 2)])
def test_the_output_has_as_many_frames_as_the_input(
    transfer: Run, tmp_path: Path, num_frames: int, num_chunks: int
) -> None:
    encode(tmp_path / "long.mp4", moving_gradient(num_frames, 72, 96))
    spec = {"edge": {}, "input_video_path": str(tmp_path / "long.mp4")}
    result = transfer(spec, "--guidance", 0, "--json")
    assert result.json["num_chunks"] == num_chunks
    assert read_video(Path("outputs/output.mp4")).num_source_frames == num_frames


def test_a_chunk_begins_with_the_last_frame_of_the_one_before(clip: Path) -> None:
    """The frame that is carried over comes back exactly: its latent is given, not generated."""
    settings = TransferSettings(model_size="tiny")
    request = TransferRequest(controls={"edge": {}}, input_video_path=clip, num_steps=1, guidance=0)  # type: ignore[dict-item]
    pipeline, sample = TransferPipeline.load(settings, [request]), inputs.check(settings, request)()
    nothing = torch.zeros(1, 1, 1)
    generation = Generation(pipeline.models, sample, [], Texts(nothing, nothing), Clock(), guidance=0)
    with torch.inference_mode():
        previous = moving_gradient(1, 80, 112)
        start = torch.zeros(1, 16, 5, 10, 14)
        [conditioning] = generation._condition(previous, start)
        assert conditioning is not None
        assert conditioning.mask_B1T11.flatten().tolist() == [1.0] + [0.0] * 4
        assert generation._condition(None, start) == [None]
        tokenizer = pipeline.models.tokenizer
        alone = tokenizer.network.encode(torch.from_numpy(previous).permute(3, 0, 1, 2)[None] / 255 * 2 - 1)
        torch.testing.assert_close(
            conditioning.latents_BCTHW[:, :, :1], tokenizer.normalise(alone), atol=1e-5, rtol=1e-5
        )


def test_options_on_the_command_line_beat_the_specification_however_they_are_spelled(transfer: Run, clip: Path) -> None:
    spec = {"edge": {}, "input_video_path": str(clip), "seed": 3, "fps": 12, "guidance": 2.0}
    result = transfer(spec, "--seed=9", "--fps", 30)
    assert result.exit_code == 0, result.stderr
    request = json.loads(Path("outputs/output.json").read_text())["request"]
    assert (request["seed"], request["fps"], request["guidance"]) == (9, 30, 2.0)


def test_paths_in_a_specification_are_found_beside_it(cosmos: Run, clip: Path) -> None:
    spec = clip.parent / "spec.json"
    spec.write_text(json.dumps({"edge": {}, "input_video_path": clip.name}))
    result = cosmos("transfer", "run", "--model", "tiny", "--controlnet-specs", spec, "--num-steps", 1)
    assert result.exit_code == 0, result.stderr


def test_the_sidecar_makes_the_same_video_again(transfer: Run, clip: Path, cosmos: Run) -> None:
    spec = {"edge": {"control_weight": 0.7}, "input_video_path": str(clip)}
    assert transfer(spec, "--seed", 4, "--sigma_max", 20).exit_code == 0
    again = cosmos("transfer", "run", "--from-file", "outputs/output.json", "--video-save-name", "again", "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert Path("outputs/again.mp4").read_bytes() == Path("outputs/output.mp4").read_bytes()


def test_from_sigma_80_on_the_input_video_itself_plays_no_part(clip: Path, tmp_path: Path) -> None:
    other = encode(tmp_path / "other.mp4", moving_gradient(9, 72, 96)[:, ::-1].copy())
    edges = encode(tmp_path / "edges.mp4", moving_gradient(9, 72, 96))
    settings = TransferSettings(model_size="tiny")
    videos = {}
    for sigma_max in (70.0, 80.0, 90.0):
        for source in (clip, other):
            request = TransferRequest(
                controls={"edge": {"input_control": edges}},  # type: ignore[dict-item]
                input_video_path=source,
                sigma_max=sigma_max,
                num_steps=1,
                guidance=0,
                video_save_name=f"{sigma_max}-{source.stem}",
            )
            result = TransferPipeline.load(settings, [request])(request)
            videos[sigma_max, source] = result.video.read_bytes()
    assert videos[80.0, clip] == videos[80.0, other] == videos[90.0, clip]
    assert videos[70.0, clip] != videos[70.0, other]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_weight_map_confines_a_control(transfer: Run, clip: Path, tmp_path: Path, suffix: str) -> None:
    def video(weight: object, name: str) -> bytes:
        spec = {"edge": {"control_weight": weight}, "vis": {"control_weight": 0.5}, "input_video_path": str(clip)}
        result = transfer(spec, "--video_save_name", name, "--guidance", 0)
        assert result.exit_code == 0, result.stderr
        return Path(f"outputs/{name}.mp4").read_bytes()

    def saved(tensor: torch.Tensor, name: str) -> str:
        path = tmp_path / f"{name}{suffix}"
        torch.save(tensor, path) if suffix == ".pt" else save_file({"weights": tensor}, path)
        return str(path)

    half = torch.zeros(80, 112)
    half[:, :64] = 0.5
    everywhere = video(saved(torch.full((9, 30, 40), 0.5), "full"), "full")
    assert video(saved(half, "half"), "half") != everywhere


def test_a_control_of_weight_0_is_neither_loaded_nor_computed(transfer: Run, clip: Path) -> None:
    spec = {"edge": {"control_weight": 1.0}, "vis": {"control_weight": 0}, "input_video_path": str(clip)}
    result = transfer(spec, "--json")
    assert result.exit_code == 0, result.stderr
    assert set(result.json["controls"]) == {"edge"}
    assert "vis" not in json.loads(Path("outputs/output.json").read_text())["weights"]


def test_all_videos_are_cut_to_the_shortest_and_it_is_said(transfer: Run, clip: Path, tmp_path: Path) -> None:
    encode(tmp_path / "depth.mp4", moving_gradient(5, 72, 96), fps=15)
    spec = {"depth": {"input_control": str(tmp_path / "depth.mp4")}, "input_video_path": str(clip)}
    planned = transfer(spec, "--plan", "--json")
    assert planned.json["frames"]["made"] == 5
    [told] = planned.json["notes"]
    result = transfer(spec, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["num_frames"] == 5
    assert result.stderr.count("(input 9, depth 5): the first 5 of each are used") == 1
    assert told in result.stderr
    assert "15 frames per second" in result.stderr


def test_labels_are_resized_without_mixing_them(tmp_path: Path) -> None:
    labels = np.zeros((2, 40, 50, 3), np.uint8)
    labels[:, :, 25:] = 255
    encode(tmp_path / "seg.mp4", labels, qp="0")
    request = TransferRequest(controls={"seg": {"input_control": tmp_path / "seg.mp4"}}, sigma_max=80)  # type: ignore[dict-item]
    [seg] = inputs.check(TransferSettings(model_size="tiny"), request)().controls
    assert seg.frames_FHWC.shape == (2, 80, 112, 3)
    assert set(np.unique(seg.frames_FHWC // 64)) == {0, 3}


def test_the_same_seed_gives_the_same_frames_and_another_seed_does_not(transfer: Run, clip: Path) -> None:
    spec = {"edge": {}, "input_video_path": str(clip)}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert transfer(spec, "--seed", seed, "--video_save_name", name, "--guidance", 0).exit_code == 0
    assert Path("outputs/a.mp4").read_bytes() == Path("outputs/b.mp4").read_bytes()
    assert Path("outputs/a.mp4").read_bytes() != Path("outputs/c.mp4").read_bytes()


def test_a_model_is_loaded_for_requests_that_say_which_branches() -> None:
    with pytest.raises(InputError, match="which networks to load"):
        TransferPipeline.load(TransferSettings(model_size="tiny", device="cpu"))
    with pytest.raises(InputError, match="which networks to load"):
        MultiviewPipeline.load(MultiviewSettings(model_size="tiny", device="cpu"))
