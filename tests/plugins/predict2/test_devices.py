"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.runtime.shortcuts import NO_SHORTCUTS, Shortcuts
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings
from tests.clips import moving_gradient
from tests.third_party import run_script, write_distribution

LINE = ("predict2", "video2world", "--model", "tiny", "--device", "cpu", "--input-path", "a.png", "--prompt", "A bus.")
QUICK = ("--num-steps", 2, "--num-frames", 9)


@pytest.fixture
def picture() -> Path:
    write_png(Path("a.png"), moving_gradient(1, 72, 128)[0])
    return Path("a.png")


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(
    picture: Path, cosmos: Callable[..., CommandResult]
) -> None:
    assert cosmos(*LINE, *QUICK, "--save-path", "alone.mp4").exit_code == 0
    # both ways to share a video at once; the commands below have each alone
    result = run_script(*LINE, *QUICK, "--num-gpus", 4, "--save-path", "four.mp4", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["video"] == "four.mp4"
    assert json.loads(Path("four.json").read_text())["parallel"] == "cfg=2,cp=2"
    alone = read_video(Path("alone.mp4")).frames_FHWC.astype(int)
    assert np.abs(read_video(Path("four.mp4")).frames_FHWC - alone).max() <= 2


def test_streamed_and_resident_weights_make_the_same_video(picture: Path, cosmos: Callable[..., CommandResult]) -> None:
    for name, options in {
        "plain": (),
        "offloaded": ("--offload-diffusion-transformer", "--offload-text-encoder"),
        "budget": ("--max-memory", "37MB"),
    }.items():
        result = cosmos(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4")
        assert result.exit_code == 0, result.stderr
    assert "host memory" in result.stderr or "in blocks" in result.stderr
    assert Path("offloaded.mp4").read_bytes() == Path("plain.mp4").read_bytes()
    assert Path("budget.mp4").read_bytes() == Path("plain.mp4").read_bytes()


CAMERAS = ("multiview", "--num-conditional-frames", 0, "--n-views", 2, "--prompt", "The car turns left.")
ROBOT = ("action", "--input-video", "a.png", "--input-annotation", "actions.npy")
PICTURE = ("text2image", "--prompt", "A bus.")
VIDEO = ("text2world", "--prompt", "A bus.")
CONTINUED = ("video2world", "--input-path", "a.png", "--prompt", "A bus.")
TINY = ("--model", "tiny", "--device", "cpu", "--num-steps", 1)


@pytest.fixture
def actions() -> Path:
    np.save("actions.npy", np.linspace(-1, 1, 12 * 7).reshape(12, 7))
    return Path("actions.npy")


@pytest.mark.parametrize(
    ("line", "suffix", "layout", "options"),
    [
        (PICTURE, ".png", "cp=2", ("--num-gpus", 2, "--parallel", "cp=2")),
        (CAMERAS, ".mp4", "cfg=2,cp=2", ("--num-gpus", 4)),
        (ROBOT, ".mp4", "cp=2", ("--num-gpus", 2)),
        # of which a picture is the first part
        ((*VIDEO, "--num-frames", 5), ".mp4", "cfg=2", ("--num-gpus", 2)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.slow
def test_what_other_commands_make_does_not_depend_on_the_number_of_processes(
    picture: Path,
    actions: Path,
    cosmos: Callable[..., CommandResult],
    line: tuple[object, ...],
    suffix: str,
    layout: str,
    options: tuple[object, ...],
) -> None:
    assert cosmos("predict2", *line, *TINY, "--save-path", "alone" + suffix).exit_code == 0
    result = run_script("predict2", *line, *TINY, *options, "--save-path", "shared" + suffix)
    assert result.returncode == 0, result.stderr
    read = read_image if suffix == ".png" else lambda path: read_video(path).frames_FHWC
    assert np.abs(read(Path("shared" + suffix)).astype(int) - read(Path("alone" + suffix))).max() <= 2
    assert json.loads(Path("shared.json").read_text())["parallel"] == layout


@pytest.mark.slow
def test_two_processes_make_two_seeds_at_a_time_and_one_judges(picture: Path) -> None:
    line = ("--input-path", "a.png", "--prompt", "A bus.", "--num-frames", 5, "--num-generations", 3)
    result = run_script("predict2", "best-of-n", *line, *TINY, "--num-gpus", 2, "--json")
    assert result.returncode == 0, result.stderr
    assert "2 videos at a time" in result.stderr
    document = json.loads(result.stdout)
    assert [made["status"] for made in document["generations"]] == ["done"] * 3
    assert len(document["videos"]) == 3
    assert Path(document["report"]).is_file()


SCARCE = '''
"""Rank 1 has a device whose memory runs out in the middle of a batch, as often as `OFTEN` says."""

import os
from pathlib import Path

from cosmos_cli.runtime.memory.steps import read_steps

if os.environ.get("RANK") == "1" and read_steps() < int(os.environ["OFTEN"]):
    import torch
    from cosmos_cli.runtime.memory.limit import DeviceMemory

    take = DeviceMemory.take

    def taken(self, num_bytes):
        ledger = Path("made/rows.ledger.jsonl")
        if ledger.exists() and '"done"' in ledger.read_text():
            raise torch.OutOfMemoryError("CUDA out of memory.")
        take(self, num_bytes)

    DeviceMemory.take = taken
'''


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_batch_goes_on_when_one_of_two_devices_runs_out_of_memory(
    picture: Path, tmp_path: Path, cosmos: Callable[..., CommandResult]
) -> None:
    write_distribution(tmp_path / "packages", "scarce", {"scarce": SCARCE}, {"scarce": "scarce"})
    rows = [{"input_video": "a.png", "prompt": "A bus.", "seed": seed} for seed in range(3)]
    Path("rows.json").write_text(json.dumps(rows))
    batch = ("predict2", "video2world", "--batch-input-json", "rows.json", *TINY, "--num-frames", 5)
    batch = (*batch, "--save-path", "made/v.mp4", "--json")
    line = (*batch, "--num-gpus", 2, "--parallel", "cfg=2")

    def videos_made() -> list[bytes]:
        return [path.read_bytes() for path in sorted(Path().glob("output_*.mp4"))]

    def made(often: int, **variables: str) -> tuple[Any, str, list[bytes]]:
        for old in (*Path().glob("output_*"), *Path("made").glob("*")):
            old.unlink()
        result = run_script(*line, path=tmp_path / "packages", variables={"OFTEN": str(often), **variables})
        return json.loads(result.stdout), result.stderr, videos_made()

    undisturbed, expected = cosmos(*batch).json, videos_made()
    assert ([sample["status"] for sample in undisturbed["samples"]], len(expected)) == (["done"] * 3, 3)
    document, stderr, videos = made(often=1)
    assert document["exit_code"] == 0, stderr
    assert videos == expected
    [told] = [notice for notice in document["notices"] if "out of memory" in notice]
    assert told.startswith("out of memory on rank 1: all workers start again with text encoder")
    assert stderr.count("out of memory") == 1
    # what was finished stays finished
    assert document["samples"][0]["status"] == "done before"
    assert all(sample["status"].startswith("done") for sample in document["samples"])
    # a device that is too small for the lowest plan too ends all, and no row is blamed
    document, stderr, videos = made(often=99, COSMOS_MEMORY_STEPS="9")
    assert document["exit_code"] == 1
    [problem] = document["problems"]
    assert problem["what"].startswith("rank 1: the device has too little memory, even with ")
    assert len(videos) >= 1


@pytest.mark.parametrize(
    ("line", "budget", "suffix"),
    [(PICTURE, "20MB", ".png"), (CAMERAS, "20MB", ".mp4"), (ROBOT, "13MB", ".mp4")],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_small_budget_makes_the_same(
    picture: Path,
    actions: Path,
    cosmos: Callable[..., CommandResult],
    line: tuple[object, ...],
    budget: str,
    suffix: str,
) -> None:
    for name, options in {
        "plain": (),
        "offloaded": ("--offload-diffusion-transformer",),
        "budget": ("--max-memory", budget),
    }.items():
        result = cosmos("predict2", *line, *TINY, *options, "--save-path", name + suffix)
        assert result.exit_code == 0, result.stderr
    assert "host memory" in result.stderr
    for name in ("offloaded", "budget"):
        assert Path(name + suffix).read_bytes() == Path("plain" + suffix).read_bytes()


def test_a_batch_of_seeds_that_are_there_is_judged_by_one_process(cosmos: Callable[..., CommandResult]) -> None:
    result = cosmos("predict2", "best-of-n", "--skip-generation", "--model", "tiny", "--num-gpus", 2)
    assert (result.exit_code, "runs on one" in result.stderr) == (2, True)


@pytest.mark.parametrize("line", [PICTURE, CAMERAS, VIDEO])
def test_shared_tokens_are_not_compiled_and_it_is_said_at_once(
    cosmos: Callable[..., CommandResult], line: tuple[object, ...]
) -> None:
    result = cosmos("predict2", *line, *TINY, "--num-gpus", 4, "--compile", "--json")
    assert result.exit_code == 2
    [problem] = result.json["problems"]
    assert problem["where"] == "--compile"
    assert "workers" not in result.stderr


@pytest.mark.parametrize("line", [CONTINUED, CAMERAS, ROBOT, PICTURE, VIDEO], ids=lambda line: line[0])
def test_several_at_a_time_are_refused_at_once_where_there_is_one_to_make(
    picture: Path, actions: Path, cosmos: Callable[..., CommandResult], line: tuple[object, ...]
) -> None:
    result = cosmos("predict2", *line, *TINY, "--num-gpus", 2, "--parallel", "dp=2", "--json")
    assert result.exit_code == 2
    [problem] = result.json["problems"]
    assert problem["where"] == "--parallel"
    assert "workers" not in result.stderr


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many workers were started, which do nothing."""
    started: list[int] = []
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch._run_workers", lambda number: started.append(number) or 0)
    return started


ROWS = ("batch", "rows.json", "--num-frames", 5)
SEEDS = ("best-of-n", *CONTINUED[1:], "--num-frames", 5)
KINDS = [CONTINUED, CAMERAS, ROBOT, PICTURE, VIDEO, ROWS, SEEDS]


@pytest.fixture
def rows(picture: Path) -> Path:
    """A batch of three rows."""
    made = [{"input_video": "a.png", "prompt": "A bus.", "output_video": f"{name}.mp4"} for name in "bcd"]
    Path("rows.json").write_text(json.dumps(made))
    return Path("rows.json")


@pytest.mark.parametrize("line", KINDS, ids=lambda line: line[0])
def test_several_gpus_where_there_is_none_are_refused_at_once_and_the_cpu_is_named(
    rows: Path,
    actions: Path,
    cosmos: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
    workers: list[int],
    line: tuple[object, ...],
) -> None:
    monkeypatch.setattr("cosmos_cli.runtime.machine.usable_gpus", list)
    monkeypatch.setattr("cosmos_cli.runtime.workers.launch.usable_gpus", list)
    for device in ((), ("--device", "cuda")):
        result = cosmos("predict2", *line, *TINY[:2], *device, "--num-gpus", 2, "--json")
        assert result.exit_code == 2
        [problem] = result.json["problems"]
        assert (problem["where"], "--device cpu" in problem["fix"]) == ("--num-gpus", True)
    assert not workers


@pytest.mark.parametrize(
    ("line", "options", "told"),
    [
        (CONTINUED, (), "3 GPUs cannot share 1 video"),
        (CAMERAS, (), "3 GPUs cannot share 1 video"),
        (ROBOT, (), "3 GPUs cannot share 1 video"),
        (PICTURE, (), "3 GPUs cannot share 1 video"),
        (VIDEO, (), "3 GPUs cannot share 1 video"),
        (ROWS, ("--parallel", "cp=3"), "cp=3 does not divide the 4 attention heads"),
        (SEEDS, ("--parallel", "cp=3"), "cp=3 does not divide the 4 attention heads"),
        (SEEDS, ("--num-generations", 1), "3 GPUs cannot share 1 video"),
        (SEEDS, ("--parallel", "cp=3", "--num-generations", 1), "cp=3 does not divide the 4 attention heads"),
        (ROWS, ("--parallel", "cfg=3"), "guidance has two halves"),
        (ROWS, ("--parallel", "dp=2"), "dp=2 is for 2 = 2 GPUs, but there are 3"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) and len(value) < 5 else "",
)
def test_three_processes_for_four_heads_are_refused_before_they_start(
    rows: Path,
    actions: Path,
    cosmos: Callable[..., CommandResult],
    workers: list[int],
    line: tuple[object, ...],
    options: tuple[object, ...],
    told: str,
) -> None:
    before = sorted(Path().rglob("*"))
    result = cosmos("predict2", *line, *TINY, "--num-gpus", 3, *options, "--json")
    assert result.exit_code == 2, result.stderr
    assert told in result.json["problems"][0]["what"]
    assert not workers
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("line", [ROWS, (*SEEDS, "--num-generations", 3)], ids=["batch", "best-of-n"])
def test_shared_tokens_of_several_videos_are_not_compiled_either(
    rows: Path, cosmos: Callable[..., CommandResult], workers: list[int], line: tuple[object, ...]
) -> None:
    result = cosmos("predict2", *line, *TINY, "--num-gpus", 4, "--parallel", "cp=4", "--compile", "--json")
    assert (result.exit_code, result.json["problems"][0]["where"], workers) == (2, "--compile", [])


def test_workers_of_a_batch_share_what_an_earlier_run_has_left(
    rows: Path, cosmos: Callable[..., CommandResult], workers: list[int]
) -> None:
    three = rows.read_text()
    assert cosmos("predict2", *ROWS, *TINY, "--num-gpus", 3).exit_code == 0
    assert workers == [3]
    rows.write_text(json.dumps(json.loads(three)[:2]))
    assert cosmos("predict2", *ROWS, *TINY).exit_code == 0
    rows.write_text(three)
    result = cosmos("predict2", *ROWS, *TINY, "--num-gpus", 3, "--json")
    assert (result.exit_code, workers) == (2, [3])
    assert "3 GPUs cannot share 1 video" in result.json["problems"][0]["what"]
    assert cosmos("predict2", *ROWS, *TINY, "--num-gpus", 3, "--overwrite").exit_code == 0
    assert workers == [3, 3]
    rows.write_text(json.dumps(json.loads(three)[:2]))  # nothing is left: the workers will say so
    assert cosmos("predict2", *ROWS, *TINY, "--num-gpus", 3).exit_code == 0


def test_on_a_gpu_float32_is_computed_as_in_the_original() -> None:
    settings = Video2WorldSettings(model_size="tiny")
    assert settings.shortcuts == Shortcuts(tf32_products=True, tf32_convolutions=True, trials=True)
    assert settings.model_copy(update={"deterministic": True}).shortcuts == NO_SHORTCUTS


def test_both_models_of_text2world_round_alike_if_asked(cosmos: Callable[..., CommandResult]) -> None:
    assert (
        cosmos("predict2", *VIDEO, "--num-frames", 5, *TINY, "--deterministic", "--save-path", "v.mp4").exit_code == 0
    )
    for sidecar in ("v.json", "v_first_frame.json"):
        document = json.loads(Path(sidecar).read_text())
        assert document["request"]["deterministic"] is True
        assert "shortcuts" not in document["environment"]  # a CPU has none
