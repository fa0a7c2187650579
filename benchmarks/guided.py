"""Warping the room view of guided generation to the wrist view, beside the published workflow's splatting.

`python -m benchmarks.guided` checks that the peer's numbers are those of the golden data's method, then prints time
and peak memory: 121 frames of 1280 x 704, depth and labels of the same size, on all cores. The peer takes minutes for
the clip; one of its frames is measured, and counts 121 times. Peak memory is measured in a process of its own for each
side, and the peer's is that of its one frame. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_plugins.transfer1.guided.episodes.synthetic import render
from cosmos_plugins.transfer1.guided.views import Cameras, Seen
from cosmos_plugins.transfer1.guided.warp.splat import depth_weights, land, spread
from cosmos_plugins.transfer1.guided.warp.zbuffer import warp

NUM_FRAMES, HEIGHT, WIDTH = 121, 704, 1280
FOREGROUND = (3, 4)
RADIUS = 6
NUM_REPEATS = 3


@dataclass(frozen=True)
class Clip:
    room: Seen
    wrist: Seen


def clip(num_frames: int = NUM_FRAMES, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Clip:
    """One rendered moment, over and over, each frame in memory of its own."""

    def repeated(seen: Seen) -> Seen:
        cameras = seen.cameras
        arrays = (seen.rgb_FHW3, seen.depth_FHW, seen.labels_FHW)
        poses = (cameras.intrinsics_F33, cameras.positions_F3, cameras.quaternions_F4)
        rgb, depth, labels = (np.repeat(array, num_frames, axis=0) for array in arrays)
        return Seen(rgb, depth, labels, Cameras(*(np.repeat(pose, num_frames, axis=0) for pose in poses)))

    return Clip(*(repeated(seen) for seen in next(render(1, size))))


def ours(clip: Clip) -> None:
    size = clip.wrist.depth_FHW.shape[1:]
    warp(clip.room.rgb_FHW3, clip.room, clip.wrist, foreground=FOREGROUND, size=size)


def peer(clip: Clip) -> Tensor:
    """The first frame, (C, H, W): for every offset and corner an indexed addition, in which the last one counts."""
    room = clip.room
    colours_CHW = torch.from_numpy(room.rgb_FHW3[0]).permute(2, 0, 1) / 127.5 - 1
    _, height, width = colours_CHW.shape
    points_N3 = land(room.depth_FHW[0], room.cameras[:1], clip.wrist.cameras[:1])
    shown_N = torch.from_numpy(~np.isin(room.labels_FHW[0], FOREGROUND)).reshape(-1)
    weights_N = depth_weights(points_N3) * shown_N
    sums_HWC = torch.zeros(height + 2, width + 2, 4)
    given_NC = torch.cat([colours_CHW.flatten(1).T * weights_N[:, None], weights_N[:, None]], 1)
    limits = torch.tensor([width + 1, height + 1])
    reach = range(-RADIUS, RADIUS + 1)
    for offset in ((x, y) for y in reach for x in reach if hypot(x, y) < RADIUS):
        places_N2 = points_N3[:, :2] + torch.tensor(offset) + 1
        low_N2 = places_N2.floor()
        part_N2 = places_N2 - low_N2
        for x in (0, 1):
            for y in (0, 1):
                corners_N2 = torch.minimum((low_N2 + torch.tensor([x, y])).clamp(min=0), limits).long()
                share_N = (part_N2[:, 0] if x else 1 - part_N2[:, 0]) * (part_N2[:, 1] if y else 1 - part_N2[:, 1])
                share_N = share_N * (1 - hypot(*offset) / RADIUS)
                sums_HWC[corners_N2[:, 1], corners_N2[:, 0]] += given_NC * share_N[:, None]
    sums_HWC = sums_HWC[1:-1, 1:-1]
    known_HW1 = sums_HWC[..., 3:] > 1e-6
    return torch.where(known_HW1, sums_HWC[..., :3] / (sums_HWC[..., 3:] + 1e-8), -1).permute(2, 0, 1)


def check_peer() -> None:
    """On one thread, which alone defines the original's result, it is that of our splatting."""
    small, num_threads = clip(1, (64, 96)), torch.get_num_threads()
    room = small.room
    points_N3 = land(room.depth_FHW[0], room.cameras, small.wrist.cameras)
    shown_HW = torch.from_numpy(~np.isin(room.labels_FHW[0], FOREGROUND))
    colours_CHW = torch.from_numpy(room.rgb_FHW3[0]).permute(2, 0, 1) / 127.5 - 1
    torch.set_num_threads(1)
    try:
        torch.testing.assert_close(peer(small), spread(colours_CHW, shown_HW, points_N3, RADIUS)[0], atol=1e-4, rtol=0)
    finally:
        torch.set_num_threads(num_threads)


def measure_seconds(clip: Clip) -> dict[str, float]:
    """Least seconds of the whole clip."""
    seconds = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        ours(clip)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    peer(clip)
    return {"ours": min(seconds), "peer": (time.perf_counter() - start) * NUM_FRAMES}


def measure_peak_gib(side: str) -> float:
    """GiB that one side adds to the memory of this process, which must be a fresh one, beyond the clips in and out."""
    frames = clip()
    small = clip(2, (64, 96))
    compute = {"ours": ours, "peer": peer}[side]
    compute(small)  # libraries allocate on their first call
    before = _resident_gib("VmRSS")
    compute(frames)
    made = NUM_FRAMES * HEIGHT * WIDTH * 4 / 2**30 if side == "ours" else 0.0  # colours, and whether they are known
    return _resident_gib("VmHWM") - before - made


def _resident_gib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**20


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` (ours / peer, below 1 is better) and `unit`."""
    check_peer()
    seconds = measure_seconds(clip())
    command = [sys.executable, "-m", "benchmarks.guided", "--peak-memory-of"]
    peaks = {side: float(subprocess.check_output([*command, side])) for side in ("ours", "peer")}
    return [
        _row(f"guided warp, {NUM_FRAMES} frames of {WIDTH} x {HEIGHT}", seconds, "s"),
        _row("guided warp, peak memory beyond the clips", peaks, "GiB"),
    ]


def _row(name: str, values: dict[str, float], unit: str) -> dict[str, Any]:
    return {"name": name, **values, "ratio": values["ours"] / values["peer"], "unit": unit}


def main() -> None:
    if sys.argv[1:2] == ["--peak-memory-of"]:
        print(measure_peak_gib(sys.argv[2]))
        return
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.3f}", flush=True)


if __name__ == "__main__":
    main()
