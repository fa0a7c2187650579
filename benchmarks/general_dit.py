"""The general diffusion transformer beside diffusers' CosmosTransformer3DModel, with the same weights, on the CPU.

`python -m benchmarks.general_dit` checks that both predict the same, then prints time and peak memory of one forward
pass as ratios ours/peer: below 1 is better.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.wan_vae import resident_mib
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT

CONFIG = GeneralDiTConfig(model_channels=1024, num_blocks=6, num_heads=16, rope_t_extrapolation_ratio=2.0)
NUM_FRAMES, HEIGHT, WIDTH, TEXT_TOKENS, FPS = 6, 24, 40, 512, 24
NUM_THREADS = 2
NUM_REPEATS = 5

# Parameter names of the published files, and what diffusers calls them.
RENAMES = [
    (r"^x_embedder\.proj\.1", "patch_embed.proj"),
    (r"^extra_pos_embedder", "learnable_pos_embed"),
    (r"^t_embedder\.1", "time_embed.t_embedder"),
    (r"^affline_norm", "time_embed.norm"),
    (r"^final_layer\.adaLN_modulation\.(\d)", r"norm_out.linear_\1"),
    (r"^final_layer\.linear", "proj_out"),
    (r"^blocks\.block(\d+)\.blocks", r"transformer_blocks.\1"),
    (r"\.0\.adaLN_modulation\.(\d)", r".norm1.linear_\1"),
    (r"\.1\.adaLN_modulation\.(\d)", r".norm2.linear_\1"),
    (r"\.2\.adaLN_modulation\.(\d)", r".norm3.linear_\1"),
    (r"\.0\.block\.attn", ".attn1"),
    (r"\.1\.block\.attn", ".attn2"),
    (r"\.to_([qkv])\.0", r".to_\1"),
    (r"\.to_([qk])\.1", r".norm_\1"),
    (r"\.2\.block\.layer1", ".ff.net.0.proj"),
    (r"\.2\.block\.layer2", ".ff.net.2"),
]


def build_ours() -> GeneralDiT:
    torch.manual_seed(0)
    net = GeneralDiT(CONFIG).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.02)
    return net


def build_peer(weights: dict[str, Tensor] | None = None) -> nn.Module:
    """diffusers' network of the same shape, with the same weights if they are given."""
    from diffusers import CosmosTransformer3DModel

    peer: Any = CosmosTransformer3DModel(
        in_channels=CONFIG.in_channels + 2,
        concat_padding_mask=False,  # it would import torchvision to resize a mask that already has the right size
        out_channels=CONFIG.out_channels,
        num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_dim,
        num_layers=CONFIG.num_blocks,
        text_embed_dim=CONFIG.crossattn_emb_channels,
        adaln_lora_dim=CONFIG.adaln_lora_dim,
        rope_scale=(
            CONFIG.rope_t_extrapolation_ratio,
            CONFIG.rope_h_extrapolation_ratio,
            CONFIG.rope_w_extrapolation_ratio,
        ),
        extra_pos_embed_type="learnable",
    )
    peer.eval()
    if weights is not None:
        peer.load_state_dict({_renamed(key): weight for key, weight in weights.items()}, strict=True)
    return peer


def _renamed(key: str) -> str:
    for pattern, name in RENAMES:
        key = re.sub(pattern, name, key)
    return key


def calls(ours: GeneralDiT | None, peer: nn.Module | None) -> dict[str, Callable[[], Tensor]]:
    """The same forward pass in each network's words."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, CONFIG.in_channels, NUM_FRAMES, HEIGHT, WIDTH, generator=generator)
    text = torch.randn(1, TEXT_TOKENS, CONFIG.crossattn_emb_channels, generator=generator)
    times = torch.rand(1, generator=generator)
    mask = torch.zeros(1, 1, NUM_FRAMES, HEIGHT, WIDTH)
    mask[:, :, 0] = 1
    padding = torch.zeros(1, 1, HEIGHT, WIDTH)
    forwards: dict[str, Callable[[], Tensor]] = {}
    if ours is not None:
        grid = (NUM_FRAMES, HEIGHT // 2, WIDTH // 2)
        rope, positions = ours.rotary_table(grid, fps=FPS), ours.position_embedding(grid)
        encoded = ours.encode_text(text)
        forwards["ours"] = lambda: ours(x, times, text, condition_mask_B1THW=mask, padding_mask_B1HW=padding, fps=FPS)
        forwards["ours, step"] = lambda: ours(
            x,
            times,
            encoded,
            condition_mask_B1THW=mask,
            padding_mask_B1HW=padding,
            rope=rope,
            positions_THWD=positions,
        )
    if peer is not None:
        channels = torch.cat([x, mask, padding[:, :, None].expand_as(mask)], dim=1)
        forwards["peer"] = lambda: peer(
            hidden_states=channels, timestep=times, encoder_hidden_states=text, fps=FPS, return_dict=False
        )[0]
    return forwards


def measure_time() -> dict[str, float]:
    """Median seconds of one call, the networks taking turns, after checking that they agree."""
    with torch.inference_mode():
        ours = build_ours()
        forwards = calls(ours, build_peer(ours.state_dict()))
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
        forward = calls(build_ours(), None)["ours"] if side == "ours" else calls(None, build_peer())["peer"]
        before = resident_mib("VmRSS")
        forward()
    return (resident_mib("VmHWM") - before) / 1024


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` and `unit`; a ratio is ours/peer, below 1 is better."""
    torch.set_num_threads(NUM_THREADS)
    seconds = measure_time()
    ours, peer = (
        statistics.median(
            float(subprocess.check_output([sys.executable, "-m", "benchmarks.general_dit", "--memory", side]))
            for _ in range(3)
        )
        for side in ("ours", "peer")
    )
    return [
        _row("forward", seconds["ours"], seconds["peer"], "s"),
        _row("sampling step", seconds["ours, step"], seconds["peer"], "s"),
        _row("forward, peak memory beyond the weights", ours, peer, "GiB"),
    ]


def _row(name: str, ours: float, peer: float, unit: str) -> dict[str, Any]:
    return {"name": f"general DiT: {name}", "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit}


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
