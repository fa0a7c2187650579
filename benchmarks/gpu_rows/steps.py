"""From a row's data to something to call: networks with random weights in bfloat16, and one step of what they do."""

# B batch, V views, C channels, T latent frames, F pixel frames, H and W height and width
# L text positions, D embedding width

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_rows import peers
from benchmarks.gpu_rows.cases import (
    AttentionAlone,
    Denoising,
    EncodingText,
    HostToDevice,
    MatrixProducts,
    Tokenizing,
)
from cosmos_cli.diffusion import edm, rectified_flow
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.models.configs import (
    DiTConfig,
    MinimalDiTConfig,
    MultiViewConfig,
    WanVAEConfig,
)
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.costs.text import TEXT_TOKENS
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.wan_vae import WanVAE
from cosmos_cli.runtime.attention import load_backend
from cosmos_cli.runtime.compiling import check_compiler, compile_blocks
from cosmos_cli.runtime.memory.streaming import BlockStream

DTYPE = torch.bfloat16
SIGMA = 5.0
"""Noise level of the step; the work is the same at every level."""

Call = Callable[[], object]

_NETWORKS: dict[str, type[nn.Module]] = {
    "MinimalDiTConfig": MinimalDiT,
    "MinimalMultiviewDiTConfig": MinimalMultiviewDiT,
    "GeneralDiTConfig": GeneralDiT,
    "MultiViewConfig": MultiViewDiT,
    "ControlBranchConfig": ControlBranch,
    "MultiViewControlBranchConfig": MultiViewControlBranch,
}


@singledispatch
def prepare(case: Any, device: torch.device, stack: ExitStack) -> Call:
    """Build a case's networks on a device and return what is to be measured.

    Args:
        stack: holds what must be undone afterwards, and whatever streams.
    Raises:
        InputError: a backend or compiler is not there. ImportError: a package is not.
    """
    raise TypeError(f"nothing is known about a {type(case).__name__}")


def randomised(build: Callable[[], nn.Module], device: torch.device, *, host: bool = False) -> Any:
    """A network of random weights, built without any.

    Args:
        host: leave the weights in host memory; they are drawn on the device all the same, which is far faster.
    """
    with torch.device("meta"):
        network = build()
    network = network.to(DTYPE).to_empty(device="cpu" if host else device).eval().requires_grad_(False)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        is_scale = tensor.ndim == 1 or name.endswith("gamma")
        if not tensor.is_floating_point():
            tensor.zero_()
        elif is_scale:
            tensor.fill_(1.0)
        elif host:
            tensor.copy_(torch.empty(tensor.shape, dtype=tensor.dtype, device=device).normal_(std=0.02))
        else:
            tensor.normal_(std=0.02)
    return network


@prepare.register
def _(case: Denoising, device: torch.device, stack: ExitStack) -> Call:
    if case.is_peer:
        return peers.denoising(case, randomised(lambda: peers.dit(case), device))
    load_backend(case.attention, device, DTYPE)
    if case.compiler == "inductor":
        check_compiler(device)
    is_streamed = case.num_resident is not None
    neighborhoods = {"neighborhoods": case.neighborhoods} if case.neighborhoods else {}
    net = randomised(lambda: _network(case.dit, case.attention, **neighborhoods), device, host=is_streamed)
    branches = [
        randomised(lambda: _network(case.branch, case.attention), device, host=is_streamed)
        for _ in range(case.num_controls)
    ]
    for network in (net, *branches):
        if is_streamed:
            stack.enter_context(BlockStream(network, device, num_resident=case.num_resident))
        if case.compiler:
            compile_blocks(network, backend=case.compiler)
    if case.compiler:
        stack.callback(torch.compiler.reset)
    step = _minimal_step if isinstance(case.dit, MinimalDiTConfig) else _general_step
    return step(case, net, branches, device)


def _network(config: DiTConfig | None, attention: str, **options: Any) -> nn.Module:
    return _NETWORKS[type(config).__name__](config, attention, **options)


def _minimal_step(case: Denoising, net: MinimalDiT, branches: list[Any], device: torch.device) -> Call:
    """A step of Predict2, as its pipelines take it: the first latent frame is given."""
    latents, x, sigma = _state(case, device)
    conditioning = first_frames(latents, 1)
    mask = conditioning.mask_B1T11.expand(-1, -1, -1, *latents.shape[3:]).to(DTYPE)
    rope = net.rotary_table(case.grid, fps=case.clip.fps)
    texts = [net.encode_text(_context(case, device)) for _ in range(2)]

    def x0(text: Any) -> Tensor:
        def velocity(scaled: Tensor, timesteps: Tensor) -> Tensor:
            return net(scaled, timesteps, text, condition_mask_B1THW=mask, rope=rope)

        return rectified_flow.denoise(velocity, x, sigma, conditioning, dtype=DTYPE)

    return lambda: guide(x0(texts[0]), x0(texts[1]), case.guidance)


def _general_step(case: Denoising, net: GeneralDiT, branches: list[ControlBranch], device: torch.device) -> Call:
    """A step of Transfer1, as its pipelines take it: the first latent frame is given, hints are encoded before."""
    latents, x, sigma = _state(case, device)
    conditioning, noise = first_frames(latents, 1), torch.randn_like(latents)
    mask = conditioning.mask_B1T11.expand(-1, -1, -1, *latents.shape[3:]).to(DTYPE)
    networks: list[Any] = [net, *branches]
    tables = []
    for network in networks:
        views = {"views_BEVT": network.encode_views()} if isinstance(case.dit, MultiViewConfig) else {}
        rope = network.rotary_table(case.grid, fps=case.clip.fps)
        tables.append({"rope": rope, "positions_THWD": network.position_embedding(case.grid), **views})
    contexts = [_context(case, device) for _ in range(2)]
    texts = [[network.encode_text(context) for network in networks] for context in contexts]
    # those of all tiles are held, and the first is denoised
    hints = [[branch.encode_hint(latents.to(DTYPE)) for branch in branches] for _ in range(case.num_tiles)]

    def x0(encoded: list[Any]) -> Tensor:
        def network(scaled: Tensor, c_noise: Tensor) -> Tensor:
            times = c_noise.expand(scaled.shape[0])
            residuals = (
                (1 / len(branches), branch.residuals(scaled, times, text, hint, condition_mask_B1THW=mask, **table))
                for branch, text, hint, table in zip(branches, encoded[1:], hints[0], tables[1:], strict=True)
            )
            options: dict[str, Any] = {"condition_mask_B1THW": mask, "control_residuals": sum_residuals(residuals)}
            return net(scaled, times, encoded[0], **tables[0], **options)

        return edm.denoise(network, x, sigma, conditioning, noise, dtype=DTYPE)

    return lambda: guide(x0(texts[0]), x0(texts[1]), case.guidance)


def _state(case: Denoising, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Clean latents, noisy ones and their noise level, float32 as samplers hold them."""
    latents = torch.randn(1, case.dit.in_channels, *case.work.latents_THW, device=device)
    return latents, SIGMA * torch.randn_like(latents), torch.tensor(SIGMA, device=device)


def _context(case: Denoising, device: torch.device) -> Tensor:
    """Embeddings of the prompt, or of those of all views."""
    views, width = case.clip.num_views, case.dit.crossattn_emb_channels
    shape = (1, TEXT_TOKENS, width) if views == 1 else (1, views * TEXT_TOKENS, width)
    context = torch.randn(shape, device=device, dtype=DTYPE)
    is_apart = views > 1 and isinstance(case.dit, MinimalDiTConfig)
    return context.unflatten(1, (views, TEXT_TOKENS)) if is_apart else context


@prepare.register
def _(case: Tokenizing, device: torch.device, stack: ExitStack) -> Call:
    tensor = _pixels_or_latents(case, device)
    if case.is_peer:
        return peers.tokenizing(case, randomised(lambda: peers.tokenizer(case), device), tensor)
    config: Any = case.tokenizer
    is_wan = isinstance(config, WanVAEConfig)
    network = randomised(lambda: WanVAE(config) if is_wan else CosmosTokenizer(config), device)
    if case.direction == "encode":
        return lambda: network.encode(tensor)
    if not is_wan:
        return lambda: network.decode(tensor)

    def decode() -> None:
        for _ in network.decode_chunks(tensor):  # each leaves the device before the next, as in a run
            pass

    return decode


def _pixels_or_latents(case: Tokenizing, device: torch.device) -> Tensor:
    """Pixels to encode, or latents to decode."""
    if case.direction == "encode":
        shape = (1, 3, *case.work.clip_px)
        return torch.rand(shape, device=device, dtype=DTYPE) * 2 - 1
    return torch.randn(1, 16, *case.latents_THW, device=device, dtype=DTYPE)


@prepare.register
def _(case: EncodingText, device: torch.device, stack: ExitStack) -> Call:
    from transformers import T5Config, T5EncoderModel

    model = randomised(lambda: T5EncoderModel(T5Config(**vars(case.encoder))), device)
    tokens = torch.randint(case.encoder.vocab_size, (1, TEXT_TOKENS), device=device)
    mask = torch.ones_like(tokens)
    return lambda: model(input_ids=tokens, attention_mask=mask).last_hidden_state


@prepare.register
def _(case: MatrixProducts, device: torch.device, stack: ExitStack) -> Call:
    left, right = (torch.randn(case.size, case.size, device=device, dtype=DTYPE) for _ in range(2))
    product = torch.empty_like(left)

    def multiply() -> None:
        for _ in range(case.repeats):
            torch.mm(left, right, out=product)

    return multiply


@prepare.register
def _(case: AttentionAlone, device: torch.device, stack: ExitStack) -> Call:
    attend = load_backend(case.attention, device, DTYPE)
    shape = (1, case.tokens, case.num_heads, case.head_dim)
    q_BLHD, k_BLHD, v_BLHD = (torch.randn(shape, device=device, dtype=DTYPE) for _ in range(3))

    def attention() -> None:
        for _ in range(case.repeats):
            attend(q_BLHD, k_BLHD, v_BLHD)

    return attention


@prepare.register
def _(case: HostToDevice, device: torch.device, stack: ExitStack) -> Call:
    host = torch.empty(case.num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda").fill_(1)
    target = torch.empty_like(host, device=device)

    def copy() -> None:
        for _ in range(case.repeats):
            target.copy_(host, non_blocking=True)

    return copy
