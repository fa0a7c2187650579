"""`cosmos nemo prepare-dataset`: what it writes, whoever makes it and however often it is killed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli import output
from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge.dataset import prepare
from cosmos_plugins.nemo_bridge.dataset.chunks import draw_starts
from cosmos_plugins.nemo_bridge.dataset.folder import LatentFolder
from tests.clips import encode, moving_gradient
from tests.parity.adapters.nemo_dataset import prepared, write_clips
from tests.parity.golden import read_golden
from tests.processes import run_together
from tests.training.data.folders import recipe_with

Run = Callable[..., CommandResult]
SMALL = ("--model", "tiny", "--height", "16", "--width", "32", "--num_chunks", "3")


def video(path: Path, num_frames: int, fps: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return encode(path, moving_gradient(num_frames, 24, 32), fps=fps)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Ten starts in the first video, one in the second."""
    video(tmp_path / "raw" / "a.mp4", 42)
    video(tmp_path / "raw" / "b.mp4", 33, fps=24)
    return tmp_path / "raw"


def arguments(raw: Path, folder: Path, *more: str) -> tuple[str, ...]:
    return (
        "nemo",
        "prepare-dataset",
        *SMALL,
        "--dataset_path",
        str(raw),
        "--output_path",
        str(folder),
        *more,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def starts(folder: Path) -> list[tuple[str, int]]:
    found = sorted(folder.glob("*.info.json"), key=lambda path: int(path.name.partition(".")[0]))
    return [(info["video_path"], info["start_frame"]) for info in map(json.loads, map(Path.read_text, found))]


def test_samples_are_made_whatever_they_are_asked_by_and_trained_on(cosmos: Run, raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()  # as the guide has it
    result = cosmos(*arguments(raw, folder, "--prompt", "A video of sks robot.", "--json"))
    assert result.exit_code == 0, result.stderr
    assert result.json["written"] == 6
    assert result.json["texts"] == 1
    made = content(folder)
    kinds = ("video_latent.pth", "conditioning_latent.pth", "t5_text_embeddings.pth", "t5_text_mask.pth", "info.json")
    assert made.keys() == {f"{number}.{kind}" for number in range(6) for kind in kinds}
    info = json.loads(made["5.info.json"])
    assert info == {
        "height": 24,
        "width": 32,
        "fps": 24.0,
        "num_frames": 33,
        "video_path": "b.mp4",
        "start_frame": 0,
    }
    chosen = [start for name, start in starts(folder) if name == "a.mp4"]
    assert len(set(chosen)) == 3
    assert set(chosen) <= set(range(10))
    assert sorted(path.name for path in tmp_path.iterdir() if "samples" in path.name) == [
        "samples",
        "samples.manifest.json",
    ]

    data = {"num_frames": 33, "height": 16, "width": 32, "text_tokens": 512, "text_channels": 128}
    dataset = LatentFolder(recipe_with("mock:MockClips", folder, **data))
    dataset.check()
    example = dataset.example(0, torch.Generator())
    assert example.extras["video_latent"].shape == (16, 5, 2, 4)
    assert example.text_LC[:5].any(dim=1).all()
    assert not example.text_LC[100:].any()
    # the first nine frames are two latents, which see nothing of what comes after
    conditioning, latents = (
        torch.load(folder / f"0.{kind}_latent.pth", weights_only=True) for kind in ("conditioning", "video")
    )
    assert torch.equal(conditioning[:, :2], latents[:, :2])
    assert not torch.equal(conditioning[:, 2:], latents[:, 2:])

    again = cosmos(*arguments(raw, folder, "--prompt", "A video of sks robot.", "--json"))
    assert (again.json["written"], again.json["kept"], again.json["texts"]) == (0, 6, 0)
    assert content(folder) == made


KILLED = """
import os, signal, sys
from cosmos_cli.main import main
folder, left = sys.argv.pop(1), [8]
def audit(event, arguments):
    if event == "os.rename" and os.fsdecode(arguments[1]).startswith(folder + "/"):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
main()
"""


def test_a_run_that_was_killed_within_a_sample_goes_on_to_the_same_folder(
    cosmos: Run, raw: Path, tmp_path: Path
) -> None:
    assert cosmos(*arguments(raw, tmp_path / "whole")).exit_code == 0
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(folder), *arguments(raw, folder)]
    killed = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(content(folder)) == 8
    (folder / "4.video_latent.pth").write_bytes(b"cut sho")  # somebody's else, in a sample that was not there
    result = cosmos(*arguments(raw, folder, "--json"))
    assert result.exit_code == 0, result.stderr
    assert (result.json["written"], result.json["kept"]) == (5, 1)
    assert content(folder) == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def test_a_device_that_is_too_small_is_told_and_what_is_finished_stays(
    cosmos: Run, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, left = prepare.encode_chunk, [2]

    def short_of_memory(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(*given)

    monkeypatch.setattr(prepare, "encode_chunk", short_of_memory)
    result = cosmos(*arguments(raw, tmp_path / "samples"))
    assert result.exit_code == 1
    assert "cpu has too little memory for chunks of this size." in result.stderr
    assert len(content(tmp_path / "samples")) == 10


def test_a_disk_that_fills_up_is_told_and_the_run_goes_on_when_there_is_room(
    cosmos: Run, raw: Path, tmp_path: Path
) -> None:
    folder, (soft, hard) = tmp_path / "samples", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # a text does not fit
    try:
        result = cosmos(*arguments(raw, folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    assert "Disk full" in result.stderr
    assert not content(folder)
    assert cosmos(*arguments(raw, folder)).exit_code == 0
    assert len(content(folder)) == 30


def _with_others(golden: Path, raw: Path, folder: Path) -> int:
    return len(list(prepared(read_golden(golden), raw, folder).iterdir()))


def test_several_workers_make_the_same_folder(golden: Path, tmp_path: Path) -> None:
    file, raw = golden / "nemo" / "prepare_dataset.safetensors", tmp_path / "raw"
    write_clips(read_golden(file), raw)
    (tmp_path / "between").mkdir()
    together = partial(_with_others, file, raw, tmp_path / "together")
    assert run_together(2, together, tmp_path / "between") == [20, 20]
    assert content(tmp_path / "together") == content(prepared(read_golden(file), raw, tmp_path / "alone"))


def test_chunks_follow_from_seed_and_video_and_none_comes_twice_before_all_have_come() -> None:
    draw = partial(draw_starts, "a.mp4", 130, chunk_frames=121, repeats=True)
    assert draw(num_chunks=4, seed=1) == draw(num_chunks=4, seed=1)
    assert draw(num_chunks=4, seed=1) != draw(num_chunks=4, seed=2)
    assert sorted(draw(num_chunks=10, seed=1)) == list(range(10))
    often = draw(num_chunks=25, seed=1)
    assert len(often) == 25
    assert {often.count(start) for start in range(10)} == {2, 3}
    assert draw_starts("a.mp4", 130, num_chunks=25, chunk_frames=121, seed=1, repeats=False) == list(range(10))
    assert draw_starts("a.mp4", 121, num_chunks=2, chunk_frames=121, seed=1, repeats=True) == [0, 0]


def instructions(raw: Path, folder: Path) -> Path:
    """The same videos with an instruction each."""
    (folder / "instructions").mkdir(parents=True)
    shutil.copytree(raw, folder / "videos")
    for name in "ab":
        document = {"language_instruction_0": f"pick up {name}", "language_instruction_1": "wait"}
        (folder / "instructions" / f"{name}.json").write_text(json.dumps(document))
    return folder


def test_each_video_has_its_instruction_and_gives_no_sample_twice(cosmos: Run, raw: Path, tmp_path: Path) -> None:
    dataset = instructions(raw, tmp_path / "robot")
    folder = dataset / "processed"
    line = ("nemo", "prepare-instruction-dataset", *SMALL, "--dataset_path", str(dataset), "--output_path", str(folder))
    result = cosmos(*line, "--json")
    assert result.exit_code == 0, result.stderr
    assert (result.json["written"], result.json["texts"]) == (4, 2)
    assert [name for name, _ in starts(folder)] == ["a.mp4", "a.mp4", "a.mp4", "b.mp4"]
    texts = [torch.load(folder / f"{number}.t5_text_embeddings.pth", weights_only=True) for number in range(4)]
    assert torch.equal(texts[0], texts[2])
    assert not torch.equal(texts[0], texts[3])
    assert any("they give fewer samples" in line for line in output.notices())
    (dataset / "instructions" / "b.json").write_text('{"language_instruction_0": "put b down"}')
    changed = cosmos(*line)
    assert changed.exit_code == 2
    assert "videos that have changed, or their texts: b.mp4" in " ".join(changed.stderr.split())
