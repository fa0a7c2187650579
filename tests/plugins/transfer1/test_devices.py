"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.media.video import read_video
from cosmos_cli.runtime.shortcuts import NO_SHORTCUTS, Shortcuts
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.controls.job import ControlJob
from cosmos_plugins.transfer1.multiview import inputs as multiview_inputs
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.videos import read_sample
from tests.clips import encode, moving_gradient
from tests.fake_driver import FakeDriver
from tests.plugins.transfer1.budgets import budget_after
from tests.third_party import run_script

SPEC = {"edge": {"control_weight": 0.5}, "vis": {"control_weight": 0.4}, "input_video_path": "clip.mp4"}
LINE = ("--model", "tiny", "--device", "cpu", "--controlnet-specs", "spec.json", "--num-steps", 2)


@pytest.fixture
def folder() -> Path:
    # 16:9
    encode(Path("clip.mp4"), moving_gradient(9, 72, 128))
    Path("spec.json").write_text(json.dumps(SPEC))
    return Path.cwd()


@pytest.fixture
def scene() -> tuple[object, ...]:
    """A command line that makes the videos of all cameras out of that of the front camera."""
    encode(Path("front.mp4"), moving_gradient(57, 36, 64))
    spec = {"hdmap": {"control_weight": 1, "input_control": ["front.mp4"] * 6}, "view_condition_video": "front.mp4"}
    Path("scene.json").write_text(json.dumps(spec))
    return ("transfer", "multiview", *LINE[:4], "--controlnet-specs", "scene.json", "--num-steps", 2)


def budget_of_transfer(steps: int, **controls: Any) -> str:
    request = TransferRequest(controls=controls, input_video_path="clip.mp4")
    return budget_after(steps, inputs, TransferSettings(model_size="tiny", device="cpu"), request)


def budget_of_scene(steps: int) -> str:
    controls: Any = {"hdmap": {"input_control": ["front.mp4"] * 6}}
    request = MultiviewRequest(controls=controls, view_condition_video="front.mp4")
    return budget_after(steps, multiview_inputs, MultiviewSettings(model_size="tiny", device="cpu"), request)


def frames_of(name: str) -> np.ndarray:
    return read_video(Path(f"outputs/{name}.mp4")).frames_FHWC.astype(int)


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(
    folder: Path, cosmos: Callable[..., CommandResult]
) -> None:
    assert cosmos("transfer", "run", *LINE, "--video-save-name", "alone").exit_code == 0
    # both ways to share a video at once; each alone is below, where all cameras are
    result = run_script("transfer", "run", *LINE, "--num-gpus", 4, "--video-save-name", "four", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["video"] == "outputs/four.mp4"  # one document, of rank 0
    assert "cfg=2,cp=2" in result.stderr
    # float32 adds up in another order; the codec may make one grey level of it
    assert np.abs(frames_of("four") - frames_of("alone")).max() <= 2
    assert json.loads(Path("outputs/four.json").read_text())["parallel"] == "cfg=2,cp=2"


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_rows_of_a_batch_go_to_as_many_devices_and_the_ledger_is_one(
    folder: Path, cosmos: Callable[..., CommandResult]
) -> None:
    rows = [{"visual_input": "clip.mp4", "seed": seed} for seed in range(3)] + [{"visual_input": "gone.mp4"}]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = ("transfer", "batch", "rows.jsonl", *LINE, "--json")
    result = run_script(*line, "--num-gpus", 3)
    assert result.returncode == 1, result.stderr
    statuses = [sample["status"] for sample in json.loads(result.stdout)["samples"]]
    assert statuses == ["done", "done", "done", "failed"]
    assert "3 videos at a time" in result.stderr
    again = cosmos(*line)  # on one device, by the same ledger
    assert [s["status"] for s in again.json["samples"]] == ["done before"] * 3 + ["failed"]
    single = cosmos("transfer", "run", *LINE, "--seed", 1, "--video-save-name", "single")
    assert single.exit_code == 0, single.stderr
    assert Path("outputs/single.mp4").read_bytes() == Path("outputs/video_1.mp4").read_bytes()


def test_layouts_that_do_not_fit_are_refused_before_anything_starts(
    folder: Path, cosmos: Callable[..., CommandResult]
) -> None:
    result = cosmos("transfer", "run", *LINE, "--parallel", "cp=2")
    assert result.exit_code == 2
    assert "--num-gpus" in result.stderr
    result = cosmos("transfer", "run", *LINE[:2], "--device", "cuda:0", *LINE[4:], "--num-gpus", 2)
    assert result.exit_code == 2
    assert not Path("outputs").exists()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_budget_changes_where_weights_lie_and_nothing_else(
    folder: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    # with three branches the transformer takes more than the tokenizer
    depth = {"input_control": "clip.mp4"}
    Path("spec.json").write_text(json.dumps({**SPEC, "depth": depth}))
    budget = budget_of_transfer(steps, edge={}, vis={}, depth=depth)
    plain = cosmos("transfer", "run", *LINE, "--video-save-name", "plain")
    assert plain.exit_code == 0, plain.stderr
    little = cosmos("transfer", "run", *LINE, "--max-memory", budget, "--video-save-name", "little")
    assert little.exit_code == 0, little.stderr
    assert ("passing through in blocks" in little.stderr) == (steps == 3)
    assert Path("outputs/little.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", budget)
    small = cosmos("transfer", "run", *LINE, "--video-save-name", "small")
    assert small.exit_code == 0, small.stderr
    assert Path("outputs/small.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()


def test_a_budget_too_small_for_anything_says_what_it_takes(folder: Path, cosmos: Callable[..., CommandResult]) -> None:
    result = cosmos("transfer", "run", *LINE, "--max-memory", "3MB")
    assert result.exit_code == 2
    assert "at the" in result.stderr
    result = cosmos("transfer", "run", *LINE, "--max-memory", "a lot")
    assert result.exit_code == 2
    assert "such as 12GiB" in result.stderr


def test_running_out_of_memory_costs_one_line_and_not_the_video(
    folder: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cosmos_cli.generation import load

    assert cosmos("transfer", "run", *LINE, "--video-save-name", "plain").exit_code == 0
    # estimates too low: the plan believes that all fits, and the device finds out
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", budget_of_transfer(2, edge={}, vis={}))
    believed = load.plan_for_device
    monkeypatch.setattr(
        load, "plan_for_device", lambda device, _, stages, **more: believed(device, None, stages, **more)
    )
    result = cosmos("transfer", "run", *LINE, "--video-save-name", "lowered")
    assert result.exit_code == 0, result.stderr
    assert "out of memory: tried again with" in result.stderr
    assert Path("outputs/lowered.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()


def test_compiled_blocks_that_must_leave_the_device_run_uncompiled(
    folder: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cosmos_cli.generation import load
    from cosmos_cli.runtime import compiling, devices

    # what is compiled here runs as it is: no compiler is needed, and the numbers stay
    monkeypatch.setattr(devices, "check_compiler", lambda device: None)
    monkeypatch.setattr(load, "compile_blocks", partial(compiling.compile_blocks, backend="eager"))
    believed = load.plan_for_device
    monkeypatch.setattr(
        load, "plan_for_device", lambda device, _, stages, **more: believed(device, None, stages, **more)
    )
    undone: list[object] = []
    undo = compiling.uncompile_blocks
    monkeypatch.setattr(load, "uncompile_blocks", lambda network: undone.append(network) or undo(network))
    line = ("transfer", "run", *LINE, "--compile")
    assert cosmos(*line, "--video-save-name", "plain").exit_code == 0
    # one step down the text encoder waits in host memory, which is nothing to the blocks; two steps down they do, too
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", budget_of_transfer(2, edge={}, vis={}))
    monkeypatch.setenv("COSMOS_CACHE_DIR", "cache")  # where no text is known, so that the encoder works
    result = cosmos(*line, "--video-save-name", "lowered")
    assert result.exit_code == 0, result.stderr
    [*_, told] = [line for line in result.stderr.splitlines() if "tried again" in line]
    assert told.endswith("in host memory while idle, not compiled")
    assert Path("outputs/lowered.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()
    monkeypatch.delenv("COSMOS_SIMULATED_DEVICE_MEMORY")
    # a run may also be told to begin there
    for steps, is_compiled in {"1": True, "2": False}.items():
        monkeypatch.setenv("COSMOS_MEMORY_STEPS", steps)
        result = cosmos(*line, "--video-save-name", f"begun{steps}")
        assert result.exit_code == 0, result.stderr
        assert "in host memory while idle" in result.stderr
        assert ("not compiled" in result.stderr) != is_compiled
        assert Path(f"outputs/begun{steps}.mp4").read_bytes() == Path("outputs/plain.mp4").read_bytes()
    # what a user rules out from the start is still refused
    monkeypatch.setattr(load, "plan_for_device", believed)
    refused = cosmos(*line, "--max-memory", budget_of_transfer(2, edge={}, vis={}), "--video-save-name", "refused")
    assert refused.exit_code == 2
    assert "cannot compile a network whose weights wait in host memory" in " ".join(refused.stderr.split())


@pytest.mark.slow
def test_the_videos_of_all_cameras_do_not_depend_on_the_number_of_processes(scene: tuple[object, ...]) -> None:
    for name, options in {
        "alone": (),
        "cp2": ("--num-gpus", 2, "--parallel", "cp=2"),
        "chosen2": ("--num-gpus", 2),
    }.items():
        result = run_script(*scene, *options, "--video-save-name", name, "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["video"] == f"outputs/{name}.mp4"  # one document, of rank 0
    for name, layout in {"cp2": "cp=2", "chosen2": "cfg=2"}.items():
        for part in ("", "_mosaic"):
            assert np.abs(frames_of(f"{name}{part}") - frames_of(f"alone{part}")).max() <= 2
        assert json.loads(Path(f"outputs/{name}.json").read_text())["parallel"] == layout
    document = json.loads(Path("outputs/alone.json").read_text())
    assert document["planned"]["seconds"].keys() == document["actual"]["seconds"].keys()
    assert "planned" not in json.loads(Path("outputs/cp2.json").read_text())


@pytest.mark.parametrize("command", ["run", "multiview"])
def test_layouts_that_cannot_be_are_refused_before_workers_start(
    folder: Path, scene: tuple[object, ...], cosmos: Callable[..., CommandResult], command: str
) -> None:
    line = scene if command == "multiview" else ("transfer", "run", *LINE)
    for options, told in {
        ("--num-gpus", 2, "--parallel", "cp=2", "--compile"): "cannot compile a network whose tokens 2 GPUs share",
        ("--num-gpus", 3): "3 GPUs cannot share 1 video",
        ("--num-gpus", 2, "--parallel", "dp=2"): "dp=2 makes several at a time, but there is one to make",
        ("--parallel", "cp=2"): "no effect on one GPU",
    }.items():
        result = cosmos(*line, *options)
        assert result.exit_code == 2
        assert told in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("outputs").exists()


def test_several_videos_at_a_time_are_refused_where_one_is_made(
    folder: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch._run_workers", lambda *given: started.append(given) or 1)
    result = cosmos("transfer", "run", *LINE, "--num-gpus", 2, "--parallel", "dp=2")
    assert (result.exit_code, started) == (2, [])
    assert cosmos("transfer", "run", *LINE, "--num-gpus", 2, "--parallel", "cfg=2").exit_code == 1
    assert len(started) == 1
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_a_budget_changes_nothing_about_the_videos_of_all_cameras(
    scene: tuple[object, ...], cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cosmos(*scene, "--video-save-name", "plain").exit_code == 0
    result = cosmos(*scene, "--max-memory", budget_of_scene(2), "--video-save-name", "parked")
    assert result.exit_code == 0, result.stderr
    assert "diffusion transformer and text encoder in host memory while idle" in result.stderr
    # as few as can be: the tiny network has no more than are there at a time otherwise
    monkeypatch.setattr("cosmos_cli.generation.work.OFFLOADED_BLOCKS", 2)
    monkeypatch.setenv("COSMOS_SIMULATED_DEVICE_MEMORY", budget_of_scene(2))
    result = cosmos(*scene, "--offload-diffusion-transformer", "--video-save-name", "streamed")
    assert result.exit_code == 0, result.stderr
    assert "passing through in blocks, 2 at a time" in result.stderr
    for name in ("parked", "streamed"):
        for part in ("", "_mosaic"):
            made, plain = (Path(f"outputs/{each}{part}.mp4").read_bytes() for each in (name, "plain"))
            assert made == plain
    assert "at the" in cosmos(*scene, "--max-memory", "3MB").stderr


def test_workers_of_a_batch_are_refused_what_they_cannot_share_before_they_start(
    folder: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch._run_workers", lambda *given: started.append(given) or 0)
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch.usable_gpus", list)
    Path("rows.jsonl").write_text("\n".join(json.dumps({"visual_input": "clip.mp4", "seed": seed}) for seed in (0, 1)))
    line = ("transfer", "batch", "rows.jsonl", *LINE, "--num-gpus", 3, "--json")
    for options, told in {
        (): "3 GPUs cannot share 2 videos",
        ("--parallel", "cp=3"): "cp=3 does not divide the 4 attention heads",
        ("--device", "auto"): "this machine shows 0",
    }.items():
        result = cosmos(*line, *options)
        assert result.exit_code == 2
        assert told in result.json["problems"][0]["what"]
    assert not started
    assert not Path("outputs").exists()
    assert cosmos(*line[:-3], "--num-gpus", 2).exit_code == 0
    assert len(started) == 1


def test_controls_are_computed_on_the_gpu_that_was_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeDriver(monkeypatch, ["a", "b"])
    seen: list[tuple[str, int]] = []

    def edge(frames_FHWC: np.ndarray, job: ControlJob) -> np.ndarray:
        seen.append((job.device, torch.cuda.current_device()))
        return frames_FHWC

    monkeypatch.setattr("cosmos_plugins.transfer1.controls.edge", edge)
    request = TransferRequest(controls={"edge": {}}, input_video_path="clip.mp4")
    read_sample(TransferSettings(model_size="tiny", device="cuda:1"), request)
    torch.cuda.set_device(1)  # as a worker does
    read_sample(TransferSettings(model_size="tiny", device="cuda"), request)
    assert seen == [("cuda:1", 1)] * 2


def test_on_a_gpu_float32_is_computed_as_in_the_original() -> None:
    assert TransferSettings().shortcuts == MultiviewSettings().shortcuts == Shortcuts()
    assert TransferSettings(deterministic=True).shortcuts == NO_SHORTCUTS
