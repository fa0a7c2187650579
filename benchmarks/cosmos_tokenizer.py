"""Time and peak memory of the Cosmos video tokenizer against diffusers' `AutoencoderKLCosmos`, same weights, on a CPU.

Run `python -m benchmarks.cosmos_tokenizer`. The networks are full-size with random weights, float32, on two threads;
one clip of 57 frames of 128 x 192. Both outputs are compared before anything is measured. Times are medians over
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
from diffusers import AutoencoderKLCosmos
from torch import Tensor

from benchmarks.wan_vae import resident_mib
from cosmos_cli.models.configs import CosmosTokenizerConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer

NUM_THREADS = 2
NUM_REPEATS = 3
NUM_FRAMES, HEIGHT, WIDTH = 57, 128, 192
NUM_LATENTS = 8

Call = Callable[[], Tensor]


def diffusers_key(key: str) -> str:
    """The name that `AutoencoderKLCosmos` gives to one of our (the published) parameters."""
    # The decoder of diffusers counts its levels in the order in which they run.
    key = re.sub(r"\bup\.(\d)", lambda match: f"up_blocks.{2 - int(match[1])}", key)
    names = {
        r"\.conv3d": "",
        r"\bdown\.(\d)": r"down_blocks.\1",
        r"\bblock\.(\d)": r"resnets.\1",
        r"\bmid\.block_1": "mid_block.resnets.0",
        r"\bmid\.block_2": "mid_block.resnets.1",
        r"\bmid\.attn_1\.0": "mid_block.attentions.0",
        r"\bmid\.attn_1\.1": "mid_block.temp_attentions.0",
        r"(attentions\.0)\.([qkv])\b": r"\1.to_\2",
        "proj_out": "to_out.0",
        r"\b(conv1|conv2|conv_in|conv_out)\.0": r"\1.conv_s",
        r"\b(conv1|conv2|conv_in|conv_out)\.1": r"\1.conv_t",
        "nin_shortcut": "conv_shortcut",
        "downsample": "downsamplers.0",
        "upsample": "upsamplers.0",
    }
    for ours, theirs in names.items():
        key = re.sub(ours, theirs, key)
    return key


def build_ours() -> CosmosTokenizer:
    torch.manual_seed(0)
    return CosmosTokenizer(CosmosTokenizerConfig()).eval().requires_grad_(False)


def build_peer() -> Any:
    """diffusers' network with the weights of `build_ours`."""
    peer: Any = AutoencoderKLCosmos()  # untyped: diffusers builds its networks from untyped mixins
    weights = {diffusers_key(key): value for key, value in build_ours().state_dict().items()}
    peer.load_state_dict(weights, assign=True)
    return peer.eval().requires_grad_(False)


def calls(side: str) -> dict[str, Call]:
    """`encode` and `decode` of one side, from the same inputs to the same outputs."""
    generator = torch.Generator().manual_seed(1)
    video_BCFHW = torch.rand(1, 3, NUM_FRAMES, HEIGHT, WIDTH, generator=generator) * 2 - 1
    latents_BCTHW = torch.randn(1, 16, NUM_LATENTS, HEIGHT // 8, WIDTH // 8, generator=generator)
    if side == "ours":
        ours = build_ours()
        return {"encode": lambda: ours.encode(video_BCFHW), "decode": lambda: ours.decode(latents_BCTHW)}
    peer = build_peer()

    @torch.no_grad()
    def encode() -> Tensor:
        return peer.encode(video_BCFHW).latent_dist.mode()

    @torch.no_grad()
    def decode() -> Tensor:
        return peer.decode(latents_BCTHW).sample

    return {"encode": encode, "decode": decode}


def peak_mib(side: str, name: str) -> float:
    """Peak memory of one call, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.cosmos_tokenizer", "--peak-memory-of", side, name]
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
        torch.testing.assert_close(ours[name](), peer[name](), atol=1e-4, rtol=0)
        seconds: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(NUM_REPEATS):
            for side, call in (("ours", ours[name]), ("peer", peer[name])):
                start = time.perf_counter()
                call()
                seconds[side].append(time.perf_counter() - start)
        medians = {side: statistics.median(values) for side, values in seconds.items()}
        peaks = {side: peak_mib(side, name) for side in ("ours", "peer")}
        for what, values, unit in (("time", medians, "s"), ("peak memory", peaks, "MiB")):
            ratio = values["ours"] / values["peer"]
            rows.append({"name": f"cosmos_tokenizer {name} {what}", **values, "ratio": ratio, "unit": unit})
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
