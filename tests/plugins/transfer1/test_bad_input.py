"""Every input error: the right exit code, one panel that names the field and the way out, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.checkpoints.catalogue import VIDEO_TOKENIZER
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult, run_cosmos
from cosmos_plugins.transfer1.checkpoints import control_file

REGION = {"prompt": "A tree.", "region_definitions_path": [0, 0, 0.5, 1]}
EDGE: dict[str, Any] = {"edge": {"control_weight": 1.0}, "input_video_path": "clip.mp4"}


@pytest.fixture
def folder(clip: Path) -> Path:
    """A working folder with one good clip and every kind of bad file."""
    here = Path.cwd()
    clip.rename(here / "clip.mp4")
    (here / "text.mp4").write_text("not a video")
    (here / "taken").mkdir()
    (here / "taken" / "output.mp4").write_text("an earlier video")
    torch.save(torch.zeros(2, 2, 2, 2), here / "four_axes.pt")
    torch.save(torch.full((4, 4), float("nan")), here / "nan.pt")
    (here / "text.pt").write_text("not a tensor")
    return here


def edge(**changes: Any) -> dict[str, Any]:
    return {**EDGE, "edge": {**EDGE["edge"], **changes}}


CASES: dict[str, tuple[Any, tuple[object, ...], str, str]] = {
    "not JSON": ("{edge: 1}", (), "spec.json", "is not JSON"),
    "not an object": ([1], (), "spec.json", "one JSON object"),
    "no control": ({"input_video_path": "clip.mp4"}, (), "--controlnet-specs", "such as --edge 0.5"),
    "unknown field": ({**EDGE, "promt": "x"}, (), "spec.json", "Did you mean 'prompt'?"),
    "unknown modality": ({**EDGE, "edgee": {}}, (), "spec.json", "Did you mean 'edge'?"),
    "unknown key of a control": (edge(control_wieght=1), (), "edge", "Did you mean 'control_weight'?"),
    "several cameras": (edge(input_control=["clip.mp4"] * 6), (), "edge, input_control", "cosmos transfer multiview"),
    "word of several cameras": (
        {**EDGE, "prompt_left": "x"},
        (),
        "spec.json, prompt_left",
        "cosmos transfer multiview",
    ),
    "control is no object": ({"edge": 0.5, "input_video_path": "clip.mp4"}, (), "edge", "must be an object"),
    "weight above 1": (edge(control_weight=1.5), (), "control_weight", "must be in [0, 1]"),
    "weight below 0": (edge(control_weight="-0.1"), (), "control_weight", "must be in [0, 1]"),
    "weight not finite": (edge(control_weight="nan"), (), "control_weight", "must be in [0, 1]"),
    "weight no number": (edge(control_weight=None), (), "control_weight", "must be a number"),
    "weight map missing": (edge(control_weight="map.pt"), (), "edge, control_weight", "does not exist"),
    "weight map of four axes": (edge(control_weight="four_axes.pt"), (), "edge, control_weight", "(H, W)"),
    "weight map not finite": (edge(control_weight="nan.pt"), (), "edge, control_weight", "not finite"),
    "weight map no tensor": (edge(control_weight="text.pt"), (), "edge, control_weight", "cannot be read"),
    "all weights 0": (edge(control_weight=0), (), "--controlnet-specs", "no control takes part"),
    "no input and no control": ({"edge": {}}, ("--sigma-max", 80), "edge, input_control", "no input video"),
    "no input, sigma 70": ({"edge": {"input_control": "clip.mp4"}}, (), "--sigma-max", "--sigma-max 80"),
    "input missing": ({**EDGE, "input_video_path": "gone.mp4"}, (), "--input-video-path", "does not exist"),
    "input no video": ({**EDGE, "input_video_path": "text.mp4"}, (), "text.mp4", "cannot be read"),
    "control missing": (edge(input_control="gone.mp4"), (), "edge, input_control", "does not exist"),
    "hdmap without control": ({**EDGE, "hdmap": {}}, (), "hdmap, input_control", "Give the path"),
    "depth without an input": (
        {"depth": {}, "edge": {"input_control": "clip.mp4"}},
        ("--sigma-max", 80),
        "depth, input_control",
        "no input video",
    ),
    "weight prompt beside a map": (
        edge(control_weight_prompt="arms", control_weight="four_axes.pt"),
        (),
        "edge, control_weight_prompt",
        "Give a number",
    ),
    "weight prompt without an input": (
        {"edge": {"input_control": "clip.mp4", "control_weight_prompt": "arms"}},
        ("--sigma-max", 80),
        "edge, control_weight_prompt",
        "input video to find",
    ),
    "empty weight prompt": (edge(control_weight_prompt=" "), (), "control_weight_prompt", "must not be empty"),
    "upscale beside another": ({**EDGE, "upscale": {}}, (), "upscale", "goes alone"),
    "distilled of another control": (
        {"vis": {}, "input_video_path": "clip.mp4"},
        ("--use-distilled",),
        "--use-distilled",
        "edge alone",
    ),
    "distilled driving": (EDGE, ("--use-distilled", "--is-av-sample"), "--use-distilled", "--is-av-sample"),
    "regions with upscale": (
        {"upscale": {}, "input_video_path": "clip.mp4", "regional_prompts": [REGION]},
        (),
        "regional_prompts",
        "upscale",
    ),
    "region without a place": (
        {**EDGE, "regional_prompts": [{"prompt": "A tree."}]},
        (),
        "regional_prompts 1",
        "no region",
    ),
    "region of two places": (
        {**EDGE, "regional_prompts": [{**REGION, "mask_prompt": "tree"}]},
        (),
        "regional_prompts 1",
        "two regions",
    ),
    "region outside": (
        {**EDGE, "regional_prompts": [{**REGION, "region_definitions_path": [0, 0, 640, 480]}]},
        (),
        "regional_prompts 1",
        "not pixels",
    ),
    "region file missing": (
        {**EDGE, "regional_prompts": [{**REGION, "region_definitions_path": "gone.mp4"}]},
        (),
        "regional_prompts 1",
        "gone.mp4 does not exist",
    ),
    "upsampler URL alone": (EDGE, ("--upsampler-url", "http://localhost"), "--upsampler-url", "--upsample-prompt"),
    "upsampler URL without model": (
        EDGE,
        ("--upsampler-url", "http://localhost", "--upsample-prompt"),
        "--upsampler-model",
        "Name the server",
    ),
    "upsampler URL wrong": (
        EDGE,
        ("--upsampler-url", "ftp://x", "--upsample-prompt", "--upsampler-model", "m"),
        "ftp://x",
        "http://localhost",
    ),
    "guidance": (EDGE, ("--guidance", "nan"), "--guidance", "finite"),
    "blur strength": (EDGE, ("--blur-strength", "huge"), "--blur-strength", "'very_low'"),
    "sigma": (EDGE, ("--sigma-max", "-1"), "--sigma-max", "> 0.002"),
    "overlap": (EDGE, ("--num-input-frames", "2"), "--num-input-frames", "1, 9 or 17"),
    "name with a folder": (EDGE, ("--video-save-name", "../up"), "--video-save-name", "'../up'"),
    "output exists": (EDGE, ("--video-save-folder", "taken"), "--video-save-folder", "--overwrite"),
    "output not writable": (EDGE, ("--video-save-folder", "/proc/x"), "--video-save-folder", "cannot be written"),
    "several GPUs": (EDGE, ("--num-gpus", "4"), "--num-gpus", "this machine shows"),
    "edge with the driving model": (EDGE, ("--is-av-sample",), "--is-av-sample", "no branch for edge"),
    "hdmap without the driving model": (
        {"hdmap": {"input_control": "clip.mp4"}},
        ("--sigma-max", 80),
        "--is-av-sample",
        "Pass --is-av-sample",
    ),
}


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "spec.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def words(panel: str) -> str:
    """The panel's text without its frame and line breaks."""
    return " ".join(panel.replace("│", " ").split())


@pytest.mark.parametrize("case", CASES)
def test_exit_code_panel_and_a_clean_folder(folder: Path, transfer: Callable[..., CommandResult], case: str) -> None:
    spec, options, field, hint = CASES[case]
    before = files(folder)
    result = transfer(spec, *options)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("╭") == 1
    assert field in words(result.stderr)
    assert hint in words(result.stderr)
    assert files(folder) == before
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (edge(ckpt_path="gone.pt"), "edge, ckpt_path"),
    ],
)
def test_a_control_whose_checkpoint_is_missing_is_exit_code_4(
    folder: Path, transfer: Callable[..., CommandResult], spec: dict[str, Any], field: str
) -> None:
    result = transfer(spec)
    assert result.exit_code == 4
    assert field in words(result.stderr)
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("control", "parts"),
    [
        ("depth", ["Depth-Anything-V2-Small-hf"]),
        ("seg", ["grounding-dino-tiny", "sam2-hiera-large"]),
        ("keypoint", ["Tau-J/RTMPose", "yolox_m_8xb8-300e_humanart", "rtmw-dw-x-l_simcc"]),
    ],
)
def test_the_models_that_compute_a_control_are_named_when_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, control: str, parts: list[str]
) -> None:
    monkeypatch.setattr("cosmos_plugins.transfer1.checks._lacking", lambda _: None)  # as if all extras were installed
    (folder / "spec.json").write_text(json.dumps({control: {}, "input_video_path": "clip.mp4"}))
    for command in ("run", "annotate"):
        result = run_cosmos("transfer", command, "--controlnet-specs", "spec.json")
        assert result.exit_code == 4
        assert all(part in words(result.stderr) for part in parts)
        if command == "run":
            assert f"cosmos download transfer --controls {control} " in words(result.stderr)
        assert ("base_model.pt" in words(result.stderr)) == (command == "run")


def test_the_networks_that_find_people_have_no_tiny_form_and_are_named_for_the_tiny_model_too(
    folder: Path, transfer: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosmos_plugins.transfer1.checks._lacking", lambda _: None)
    spec = {"keypoint": {}, "input_video_path": "clip.mp4"}
    result = transfer(spec)
    assert result.exit_code == 4
    assert "Tau-J/RTMPose" in words(result.stderr) and "base_model.pt" not in words(result.stderr)
    needed = transfer(spec, "--plan", "--json").json["files"]["needed"]
    [*_, detector, estimator] = needed
    assert [file["is_present"] for file in (detector, estimator)] == [False, False]
    assert detector["path"].startswith("checkpoints/Tau-J/RTMPose/")


def no_weights_in(folder: Path) -> None:
    """A folder of a tokenizer whose file holds something else."""
    folder.mkdir(parents=True)
    torch.save({"elsewhere.weight": torch.zeros(2, 2)}, folder / "model.pt")
    torch.save((torch.zeros(16), torch.ones(16)), folder / "mean_std.pt")


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        (("--tokenizer-dir", "gone"), "--tokenizer-dir", "does not exist"),
        (("--tokenizer_dir", "empty"), "--tokenizer-dir", "no autoencoder.jit and no mean_std.pt"),
        (("--tokenizer_dir", "wrong"), "wrong/model.pt", "belongs to another network"),
        (("--ckpt", "four_axes.pt"), "four_axes.pt", ""),
        (("--ckpt", "hdmap"), "hdmap_control.pt", "does not fit ControlBranch"),
    ],
)
def test_weights_that_are_none_are_found_before_a_control_is_computed(
    folder: Path,
    transfer: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, str],
    where: str,
    what: str,
) -> None:
    def computed(*_: object) -> None:
        raise AssertionError("a control was computed")

    monkeypatch.setattr("cosmos_plugins.transfer1.videos.read_sample", computed)
    monkeypatch.setattr("cosmos_plugins.transfer1.checkpoints.folder_named", lambda root, name: folder / "made" / name)
    (folder / "made" / "empty").mkdir(parents=True)
    no_weights_in(folder / "made" / "wrong")
    shutil.copytree(
        TINY_ROOT / VIDEO_TOKENIZER.name, folder / "made" / VIDEO_TOKENIZER.name.rpartition("/")[2], symlinks=True
    )
    name, value = options
    if name == "--ckpt":
        path = str(TINY_ROOT / control_file(value)) if value == "hdmap" else value
        result = transfer(edge(ckpt_path=path))
    else:
        result = transfer(EDGE, *options)
    assert result.exit_code == 4, result.stderr
    assert where in words(result.stderr).replace(" ", "") and what in words(result.stderr)


def test_without_checkpoints_only_what_the_controls_need_is_named(folder: Path) -> None:
    (folder / "spec.json").write_text(json.dumps(EDGE))
    result = run_cosmos("transfer", "run", "--controlnet-specs", "spec.json")
    assert result.exit_code == 4
    text = words(result.stderr)
    for part in ("base_model.pt", "edge_control.pt", "autoencoder.jit", "google-t5/t5-11b", "--model tiny"):
        assert part in text
    assert text.count("cosmos download") == 1
    assert "cosmos download transfer --controls edge" in text
    assert "vis_control.pt" not in text


def test_a_plan_says_what_the_hubs_cache_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "spec.json").write_text(json.dumps(EDGE))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    cached = folder / "hub/models--nvidia--Cosmos-Transfer1-7B"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("a" * 40)
    (cached / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (cached / "snapshots" / ("a" * 40) / "edge_control.pt").touch()
    line = ("transfer", "run", "--controlnet-specs", "spec.json", "--plan")
    files = run_cosmos(*line, "--json").json["files"]["needed"]
    assert [Path(file["path"]).name for file in files if file["is_cached"]] == ["edge_control.pt"]
    assert "in the Hub's cache" in words(run_cosmos(*line).stdout)


@pytest.mark.parametrize(
    ("spec", "place", "name", "belongs"),
    [
        (edge(sigma_max=50), "spec.json, edge", "sigma_max", "at the top level of the specification"),
        ({**EDGE, "control_weight": 0.1}, "spec.json", "control_weight", "into the object of a control"),
        ({**EDGE, "batch_input_path": "gone.jsonl"}, "spec.json", "batch_input_path", "--batch-input-path"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_field_at_the_wrong_level_is_read_past_and_told(
    transfer: Callable[..., CommandResult], spec: dict[str, Any], place: str, name: str, belongs: str
) -> None:
    plain = transfer(EDGE, "--plan", "--json").json
    result = transfer(spec, "--plan", "--json")
    assert result.exit_code == 0, result.stderr
    [note] = [note for note in result.json["notices"] if name in note]
    assert note.startswith(f"{place}: {name} has no effect here")
    assert belongs in note
    assert result.json["request"] == plain["request"]


def test_no_specification_at_all(folder: Path) -> None:
    result = run_cosmos("transfer", "run", "--input-video-path", "clip.mp4", "--model", "tiny")
    assert result.exit_code == 2
    assert "--controlnet-specs" in words(result.stderr)


def test_no_model_and_not_even_torch_is_loaded_for_errors_that_need_none(folder: Path) -> None:
    (folder / "spec.json").write_text(json.dumps({**edge(control_weight=2), "hdmap": {}}))
    code = (
        "import sys\nfrom cosmos_cli.testing import run_cosmos\n"
        "assert run_cosmos('transfer', 'run', '--controlnet-specs', 'spec.json', '--model', 'tiny').exit_code == 2\n"
        "print(sorted({'torch', 'transformers', 'cv2'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert printed.stdout.strip() == "[]"
