"""Controls, weight maps and regions that cosmos makes itself, on the tiny annotators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cosmos_cli import output
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from tests.chat_models import chat_server, says
from tests.clips import encode, moving_gradient

Run = Callable[..., CommandResult]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads on two busy cores make the tiny annotators many times slower."""
    torch.set_num_threads(1)


def test_depth_and_seg_are_computed_when_not_given(transfer: Run, clip: Path) -> None:
    spec = {"depth": {}, "seg": {"input_control_prompt": "bus . tree"}, "input_video_path": str(clip)}
    result = transfer(spec, "--json", "--preview")
    assert result.exit_code == 0, result.stderr
    assert set(result.json["controls"]) == {"depth", "seg"}
    depth = read_video(Path(result.json["controls"]["depth"])).frames_FHWC
    assert depth.shape == (9, 80, 112, 3)
    assert depth.min() < 10  # the whole video is stretched from black to white
    assert depth.max() > 245


def test_a_weight_prompt_confines_a_control_to_what_it_finds(transfer: Run, clip: Path) -> None:
    spec = {
        "edge": {"control_weight": 0.4, "control_weight_prompt": "bus"},
        "vis": {"control_weight": 0.5},
        "input_video_path": str(clip),
    }
    result = transfer(spec, "--preview")
    assert result.exit_code == 0, result.stderr
    picture = read_video(Path("outputs/output_edge_control_weight.mp4")).frames_FHWC
    assert picture.shape == (9, 80, 112, 3)
    request = TransferRequest(
        controls={name: spec[name] for name in ("edge", "vis")},  # type: ignore[misc]
        input_video_path=clip,
        video_save_name="second",
    )
    edge, vis = inputs.check(TransferSettings(model_size="tiny"), request)().controls
    assert isinstance(edge.weight, np.ndarray)
    assert set(np.unique(edge.weight).tolist()) == {0.0, float(np.float16(0.4))}
    assert vis.weight == 0.5


def test_what_was_computed_once_is_taken_from_the_cache(transfer: Run, clip: Path, tmp_path: Path) -> None:
    spec = {"depth": {}, "vis": {}, "input_video_path": str(clip)}
    made = transfer(spec)
    assert made.exit_code == 0
    assert "Computing depth 9 frames: " in made.stderr
    cached = sorted((tmp_path / "cache" / "controls").iterdir())
    assert len(cached) == 2
    times = [path.stat().st_ino for path in cached]
    again = transfer(spec, "--video_save_name", "again")
    assert again.exit_code == 0
    assert {"depth: from the cache", "vis: from the cache"} <= {*again.stderr.splitlines()}
    assert "Computing" not in again.stderr
    assert [path.stat().st_ino for path in cached] == times  # read, not written anew
    for name in ("depth", "vis"):
        first, second = (Path(f"outputs/{stem}_{name}_input_control.mp4").read_bytes() for stem in ("output", "again"))
        assert first == second
    other = encode(tmp_path / "other.mp4", moving_gradient(9, 72, 96)[:, ::-1].copy())
    assert transfer({**spec, "input_video_path": str(other)}, "--video_save_name", "other").exit_code == 0
    assert len(list((tmp_path / "cache" / "controls").iterdir())) == 4
    for number, path in enumerate(cached):
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // (number + 2)] ^= 4
        path.write_bytes(damaged)
    before = [path.read_bytes() for path in cached]
    assert transfer(spec, "--video_save_name", "third").exit_code == 0
    for name in ("depth", "vis"):
        first, third = (Path(f"outputs/{stem}_{name}_input_control.mp4").read_bytes() for stem in ("output", "third"))
        assert first == third
    assert not {path.read_bytes() for path in cached} & {*before}  # both are made again


def test_without_a_cache_folder_the_same_is_made_with_one_note(transfer: Run, clip: Path, tmp_path: Path) -> None:
    spec = {"vis": {}, "input_video_path": str(clip)}
    assert transfer(spec).exit_code == 0
    (tmp_path / "file").touch()
    result = transfer(spec, "--video_save_name", "again", "--cache-dir", str(tmp_path / "file"))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("cannot be used: Not a directory; going on without it") == 1
    assert Path("outputs/again.mp4").read_bytes() == Path("outputs/output.mp4").read_bytes()
    assert Path("outputs/again.json").is_file()


def test_nothing_found_is_said_and_the_run_goes_on(
    transfer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cosmos_plugins.transfer1.controls.detector as detector

    monkeypatch.setattr(detector, "_THRESHOLDS", ((2.0, 2.0),))  # a random detector finds something in any picture
    clip = encode(tmp_path / "clip.mp4", moving_gradient(3, 72, 96))
    spec = {
        "seg": {"input_control_prompt": "unicorn"},
        "edge": {"control_weight_prompt": "dragon"},
        "input_video_path": str(clip),
    }
    result = transfer(spec)
    assert result.exit_code == 0, result.stderr
    assert "seg: nothing in the first frame matches 'unicorn'" in result.stderr
    assert "nothing in the first frame matches 'dragon'" in result.stderr
    assert read_video(Path("outputs/output_seg_input_control.mp4")).frames_FHWC.max() < 20


def test_annotate_makes_the_controls_alone(cosmos: Run, clip: Path) -> None:
    spec = {
        "depth": {},
        "edge": {"control_weight": 0.5, "control_weight_prompt": "bus"},
        "input_video_path": str(clip),
    }
    Path("spec.json").write_text(json.dumps(spec))
    line = ("transfer", "annotate", "--model", "tiny", "--controlnet-specs", "spec.json", "--json")
    result = cosmos(*line)
    assert result.exit_code == 0, result.stderr
    assert "Loading tiny" not in result.stderr
    assert result.json["files"] == {
        "control:depth": "outputs/output_controls/depth.mp4",
        "control:edge": "outputs/output_controls/edge.mp4",
        "weight:edge": "outputs/output_controls/edge_weight.mp4",
        "map:edge": "outputs/output_controls/edge_weight.safetensors",
    }
    side = read_video(Path(result.json["side_by_side"])).frames_FHWC
    assert side.shape == (9, 80, 4 * 112, 3)
    assert read_image(Path(result.json["sheet"])).ndim == 3
    weights = load_file("outputs/output_controls/edge_weight.safetensors")["control_weight"]
    assert weights.shape[0] == 9
    # what it wrote is what `run` takes
    spec["edge"] = {"control_weight": "outputs/output_controls/edge_weight.safetensors"}
    spec["depth"] = {"input_control": "outputs/output_controls/depth.mp4"}
    Path("given.json").write_text(json.dumps(spec))
    run = cosmos("transfer", "run", "--model", "tiny", "--controlnet-specs", "given.json", "--num-steps", 1)
    assert run.exit_code == 0, run.stderr
    assert cosmos(*line).exit_code == 2  # its files exist


def test_a_region_has_its_own_prompt(transfer: Run, clip: Path, tmp_path: Path) -> None:
    def video(name: str, *regions: dict[str, object]) -> np.ndarray:
        spec = {"edge": {}, "input_video_path": str(clip), "regional_prompts": list(regions)}
        result = transfer(spec, "--video_save_name", name, "--guidance", 0, "--prompt", "A street.")
        assert result.exit_code == 0, result.stderr
        return read_video(Path(f"outputs/{name}.mp4")).frames_FHWC

    plain = video("plain")
    same = video("same", {"prompt": "A street.", "region_definitions_path": [0, 0, 0.5, 1]})
    np.testing.assert_array_equal(same, plain)  # a region with the same prompt changes nothing
    left = video("left", {"prompt": "A harbour at night.", "region_definitions_path": [0, 0, 0.5, 1]})
    assert not np.array_equal(left, plain)
    mask = np.zeros((9, 48, 64, 3), np.uint8)
    mask[:, :, :32] = 255
    encode(tmp_path / "mask.mp4", mask)
    from_video = video(
        "video", {"prompt": "A harbour at night.", "region_definitions_path": str(tmp_path / "mask.mp4")}
    )
    np.testing.assert_array_equal(from_video, left)
    found = video("found", {"prompt": "A harbour at night.", "mask_prompt": "bus"})
    assert not np.array_equal(found, plain)


def test_an_upscaled_video_is_three_times_as_large_and_every_tile_is_told_of(
    transfer: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(output, "_follower", said.append)
    result = transfer(
        {"upscale": {"control_weight": 0.5}, "input_video_path": str(clip)}, "--json", "--preview", "--guidance", 0
    )
    assert result.exit_code == 0, result.stderr
    assert (result.json["height"], result.json["width"]) == (240, 336)
    assert read_video(Path("outputs/output.mp4")).frames_FHWC.shape == (9, 240, 336, 3)
    assert result.json["controls"] == {}
    tiles = [line for line in said if line.endswith("of 18 tiles done")]  # one step, and the last noise level
    assert len(tiles) == 18
    assert "9 tiles a step" in tiles[0]


@pytest.mark.slow
def test_a_long_video_is_upscaled_chunk_by_chunk(transfer: Run, tmp_path: Path) -> None:
    encode(tmp_path / "long.mp4", moving_gradient(37, 72, 96))
    spec = {"upscale": {}, "input_video_path": str(tmp_path / "long.mp4")}
    result = transfer(spec, "--json", "--guidance", 0)
    assert result.exit_code == 0, result.stderr
    assert result.json["num_chunks"] == 2
    assert read_video(Path("outputs/output.mp4")).num_source_frames == 37


def test_driving_scenes_start_from_noise_and_their_maps(transfer: Run, tmp_path: Path) -> None:
    for name in ("hdmap", "lidar"):
        encode(tmp_path / f"{name}.mp4", moving_gradient(9, 36, 64))
    spec = {
        name: {"control_weight": weight, "input_control": str(tmp_path / f"{name}.mp4")}
        for name, weight in (("hdmap", 0.3), ("lidar", 0.7))
    }
    result = transfer(spec, "--is-av-sample", "--sigma-max", 80, "--json")
    assert result.exit_code == 0, result.stderr
    assert (result.json["num_frames"], result.json["height"], result.json["width"]) == (9, 64, 112)


def test_the_distilled_model_takes_one_step_whatever_is_asked(transfer: Run, clip: Path) -> None:
    spec = {"edge": {"control_weight": 1.0}, "input_video_path": str(clip)}
    for name, line in (("a", ("--num_steps", 1)), ("b", ("--num_steps", 9, "--guidance", 3, "--sigma-max", 20))):
        result = transfer(spec, "--use_distilled", "--video_save_name", name, *line)
        assert result.exit_code == 0, result.stderr
    assert Path("outputs/a.mp4").read_bytes() == Path("outputs/b.mp4").read_bytes()
    sidecar = json.loads(Path("outputs/a.json").read_text())
    assert sidecar["weights"]["base"]["path"].endswith("edge_control_distilled.pt")
    assert transfer(spec, "--video_save_name", "c").exit_code == 0
    assert Path("outputs/c.mp4").read_bytes() != Path("outputs/a.mp4").read_bytes()


def test_offloading_changes_nothing_but_memory(clip: Path) -> None:
    videos = []
    for offload in (False, True):
        settings = TransferSettings(
            model_size="tiny", offload_diffusion_transformer=offload, offload_text_encoder_model=offload
        )
        request = TransferRequest(
            controls={"edge": {}},  # type: ignore[dict-item]
            input_video_path=clip,
            num_steps=1,
            video_save_name=f"offload-{offload}",
        )
        videos.append(TransferPipeline.load(settings, [request])(request).video.read_bytes())
    assert videos[0] == videos[1]


def test_a_server_writes_the_prompt_out(transfer: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    spec = {"edge": {}, "input_video_path": str(clip), "prompt": "A street."}
    with chat_server(says("A long street in the rain, seen from a bus.")) as server:
        line = ("--upsample_prompt", "--upsampler-url", server.url, "--upsampler-model", "pixtral")
        result = transfer(spec, *line)
    assert result.exit_code == 0, result.stderr
    assert "A long street in the rain" in result.stderr
    sidecar = json.loads(Path("outputs/output.json").read_text())
    assert sidecar["prompt_used"] == "A long street in the rain, seen from a bus."
    assert sidecar["request"]["prompt"] == "A street."
    [asked] = server.requests
    kinds = [part["type"] for part in asked["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
