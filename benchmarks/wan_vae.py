"""Time and peak memory of the Wan 2.1 tokenizer against diffusers' `AutoencoderKLWan`, same weights, on the CPU.

Run `python -m benchmarks.wan_vae`. The networks are full-size with random weights, float32, on two threads;
9 frames of 96 x 128. Both outputs are compared before anything is measured. Times are medians over
interleaved repeats in one process; peak memory is measured in a process of its own for each side, as the
high-water mark of resident memory above what was resident before the call. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from cosmos_cli.models.configs import WanVAEConfig
from cosmos_cli.models.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE

NUM_THREADS = 2
NUM_REPEATS = 3
NUM_FRAMES, HEIGHT, WIDTH = 9, 96, 128
NUM_LATENTS = 3

Call = Callable[[], Tensor]


def diffusers_key(key: str) -> str:
    """The name that `AutoencoderKLWan` gives to one of our (the published) parameters."""
    residual_names = {"0": "norm1", "2": "conv1", "3": "norm2", "6": "conv2"}
    key = re.sub(r"\bresidual\.(\d)", lambda match: residual_names[match[1]], key)
    key = key.replace("shortcut", "conv_shortcut")
    key = re.sub(r"^conv1\b", "quant_conv", key)
    key = re.sub(r"^conv2\b", "post_quant_conv", key)
    key = re.sub(r"^(encoder|decoder)\.conv1\b", r"\1.conv_in", key)
    key = key.replace("head.0", "norm_out").replace("head.2", "conv_out")
    key = key.replace("middle.0", "mid_block.resnets.0").replace("middle.2", "mid_block.resnets.1")
    key = key.replace("middle.1", "mid_block.attentions.0").replace("downsamples", "down_blocks")
    # Each level of the decoder has three residual blocks and, all but the last, a step up.
    if match := re.search(r"upsamples\.(\d+)", key):
        level, block = divmod(int(match[1]), 4)
        name = "upsamplers.0" if block == 3 else f"resnets.{block}"
        key = key.replace(match[0], f"up_blocks.{level}.{name}")
    return key


def build_ours() -> WanVAE:
    torch.manual_seed(0)
    return WanVAE(WanVAEConfig()).eval().requires_grad_(False)


def build_peer() -> Any:
    """diffusers' network with the weights of `build_ours`."""
    weights = {diffusers_key(key): value for key, value in build_ours().state_dict().items()}
    with torch.device("meta"):
        peer: Any = AutoencoderKLWan()  # untyped: diffusers builds its networks from untyped mixins
    peer.load_state_dict(weights, assign=True)
    return peer.eval().requires_grad_(False)


def calls(side: str) -> dict[str, Call]:
    """`encode` and `decode` of one side, from the same normalised inputs to the same outputs."""
    generator = torch.Generator().manual_seed(1)
    video_BCFHW = torch.rand(1, 3, NUM_FRAMES, HEIGHT, WIDTH, generator=generator) * 2 - 1
    latents_BCTHW = torch.randn(1, 16, NUM_LATENTS, HEIGHT // 8, WIDTH // 8, generator=generator)
    if side == "ours":
        ours = build_ours()
        return {"encode": lambda: ours.encode(video_BCFHW), "decode": lambda: ours.decode(latents_BCTHW)}
    peer = build_peer()
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (LATENT_MEAN, LATENT_STD))

    @torch.no_grad()
    def encode() -> Tensor:
        return (peer.encode(video_BCFHW).latent_dist.mean - mean) / std

    @torch.no_grad()
    def decode() -> Tensor:
        return peer.decode(latents_BCTHW * std + mean).sample

    return {"encode": encode, "decode": decode}


def resident_mib(field: str) -> float:
    """`VmRSS`, resident now, or `VmHWM`, its high-water mark: of this process alone, unlike `ru_maxrss`."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def peak_mib(side: str, name: str) -> float:
    """Peak memory of one call, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.wan_vae", "--peak-memory-of", side, name]
    # Freed tensors go back to the system at once. Otherwise glibc keeps those below 32 MiB, which hides the peak
    # of a run as small as this one behind the history of its heap.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_peak_mib(side: str, name: str) -> float:
    call = calls(side)[name]
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    call()
    return resident_mib("VmHWM") - before


def run() -> list[dict[str, Any]]:
    """One row per figure: `name`, `ours`, `peer`, `ratio` (ours / peer, lower is better) and `unit`."""
    torch.set_num_threads(NUM_THREADS)
    ours, peer = calls("ours"), calls("peer")
    rows = []
    for name in ("encode", "decode"):
        result, expected = ours[name](), peer[name]()
        if name == "decode":
            result = result.clamp(-1, 1)  # the peer's decoder clamps
        torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
        seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(NUM_REPEATS):
            for side, call in (("ours", ours[name]), ("peer", peer[name])):
                start = time.perf_counter()
                call()
                seconds[side].append(time.perf_counter() - start)
        medians = {side: statistics.median(values) for side, values in seconds.items()}
        peaks = {side: peak_mib(side, name) for side in ("ours", "peer")}
        for what, values, unit in (("time", medians, "s"), ("peak memory", peaks, "MiB")):
            row = {"name": f"wan_vae {name} {what}", **values, "ratio": values["ours"] / values["peer"], "unit": unit}
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak-memory-of", nargs=2, metavar=("SIDE", "CALL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory_of:
        torch.set_num_threads(NUM_THREADS)
        print(measure_peak_mib(*arguments.peak_memory_of))
        return
    for row in run():
        print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}))


if __name__ == "__main__":
    main()
