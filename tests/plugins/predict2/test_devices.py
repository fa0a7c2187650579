"""One video on several devices, and on devices too small for the model: the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from tests.clips import moving_gradient
from tests.third_party import run_script

LINE = ("predict2", "video2world", "--model", "tiny", "--device", "cpu", "--input-path", "a.png", "--prompt", "A bus.")
QUICK = ("--num-steps", 2, "--num-frames", 9)


@pytest.fixture
def picture() -> Path:
    write_png(Path("a.png"), moving_gradient(1, 72, 128)[0])
    return Path("a.png")


@pytest.mark.slow
def test_the_video_does_not_depend_on_the_number_of_processes(picture: Path) -> None:
    for name, options in {
        "alone": (),
        "cfg2": ("--num-gpus", 2),
        "cp4": ("--num-gpus", 4, "--parallel", "cp=4"),
    }.items():
        result = run_script(*LINE, *QUICK, *options, "--save-path", f"{name}.mp4", "--json")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["video"] == f"{name}.mp4"
    alone = read_video(Path("alone.mp4")).frames_FHWC.astype(int)
    for name in ("cfg2", "cp4"):
        assert np.abs(read_video(Path(f"{name}.mp4")).frames_FHWC - alone).max() <= 2


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
    ("line", "suffix", "layouts"),
    [
        (PICTURE, ".png", {"cfg2": ("--num-gpus", 2), "cp2": ("--num-gpus", 2, "--parallel", "cp=2")}),
        (CAMERAS, ".mp4", {"cfg2_cp2": ("--num-gpus", 4)}),
        (ROBOT, ".mp4", {"cp2": ("--num-gpus", 2)}),
        ((*VIDEO, "--num-frames", 5), ".mp4", {"cfg2": ("--num-gpus", 2)}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.slow
def test_what_other_commands_make_does_not_depend_on_the_number_of_processes(
    picture: Path, actions: Path, line: tuple[object, ...], suffix: str, layouts: dict[str, tuple[object, ...]]
) -> None:
    for name, options in {"alone": (), **layouts}.items():
        result = run_script("predict2", *line, *TINY, *options, "--save-path", name + suffix)
        assert result.returncode == 0, result.stderr
    read = read_image if suffix == ".png" else lambda path: read_video(path).frames_FHWC
    for name in layouts:
        assert np.abs(read(Path(name + suffix)).astype(int) - read(Path("alone" + suffix))).max() <= 2
        layout = json.loads(Path(name + ".json").read_text())["parallel"]
        assert layout == name.replace("_", ",").replace("cfg2", "cfg=2").replace("cp2", "cp=2")


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


@pytest.mark.parametrize(
    ("line", "budget", "suffix"),
    [(PICTURE, "20MB", ".png"), (CAMERAS, "20MB", ".mp4"), (ROBOT, "16.2MB", ".mp4")],
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
