"""A batch on Ray's actors beside the same on this machine: 24 videos of the tiny Predict2.

`python -m benchmarks.ray_batch` checks that both write the same videos, then prints wall time from the first item on as
a ratio ours/peer: below 1 is better. On two cores two actors have no second core to win, so that what is over 1 is what
it costs to hand out items and to take in files. What starting costs, once per batch, stands apart. Each process
computes in one thread.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_cli import output
from cosmos_cli.batch.ray.cluster import joined
from cosmos_cli.batch.ray.engine import RayEngine
from cosmos_cli.media.image import write_png
from cosmos_plugins.predict2.video2world.batch import run as run_rows
from cosmos_plugins.predict2.video2world.requests import Video2WorldOptions, Video2WorldSettings

NUM_ITEMS, NUM_ACTORS, NUM_FRAMES, NUM_STEPS = 24, 2, 5, 4


def rows_in(folder: Path) -> Path:
    """A batch file about one picture."""
    picture = folder / "picture.png"
    write_png(picture, np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))
    rows = [
        {"input_video": str(picture), "prompt": f"It drifts {i}.", "output_video": f"{i}.mp4", "seed": i}
        for i in range(NUM_ITEMS)
    ]
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def seconds_of(file: Path, out: Path, engine: Any) -> tuple[float, float]:
    """Until the first item was begun, and from there on."""
    begun: list[float] = []
    output.follow(lambda line: begun.append(time.perf_counter()) if line.startswith("[1/") else None)
    settings = Video2WorldSettings(model_size="tiny", device="cpu", cache_dir=file.parent / "cache")
    common = Video2WorldOptions(num_frames=NUM_FRAMES, num_steps=NUM_STEPS, save_path=out / "_.mp4")
    start = time.perf_counter()
    report = run_rows(settings, common, file, out, engine=engine)
    assert report.exit_code == 0, report.summary()
    return begun[0] - start, time.perf_counter() - begun[0]


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of actors; this process must have been started so, too
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        file = rows_in(folder)
        seconds_of(file, folder / "warm", None)  # texts come from the cache on both sides
        local_start, local = seconds_of(file, folder / "local", None)
        start = time.perf_counter()
        with joined(NUM_ACTORS):
            ray_start = time.perf_counter() - start
            actors_start, on_ray = seconds_of(file, folder / "ray", RayEngine("cpu", NUM_ACTORS))
        for i in range(NUM_ITEMS):
            assert (folder / f"local/{i}.mp4").read_bytes() == (folder / f"ray/{i}.mp4").read_bytes()
    return [
        _row(f"batch of {NUM_ITEMS} tiny videos, {NUM_ACTORS} actors of Ray beside this machine", on_ray, local),
        _row("the same until the first item is begun, Ray's own start with it", ray_start + actors_start, local_start),
    ]


def _row(name: str, ours: float, peer: float) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": "s"}


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.2f}", flush=True)
