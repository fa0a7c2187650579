"""What batch commands say of engines and of arrays of Slurm, before anything runs; none of it needs a cluster."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.batch.ray.engine import RayEngine
from cosmos_cli.generation.slurm import array_file
from cosmos_cli.media.image import write_png
from cosmos_cli.settings import Spreading
from cosmos_cli.testing import CommandResult

Cosmos = Callable[..., CommandResult]


def write_rows(num_rows: int) -> None:
    write_png(Path("picture.png"), np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))
    rows = [
        {"input_video": "picture.png", "prompt": f"It drifts {i}.", "output_video": f"out/{i}.mp4", "seed": i}
        for i in range(num_rows)
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


LINE = ("predict2", "batch", "rows.jsonl", "--model", "tiny", "--num-frames", "5", "--num-steps", "3")
WHERE = ("--device", "cpu", "--save-path", "out/_.mp4")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--engine", "nosuch"), "There is no engine named 'nosuch'"),
        (("--engine", "ray", "--num-gpus", "2", "--device", "cpu", "--parallel", "dp=2"), "dp=2 makes 2 videos at"),
        (("--engine", "ray", "--device", "cuda:1"), "Ray chooses for each actor"),
        (("--num-workers", "2"), "is for other engines"),
        (("--share", "9/8"), "not a share such as 3/8"),
        (("--slurm", "--engine", "ray"), "divides the rows by itself"),
        (("--slurm", "--device", "cuda:1"), "Slurm chooses for each task"),
        (("--slurm", "--num-workers", "10001"), "more tasks than 10,000"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_before_anything_runs(
    cosmos: Cosmos, options: tuple[str, ...], told: str
) -> None:
    write_rows(1)
    result = cosmos(*LINE, *options)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not Path("out").exists()


@pytest.mark.parametrize("place", ["argument", "behind =", "/dev/stdin"])
def test_an_array_whose_tasks_could_not_read_a_pipe_is_refused(cosmos: Cosmos, place: str) -> None:
    """As a process substitution gives one: it is gone when the tasks start."""
    reader, writer = os.pipe()
    name = f"/dev/fd/{reader}"
    line = {
        "argument": ("predict2", "batch", name),
        "behind =": ("predict2", "video2world", f"--batch={name}"),
        "/dev/stdin": ("predict2", "batch", "/dev/stdin"),
    }[place]
    os.write(writer, b"{}")
    os.close(writer)
    write_rows(1)
    result = cosmos(*line, "--model", "tiny", "--slurm")
    os.close(reader)
    assert result.exit_code == 2
    assert "cannot be read later" in " ".join(result.stderr.split())
    assert "#SBATCH" not in result.stdout


def test_a_plan_for_a_cluster_is_of_one_actor_and_says_what_is_not_known(cosmos: Cosmos) -> None:
    write_rows(4)
    shared = ("--engine", "ray", "--num-gpus", "2", "--plan", "--json")
    four, one = (cosmos(*LINE, *shared, *more).json["not_counted"] for more in (("--device", "cpu"), ("--for", "h100")))
    assert any("the nodes of the cluster" in notice for notice in four)
    assert not any("the nodes of the cluster" in notice for notice in one)
    for notices in (four, one):
        assert any("the models of --engine ray" in notice for notice in notices)
    refused = cosmos(*LINE, *shared, "--device", "cpu", "--parallel", "dp=2")
    assert refused.exit_code == 2
    assert "dp=2 makes 2 videos at a time" in refused.json["problems"][0]["what"]
    assert cosmos(*LINE, *shared[2:], "--device", "cpu", "--parallel", "dp=2").exit_code == 0


def test_an_engine_whose_devices_do_not_share_items_refuses_several(
    cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(1)
    monkeypatch.delattr(RayEngine, "shares_items")
    result = cosmos(*LINE, "--engine", "ray", "--num-gpus", "2")
    assert result.exit_code == 2
    assert "2 GPUs cannot share a video with --engine ray" in " ".join(result.stderr.split())


@pytest.mark.parametrize("option", [("--slurm",), ("--share", "1/2"), ("--num-workers", "2")])
def test_one_video_is_not_divided(cosmos: Cosmos, option: tuple[str, ...]) -> None:
    write_rows(1)
    result = cosmos("predict2", "video2world", "--model", "tiny", "--input-path", "picture.png", *option)
    assert result.exit_code == 2
    assert "is for batches" in result.stderr


@pytest.mark.parametrize("num_cores", ["", "16"])
def test_a_task_of_an_array_has_the_cores_that_sbatch_was_asked_for(num_cores: str) -> None:
    lines = array_file(["shout", "my rows.jsonl", "--slurm"], "cpu", 1, Spreading(num_workers=2)).splitlines()
    assert "#SBATCH --job-name=cosmos-shout" in lines  # a space would end it
    srun = Path("bin/srun")
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nprintf "%s," "$SRUN_CPUS_PER_TASK" "$@"\nexit 3\n')
    srun.chmod(0o755)
    slurm = {"SLURM_ARRAY_TASK_ID": "2"} | ({"SLURM_CPUS_PER_TASK": num_cores} if num_cores else {})
    environment = {"PATH": f"{srun.parent.absolute()}:{os.environ['PATH']}", **slurm}
    done = subprocess.run(["bash", "-c", "\n".join(lines)], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{num_cores},cosmos,shout,my rows.jsonl,--share,2/2,"
    assert done.returncode == 3


@pytest.mark.slow
def test_the_tasks_of_an_array_make_all_rows(cosmos: Cosmos) -> None:
    write_rows(3)
    printed = cosmos(*LINE, *WHERE, "--slurm", "--num_workers=2", "--time-limit", "01:00:00").stdout.splitlines()
    assert "#SBATCH --array=1-2" in printed
    assert "#SBATCH --requeue" in printed
    assert "#SBATCH --time=01:00:00" in printed
    [line] = [line for line in printed if line.startswith("srun ")]
    for task in ("1", "2"):
        words = shlex.split(line.removesuffix(" &").replace("$SLURM_ARRAY_TASK_ID", task))
        assert words[:2] == ["srun", "cosmos"]
        assert cosmos(*words[2:]).exit_code == 0
    assert len(list(Path("out").glob("*.mp4"))) == 3
    result = cosmos(*LINE, *WHERE, "--json")
    assert [sample["status"] for sample in result.json["samples"]] == ["done before"] * 3
