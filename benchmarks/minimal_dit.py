"""The minimal diffusion transformer beside diffusers' CosmosTransformer3DModel, with the same weights, on the CPU.

`python -m benchmarks.minimal_dit` checks that both compute the same velocity, then prints time and peak memory of one
forward pass as ratios ours/peer: below 1 is better.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT

CONFIG = MinimalDiTConfig(
    model_channels=1024,
    num_blocks=6,
    num_heads=16,
    rope_h_extrapolation_ratio=3.0,
    rope_w_extrapolation_ratio=3.0,
)
NUM_FRAMES, HEIGHT, WIDTH, TEXT_TOKENS = 6, 24, 40, 512
NUM_THREADS = 2
NUM_REPEATS = 5

# Parameter names of the published files, and what diffusers calls them.
RENAMES = [
    (r"^x_embedder\.proj\.1", "patch_embed.proj"),
    (r"^t_embedder\.1", "time_embed.t_embedder"),
    (r"^t_embedding_norm", "time_embed.norm"),
    (r"^final_layer\.adaln_modulation\.(\d)", r"norm_out.linear_\1"),
    (r"^final_layer\.linear", "proj_out"),
    (r"^blocks", "transformer_blocks"),
    (r"adaln_modulation_self_attn\.(\d)", r"norm1.linear_\1"),
    (r"adaln_modulation_cross_attn\.(\d)", r"norm2.linear_\1"),
    (r"adaln_modulation_mlp\.(\d)", r"norm3.linear_\1"),
    (r"self_attn", "attn1"),
    (r"cross_attn", "attn2"),
    (r"\.([qkv])_proj", r".to_\1"),
    (r"\.([qk])_norm", r".norm_\1"),
    (r"output_proj", "to_out.0"),
    (r"mlp\.layer1", "ff.net.0.proj"),
    (r"mlp\.layer2", "ff.net.2"),
]


def build_ours() -> MinimalDiT:
    torch.manual_seed(0)
    net = MinimalDiT(CONFIG).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.02)
    return net


def build_peer(config: MinimalDiTConfig, weights: dict[str, Tensor] | None = None) -> nn.Module:
    """diffusers' network of the same shape, with the same weights if they are given."""
    from diffusers import CosmosTransformer3DModel

    peer: Any = CosmosTransformer3DModel(
        in_channels=config.in_channels + 2,
        concat_padding_mask=False,  # it would import torchvision to resize a mask that already has the right size
        out_channels=config.out_channels,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        num_layers=config.num_blocks,
        text_embed_dim=config.crossattn_emb_channels,
        adaln_lora_dim=config.adaln_lora_dim,
        rope_scale=(
            config.rope_t_extrapolation_ratio,
            config.rope_h_extrapolation_ratio,
            config.rope_w_extrapolation_ratio,
        ),
        extra_pos_embed_type=None,
    )
    peer.eval()
    if weights is not None:
        peer.load_state_dict({_renamed(key): weight for key, weight in weights.items()}, strict=True)
    return peer


def _renamed(key: str) -> str:
    for pattern, name in RENAMES:
        key = re.sub(pattern, name, key)
    return key


def calls(ours: MinimalDiT | None, peer: nn.Module | None, per_frame: bool) -> dict[str, Callable[[], Tensor]]:
    """The same forward pass in each network's words.

    `per_frame` gives every latent frame its own noise level, as when the first one is conditioned.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, CONFIG.in_channels, NUM_FRAMES, HEIGHT, WIDTH, generator=generator)
    text = torch.randn(1, TEXT_TOKENS, CONFIG.crossattn_emb_channels, generator=generator)
    times = torch.rand(1, NUM_FRAMES if per_frame else 1, generator=generator)
    mask = torch.zeros(1, 1, NUM_FRAMES, HEIGHT, WIDTH)
    mask[:, :, 0] = 1
    padding = torch.zeros(1, 1, HEIGHT, WIDTH)
    forwards: dict[str, Callable[[], Tensor]] = {}
    if ours is not None:
        rope = ours.rotary_table((NUM_FRAMES, HEIGHT // 2, WIDTH // 2))
        encoded = ours.encode_text(text)
        forwards["ours"] = lambda: ours(x, times, text, condition_mask_B1THW=mask, padding_mask_B1HW=padding)
        forwards["ours, step"] = lambda: ours(
            x, times, encoded, condition_mask_B1THW=mask, padding_mask_B1HW=padding, rope=rope
        )
    if peer is not None:
        peer_times = times[:, None, :, None, None] if per_frame else times[0]
        channels = torch.cat([x, mask, padding[:, :, None].expand_as(mask)], dim=1)
        # At 24 fps diffusers' temporal positions are whole frames, as in the original.
        forwards["peer"] = lambda: peer(
            hidden_states=channels, timestep=peer_times, encoder_hidden_states=text, fps=24, return_dict=False
        )[0]
    return forwards


def measure_time(per_frame: bool) -> dict[str, float]:
    """Median seconds of one call, the networks taking turns, after checking that they agree."""
    with torch.inference_mode():
        ours = build_ours()
        forwards = calls(ours, build_peer(CONFIG, ours.state_dict()), per_frame)
        seconds: dict[str, list[float]] = {name: [] for name in forwards}
        expected = forwards["peer"]()
        for name, forward in forwards.items():
            torch.testing.assert_close(forward(), expected, atol=1e-4 * float(expected.std()), rtol=0, msg=name)
        for _ in range(NUM_REPEATS):
            for name, forward in forwards.items():
                start = time.perf_counter()
                forward()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_memory(side: str) -> float:
    """GiB that one call adds to the memory of this process, which must be a fresh one."""
    with torch.inference_mode():
        # Building holds no second copy of the weights, or its peak would hide that of the call.
        ours, peer = (build_ours(), None) if side == "ours" else (None, build_peer(CONFIG))
        forward = calls(ours, peer, per_frame=True)[side]
        before = _resident_gib("VmRSS")
        forward()
    return _resident_gib("VmHWM") - before


def _resident_gib(field: str) -> float:
    """`VmRSS`, resident now, or `VmHWM`, the most so far; `ru_maxrss` would start at the parent process's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**20


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` and `unit`; a ratio is ours/peer, below 1 is better."""
    torch.set_num_threads(NUM_THREADS)
    rows = []
    for per_frame, label in ((False, "one noise level"), (True, "a noise level per frame")):
        seconds = measure_time(per_frame)
        rows.append(_row(f"forward, {label}", seconds["ours"], seconds["peer"], "s"))
        rows.append(_row(f"sampling step, {label}", seconds["ours, step"], seconds["peer"], "s"))
    ours, peer = (
        statistics.median(
            float(subprocess.check_output([sys.executable, "-m", "benchmarks.minimal_dit", "--memory", side]))
            for _ in range(3)
        )
        for side in ("ours", "peer")
    )
    rows.append(_row("forward, peak memory beyond the weights", ours, peer, "GiB"))
    return rows


def _row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": f"minimal DiT: {name}", "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", choices=("ours", "peer"), help="print the GiB that one call of this side takes")
    side = parser.parse_args().memory
    if side:
        torch.set_num_threads(NUM_THREADS)
        print(measure_memory(side))
        return
    for row in run():
        print(f"{row['name']:60} ours {row['ours']:7.3f}  peer {row['peer']:7.3f} {row['unit']:4} {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
