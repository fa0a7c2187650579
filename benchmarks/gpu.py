"""Full-size networks with random weights on a CUDA device: seconds per denoising step, and peak memory.

Predict2 at 480p and 720p, and Transfer1-7B with 1 and 4 controls on 121 frames of 704x1280; then the same networks
with their weights in host memory, passing through the device block by block.

`python benchmarks/gpu.py` from the project's folder; it needs torch, no installation of the project, and measures
diffusers' networks beside ours where diffusers is installed. A denoising step is two passes of the DiT (with the prompt
and with the negative prompt) and the guidance between them, in bfloat16. `--write` adds the table to
`benchmarks/RESULTS.md`. `--smoke` runs the same code at toy size on any device.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks.minimal_dit import build_peer  # noqa: E402
from cosmos_cli.diffusion.guidance import guide  # noqa: E402
from cosmos_cli.errors import InputError  # noqa: E402
from cosmos_cli.models.configs import (  # noqa: E402
    ControlBranchConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    WanVAEConfig,
)
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals  # noqa: E402
from cosmos_cli.models.general_dit import GeneralDiT  # noqa: E402
from cosmos_cli.models.minimal_dit import MinimalDiT  # noqa: E402
from cosmos_cli.models.wan_vae import WanVAE  # noqa: E402
from cosmos_cli.runtime.attention import available_backends  # noqa: E402
from cosmos_cli.runtime.compiling import check_compiler, compile_blocks  # noqa: E402
from cosmos_cli.runtime.memory.streaming import BlockStream  # noqa: E402
from plugins.predict2.variants import SPARSE_PATTERNS, VARIANTS, Variant  # noqa: E402
from plugins.transfer1.variants import VARIANTS as TRANSFER_VARIANTS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
NUM_FRAMES, ASPECT_RATIO, GUIDANCE, TEXT_TOKENS = 93, "16:9", 7.0, 512
DTYPE = torch.bfloat16
NUM_REPEATS = 3
STREAMED_BLOCKS = (2, 8)
"""How many blocks of each network are on the device at a time, where they stream."""


@dataclass(frozen=True)
class Measurement:
    """One row: median seconds and their spread, and the most device memory that was allocated."""

    name: str
    seconds: float
    spread: float
    peak_gib: float


@dataclass(frozen=True)
class Size:
    """A clip in latents: T frames of H x W."""

    label: str
    T: int
    H: int
    W: int


def sizes(variant: Variant, resolutions: list[str]) -> list[Size]:
    latents = 1 + (NUM_FRAMES - 1) // 4
    return [
        Size(f"{resolution}p {NUM_FRAMES} frames", latents, height // 8, width // 8)
        for resolution in resolutions
        for height, width in [variant.sizes[resolution][ASPECT_RATIO]]
    ]


def randomised(network: nn.Module, device: torch.device) -> Any:
    """A network built on the meta device, with random bfloat16 weights on the device."""
    network = network.to(DTYPE).to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        is_scale = parameter.ndim == 1 or name.endswith("gamma")
        nn.init.ones_(parameter) if is_scale else nn.init.normal_(parameter, std=0.02)
    return network


def measure(name: str, call: Callable[[], object], device: torch.device) -> Measurement:
    """Median over repeats after one warm-up call."""
    synchronise: Callable[[], None] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    call()
    synchronise()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(NUM_REPEATS):
        start = time.perf_counter()
        call()
        synchronise()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
    row = Measurement(name, statistics.median(seconds), max(seconds) - min(seconds), peak)
    print(f"{row.name:64} {row.seconds:8.3f} s  +-{row.spread / 2:.3f}  {row.peak_gib:7.2f} GiB", flush=True)
    return row


def ours_step(net: MinimalDiT, size: Size, device: torch.device) -> Callable[[], Tensor]:
    x = torch.randn(1, 16, size.T, size.H, size.W, device=device, dtype=DTYPE)
    times = torch.rand(1, size.T, device=device, dtype=DTYPE)
    mask = torch.zeros(1, 1, size.T, size.H, size.W, device=device, dtype=DTYPE)
    mask[:, :, 0] = 1
    width = net.config.crossattn_emb_channels
    texts = [net.encode_text(torch.randn(1, TEXT_TOKENS, width, device=device, dtype=DTYPE)) for _ in range(2)]
    rope = net.rotary_table((size.T, size.H // 2, size.W // 2))

    def step() -> Tensor:
        cond, uncond = (net(x, times, text, condition_mask_B1THW=mask, rope=rope).float() for text in texts)
        return guide(cond, uncond, GUIDANCE)

    return step


def peer_step(net: Any, config: MinimalDiTConfig, size: Size, device: torch.device) -> Callable[[], Tensor]:
    channels = torch.randn(1, 18, size.T, size.H, size.W, device=device, dtype=DTYPE)
    times = torch.rand(1, 1, size.T, 1, 1, device=device, dtype=DTYPE)
    width = config.crossattn_emb_channels
    texts = [torch.randn(1, TEXT_TOKENS, width, device=device, dtype=DTYPE) for _ in range(2)]

    def step() -> Tensor:
        cond, uncond = (
            net(hidden_states=channels, timestep=times, encoder_hidden_states=text, fps=24, return_dict=False)[
                0
            ].float()
            for text in texts
        )
        return guide(cond, uncond, GUIDANCE)

    return step


def dit_rows(config: MinimalDiTConfig, clips: list[Size], device: torch.device, backend: str) -> list[Measurement]:
    with torch.device("meta"):
        net = MinimalDiT(config, backend)
    net = randomised(net, device)
    return [measure(f"DiT step, {size.label}, {backend}", ours_step(net, size, device), device) for size in clips]


def compiled_dit_rows(config: MinimalDiTConfig, size: Size, device: torch.device) -> list[Measurement]:
    """What torch.compile gains; the warm-up call is the one that compiles."""
    check_compiler(device)
    with torch.device("meta"):
        net = MinimalDiT(config, "sdpa")
    net = randomised(net, device)
    compile_blocks(net)
    rows = [measure(f"DiT step, {size.label}, sdpa, compiled", ours_step(net, size, device), device)]
    torch.compiler.reset()
    return rows


def streamed_dit_rows(config: MinimalDiTConfig, size: Size, device: torch.device) -> list[Measurement]:
    with torch.device("meta"):
        net = MinimalDiT(config, "sdpa")
    net = randomised(net, device)
    return streamed_rows(f"DiT step, {size.label}, sdpa", [net], ours_step(net, size, device), device)


def streamed_rows(
    name: str, networks: Sequence[nn.Module], step: Callable[[], Tensor], device: torch.device
) -> list[Measurement]:
    """A step while its networks, which are on the device, leave it and stream."""
    streams = [BlockStream(network, device) for network in networks]
    rows = []
    for num_blocks in STREAMED_BLOCKS:
        with ExitStack() as stack:
            for stream in streams:
                stream.num_resident = num_blocks
                stack.enter_context(stream)
            rows.append(measure(f"{name}, {num_blocks} blocks at a time", step, device))
    return rows


def sparse_rows(config: MinimalDiTConfig, variant: Variant, size: Size, device: torch.device) -> list[Measurement]:
    neighborhoods = [None if pattern == "-" else SPARSE_PATTERNS[pattern] for pattern in variant.sparse_layers]
    with torch.device("meta"):
        net = MinimalDiT(config, "sdpa", neighborhoods)
    step = ours_step(randomised(net, device), size, device)
    return [measure(f"DiT step, {size.label}, sparse", step, device)]


def peer_dit_rows(config: MinimalDiTConfig, clips: list[Size], device: torch.device) -> list[Measurement]:
    with torch.device("meta"):
        net = build_peer(config)
    net = randomised(net, device)
    return [
        measure(f"DiT step, {size.label}, diffusers", peer_step(net, config, size, device), device) for size in clips
    ]


def transfer_rows(
    base_config: GeneralDiTConfig, branch_config: ControlBranchConfig, size: Size, device: torch.device, count: int
) -> list[Measurement]:
    """A guided step of Transfer1 with `count` controls, on the device and streamed."""
    with torch.device("meta"):
        base = GeneralDiT(base_config)
        branches = [ControlBranch(branch_config) for _ in range(count)]
    base = randomised(base, device)
    branches = [randomised(branch, device) for branch in branches]
    x = _latents(size, device)
    times = torch.rand(1, device=device, dtype=DTYPE)
    mask = torch.zeros(1, 1, size.T, size.H, size.W, device=device, dtype=DTYPE)
    grid = (size.T, size.H // 2, size.W // 2)
    networks = [base, *branches]
    tables = [(net.rotary_table(grid, fps=24), net.position_embedding(grid)) for net in networks]
    hints = [branch.encode_hint(_latents(size, device)) for branch in branches]
    contexts = [
        torch.randn(1, TEXT_TOKENS, base_config.crossattn_emb_channels, device=device, dtype=DTYPE) for _ in range(2)
    ]
    texts = [[net.encode_text(context) for net in networks] for context in contexts]

    def predict(encoded: list[Any]) -> Tensor:
        residuals = (
            branch.residuals(x, times, text, hint, condition_mask_B1THW=mask, rope=rope, positions_THWD=positions)
            for branch, text, hint, (rope, positions) in zip(branches, encoded[1:], hints, tables[1:], strict=True)
        )
        rope, positions = tables[0]
        return base(
            x,
            times,
            encoded[0],
            condition_mask_B1THW=mask,
            rope=rope,
            positions_THWD=positions,
            control_residuals=sum_residuals((1 / count, each) for each in residuals),
        )

    def step() -> Tensor:
        return guide(predict(texts[0]), predict(texts[1]), GUIDANCE)

    name = f"Transfer1 step, {size.label}, {count} control(s)"
    return [measure(name, step, device), *streamed_rows(name, networks, step, device)]


def vae_rows(config: WanVAEConfig, clips: list[Size], device: torch.device) -> list[Measurement]:
    """Encoding of five frames, and decoding of the clip."""
    with torch.device("meta"):
        vae = WanVAE(config)
    vae = randomised(vae, device)
    rows = []
    for size in clips:
        five = torch.rand(1, 3, 5, 8 * size.H, 8 * size.W, device=device, dtype=DTYPE)
        rows.append(measure(f"VAE encode, {size.label}: first 5", partial(vae.encode, five), device))
        for chunk in (1, 4):
            decode = partial(vae.decode, _latents(size, device), chunk_latents=chunk)
            rows.append(measure(f"VAE decode, {size.label}, {chunk} latents at a time", decode, device))
    return rows


def peer_vae_rows(clips: list[Size], device: torch.device) -> list[Measurement]:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        vae = AutoencoderKLWan()
    vae = randomised(vae, device)
    return [
        measure(f"VAE decode, {size.label}, diffusers", partial(vae.decode, _latents(size, device)), device)
        for size in clips
    ]


def _latents(size: Size, device: torch.device) -> Tensor:
    return torch.randn(1, 16, size.T, size.H, size.W, device=device, dtype=DTYPE)


def all_rows(
    config: MinimalDiTConfig,
    vae_config: WanVAEConfig | None,
    variant: Variant,
    clips: list[Size],
    transfer: tuple[GeneralDiTConfig, ControlBranchConfig, Size],
    device: torch.device,
) -> Iterator[Measurement]:
    """Every row, one model on the device at a time."""
    backends = available_backends(device, DTYPE)
    jobs: list[Callable[[], list[Measurement]]] = [
        partial(dit_rows, config, clips, device, backend) for backend, missing in backends.items() if not missing
    ]
    if clips[-1].label.startswith("720"):
        jobs.append(partial(sparse_rows, config, variant, clips[-1], device))
    jobs.append(partial(compiled_dit_rows, config, clips[-1], device))
    jobs.append(partial(streamed_dit_rows, config, clips[-1], device))
    jobs.append(partial(peer_dit_rows, config, clips, device))
    if vae_config is not None:
        jobs += [partial(vae_rows, vae_config, clips, device), partial(peer_vae_rows, clips, device)]
    jobs += [partial(transfer_rows, *transfer, device, count) for count in (1, 4)]
    for backend, missing in backends.items():
        if missing:
            print(f"without {backend}: {missing}")
    for job in jobs:
        try:
            yield from job()
        except ImportError as error:
            print(f"without diffusers: {error}")
        except InputError as error:
            print(f"{job.func.__name__}: {error}")  # type: ignore[attr-defined]
        except torch.cuda.OutOfMemoryError:
            print(f"{job.func.__name__}: out of memory")  # type: ignore[attr-defined]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def table(rows: list[Measurement], settings: str) -> str:
    lines = [
        f"## {datetime.date.today()}: {settings}",
        "",
        "| case | s, median | spread | peak GiB |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {r.name} | {r.seconds:.3f} | {r.spread:.3f} | {r.peak_gib:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-size", default="2B", choices=("2B", "14B"))
    parser.add_argument("--resolutions", nargs="+", default=["480", "720"], choices=("480", "720"))
    parser.add_argument("--skip-vae", action="store_true", help="the DiT only")
    parser.add_argument("--write", action="store_true", help=f"add the table to {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, any device: does the benchmark itself run?")
    options = parser.parse_args()
    if not (options.smoke or torch.cuda.is_available()):
        print("no CUDA device here; --smoke runs the same code at toy size", file=sys.stderr)
        return 2
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variant = VARIANTS[options.model_size]
    config, vae_config = variant.dit, WanVAEConfig()
    clips = sizes(variant, options.resolutions)
    base_config = TRANSFER_VARIANTS["7B"].base(driving=False)
    branch_config = TRANSFER_VARIANTS["7B"].branch(driving=False)
    transfer_size = Size("704x1280 121 frames", 16, 88, 160)
    if options.smoke:
        toy = {"model_channels": 96, "num_heads": 2, "adaln_lora_dim": 8}
        base_config = replace(base_config, num_blocks=3, **toy)
        branch_config = replace(branch_config, num_blocks=2, hint_channels=16, **toy)
        transfer_size = Size("smoke", 2, 6, 8)
        config = replace(config, model_channels=96, num_heads=2, num_blocks=2, adaln_lora_dim=8)
        variant = replace(variant, sparse_layers="BE")
        vae_config = replace(vae_config, dim=4)
        clips = [Size("720p smoke", 2, 6, 8)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    settings = (
        f"{name}, torch {torch.__version__}, Predict2 {options.model_size} and Transfer1 7B, random weights, bfloat16, "
        f"batch 1, guidance {GUIDANCE} (two passes per step), {ASPECT_RATIO}, one warm-up, median of {NUM_REPEATS}; "
        "without loading, text encoding and guardrails"
    )
    print(settings)
    with torch.inference_mode():
        vae = None if options.skip_vae else vae_config
        transfer = (base_config, branch_config, transfer_size)
        rows = list(all_rows(config, vae, variant, clips, transfer, device))
    if options.write:
        earlier = RESULTS.read_text().rstrip() + "\n\n" if RESULTS.exists() else "# Measured\n\n"
        RESULTS.write_text(earlier + table(rows, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
