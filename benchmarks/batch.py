"""A batch beside the same requests one after the other, on the tiny Transfer model with everything loaded.

`python -m benchmarks.batch` checks that both write the same videos, then prints wall time and peak memory as ratios
ours/peer: below 1 is better. Each request reads a clip of its own, computes its depth and its edges, and makes a video.
Peak memory compares a batch of eight with a batch of two, each in a process of its own. Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cosmos_cli.batch.engine import run_batch
from cosmos_cli.batch.plan import Plan
from cosmos_plugins.transfer1.batch import rows_of
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.videos import read_sample
from tests.clips import encode, moving_gradient

NUM_ITEMS, NUM_FRAMES, HEIGHT, WIDTH, NUM_STEPS = 4, 121, 480, 640, 8


def plan_in(folder: Path, name: str, num_items: int) -> tuple[TransferSettings, Plan[TransferRequest]]:
    """Clips of different content, and a batch file about them."""
    rows = []
    for i in range(num_items):
        clip = folder / f"clip{i}.mp4"
        if not clip.exists():
            encode(clip, moving_gradient(NUM_FRAMES + i, HEIGHT, WIDTH)[i:], fps=24)
        rows.append(json.dumps({"visual_input": str(clip), "seed": i}))
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(rows))
    settings = TransferSettings(model_size="tiny", cache_dir=folder / f"cache-{name}")
    controls: Any = {"depth": {"control_weight": 0.5}, "edge": {"control_weight": 0.5}}
    common = TransferRequest(controls=controls, num_steps=NUM_STEPS, video_save_folder=folder / name)
    return settings, rows_of(settings, common, file, needs_weights=True)


def warmed_up(settings: TransferSettings, batch: Plan[TransferRequest]) -> TransferPipeline:
    """The pipeline with its text embeddings, which both sides find in the cache."""
    pipeline = TransferPipeline.load(settings, [item.request for item in batch.items])
    for text in (batch.items[0].request.prompt, batch.items[0].request.negative_prompt):
        pipeline.models.text_encoder.encode(text)
    return pipeline


def seconds_of_batch(folder: Path, name: str, num_items: int = NUM_ITEMS) -> float:
    settings, batch = plan_in(folder, name, num_items)
    pipeline = warmed_up(settings, batch)
    start = time.perf_counter()
    report = run_batch(batch, lambda _: pipeline, ledger=folder / f"{name}.ledger.jsonl")
    assert report.exit_code == 0, report.summary()
    return time.perf_counter() - start


def seconds_one_by_one(folder: Path, name: str) -> float:
    settings, batch = plan_in(folder, name, NUM_ITEMS)
    pipeline = warmed_up(settings, batch)
    start = time.perf_counter()
    for item in batch.items:
        pipeline.write(pipeline.make(read_sample(settings, item.request)))
    return time.perf_counter() - start


def measure_peak_gib(num_items: int) -> float:
    """GiB of this process, which must be a fresh one, at its largest."""
    with tempfile.TemporaryDirectory() as folder:
        seconds_of_batch(Path(folder), "batch", num_items)
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        batch, single = seconds_of_batch(folder, "batch"), seconds_one_by_one(folder, "single")
        for i in range(NUM_ITEMS):
            assert (folder / f"batch/video_{i}.mp4").read_bytes() == (folder / f"single/video_{i}.mp4").read_bytes()
    command = [sys.executable, "-m", "benchmarks.batch", "--peak-memory-of"]
    eight, two = (float(subprocess.check_output([*command, str(count)])) for count in (8, 2))
    size = f"{NUM_FRAMES} frames of {WIDTH} x {HEIGHT}"
    return [
        _row(f"batch of {NUM_ITEMS}, {size}, beside one by one", batch, single, "s"),
        _row("batch of 8 beside a batch of 2, peak memory", eight, two, "GiB"),
    ]


def _row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit}


def main() -> None:
    if sys.argv[1:2] == ["--peak-memory-of"]:
        print(measure_peak_gib(int(sys.argv[2])))
        return
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.2f}", flush=True)


if __name__ == "__main__":
    main()
