"""Rendering clips to train on, beside the same pictures by four rays for every pixel.

`python -m benchmarks.worlds` first checks that both show the same, then prints seconds for a clip of 17 frames, drawn
and rendered with depth and labels, as ratios ours/peer: below 1 is better. The peer renders at twice the size and takes
means, which smooths every pixel; ours smooths those at the rims of surfaces. Seconds are those of one core's processor,
so that what else the machine does matters less; processes share nothing, so two cores make twice as many clips.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.render import render

NUM_CLIPS, NUM_FRAMES, NUM_REPEATS = 60, 17, 3
SIZES = ((48, 80), (64, 64))


def ours(seed: int, size: tuple[int, int]) -> np.ndarray:
    return render(draw(seed, size, NUM_FRAMES), size).rgb_FHW3


def peer(seed: int, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    fine = render(draw(seed, size, NUM_FRAMES), (2 * height, 2 * width)).rgb_FHW3
    return fine.reshape(NUM_FRAMES, height, 2, width, 2, 3).mean((2, 4))


def check_peer() -> None:
    """Both show the same, up to what textures lose."""
    for seed in range(4):
        assert np.abs(ours(seed, SIZES[0]) - peer(seed, SIZES[0])).mean() < 2


def measure_seconds(side: str, size: tuple[int, int]) -> float:
    """Least processor seconds per clip, over repeats."""
    make, seconds = {"ours": ours, "peer": peer}[side], []
    make(0, size)  # patterns are made once in a process
    for _ in range(NUM_REPEATS):
        start = time.process_time()
        for seed in range(NUM_CLIPS):
            make(seed, size)
        seconds.append((time.process_time() - start) / NUM_CLIPS)
    return min(seconds)


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    check_peer()
    return [
        _row(
            f"rendered clip, {NUM_FRAMES} frames of {width} x {height}",
            {side: measure_seconds(side, (height, width)) for side in ("ours", "peer")},
        )
        for height, width in SIZES
    ]


def _row(name: str, values: dict[str, float]) -> dict[str, Any]:
    return {"name": name, **values, "ratio": values["ours"] / values["peer"], "unit": "s"}


def main() -> None:
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.4f} {row['peer']:9.4f} {row['unit']:4} {row['ratio']:6.3f}", flush=True)


if __name__ == "__main__":
    main()
