"""The computed controls, vis and edge, beside a loop over the frames that makes the same OpenCV and torch calls.

`python -m benchmarks.controls` checks that both give the same bytes, then prints time and peak memory as ratios
ours/peer: below 1 is better. 121 frames of 1280 x 704 on all cores. The peer's loop uses the threads that OpenCV and
torch start by themselves for one frame. Peak memory is measured in a process of its own for each side. Linux only.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from cosmos_plugins.transfer1.controls.blur import BLUR_PRESETS, blur
from cosmos_plugins.transfer1.controls.canny import CANNY_THRESHOLDS, outline
from cosmos_plugins.transfer1.controls.parallel import map_frames

NUM_FRAMES, HEIGHT, WIDTH = 121, 704, 1280
CASES = (("vis", "medium"), ("vis", "low"), ("edge", "medium"))
NUM_REPEATS = 3


def clip() -> np.ndarray:
    """(F, H, W, 3) uint8: soft shapes that drift, textured and with some noise, so that edges are found."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    texture = random.normal(0, 6, (HEIGHT, WIDTH, 3)).astype(np.float32)
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for i, frame in enumerate(frames):
        shapes = 110 + 90 * np.sin((x + 4 * i) / 60) * np.cos(y / 45)
        boxes = 40.0 * (((x + 3 * i) // 90 + y // 70) % 2)
        frame[:] = (shapes[..., None] * (1.0, 0.8, 0.6) + boxes[..., None] + texture).clip(0, 255)
    return frames


def ours(name: str, preset: str, frames_FHWC: np.ndarray) -> np.ndarray:
    compute = {"vis": blur, "edge": outline}[name]
    return map_frames(lambda frame: compute(frame, preset), frames_FHWC)


def peer(name: str, preset: str, frames_FHWC: np.ndarray) -> np.ndarray:
    """One frame after the other through OpenCV, and the resampling of vis on the whole clip at once."""
    if name == "edge":
        thresholds = CANNY_THRESHOLDS[preset]
        return np.stack([cv2.cvtColor(cv2.Canny(f, *thresholds), cv2.COLOR_GRAY2RGB) for f in frames_FHWC])
    diameter, sigma_color, sigma_space, shrink, detail = BLUR_PRESETS[preset]
    filtered = []
    for frame in frames_FHWC:
        if shrink > 1:
            frame = cv2.resize(frame, (WIDTH // shrink, HEIGHT // shrink), interpolation=cv2.INTER_AREA)
        frame = cv2.bilateralFilter(frame, diameter, sigma_color, sigma_space)
        if shrink > 1:
            frame = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        filtered.append(frame)
    video_FCHW = torch.from_numpy(np.stack(filtered)).permute(0, 3, 1, 2)
    for size in ((int(HEIGHT / detail), int(WIDTH / detail)), (HEIGHT, WIDTH)):
        resized = F.interpolate(video_FCHW.float(), size=size, mode="bicubic", antialias=True)
        video_FCHW = resized.clamp_(0, 255).round_().to(torch.uint8)
    return video_FCHW.permute(0, 2, 3, 1).contiguous().numpy()


SIDES: dict[str, Callable[[str, str, np.ndarray], np.ndarray]] = {"ours": ours, "peer": peer}


def measure_seconds(name: str, preset: str, frames_FHWC: np.ndarray) -> dict[str, float]:
    """Median seconds of one clip, the sides taking turns, after checking that they agree."""
    np.testing.assert_array_equal(ours(name, preset, frames_FHWC[:8]), peer(name, preset, frames_FHWC[:8]))
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(NUM_REPEATS):
        for side, compute in SIDES.items():
            start = time.perf_counter()
            compute(name, preset, frames_FHWC)
            seconds[side].append(time.perf_counter() - start)
    return {side: statistics.median(values) for side, values in seconds.items()}


def measure_peak_gib(side: str, name: str, preset: str) -> float:
    """GiB that one clip adds to the memory of this process, which must be a fresh one."""
    frames = clip()
    SIDES[side](name, preset, frames[:2])  # libraries allocate on their first call
    before = _resident_gib("VmRSS")
    SIDES[side](name, preset, frames)
    return _resident_gib("VmHWM") - before


def _resident_gib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**20


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    frames = clip()
    rows = []
    for name, preset in CASES:
        seconds = measure_seconds(name, preset, frames)
        rows.append(_row(f"controls {name} {preset}, {NUM_FRAMES} frames of {WIDTH} x {HEIGHT}", seconds, "s"))
    del frames
    for name, preset in (CASES[0], CASES[-1]):
        command = [sys.executable, "-m", "benchmarks.controls", "--peak-memory-of"]
        peaks = {side: float(subprocess.check_output([*command, side, name, preset])) for side in SIDES}
        rows.append(_row(f"controls {name} {preset}, peak memory beyond the clip", peaks, "GiB"))
    return rows


def _row(name: str, values: dict[str, float], unit: str) -> dict[str, Any]:
    return {"name": name, **values, "ratio": values["ours"] / values["peer"], "unit": unit}


def main() -> None:
    if sys.argv[1:2] == ["--peak-memory-of"]:
        print(measure_peak_gib(*sys.argv[2:]))
        return
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.2f}", flush=True)


if __name__ == "__main__":
    main()
