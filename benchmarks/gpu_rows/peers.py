"""diffusers' networks of the same shapes, where diffusers is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_rows.cases import Denoising, Tokenizing
from benchmarks.minimal_dit import build_peer
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.models.configs import MinimalDiTConfig, WanVAEConfig
from cosmos_cli.models.costs.text import TEXT_TOKENS


def dit(case: Denoising) -> nn.Module:
    """Raises ImportError without diffusers."""
    assert isinstance(case.dit, MinimalDiTConfig), "of Transfer1's networks diffusers has no counterpart"
    return build_peer(case.dit)


def denoising(case: Denoising, net: Any) -> Callable[[], Tensor]:
    """Both passes of a step, and the guidance between, where the network is and in its precision."""
    options: dict[str, Any] = {"device": net.device, "dtype": net.dtype}
    T, H, W = case.work.latents_THW
    channels = torch.randn(1, case.dit.in_channels + 2, T, H, W, **options)
    times = torch.rand(1, 1, T, 1, 1, **options)
    width = case.dit.crossattn_emb_channels
    texts = [torch.randn(1, TEXT_TOKENS, width, **options) for _ in range(2)]

    def velocity(text: Tensor) -> Tensor:
        [out] = net(hidden_states=channels, timestep=times, encoder_hidden_states=text, fps=24, return_dict=False)
        return out.float()

    return lambda: guide(velocity(texts[0]), velocity(texts[1]), case.guidance)


def tokenizer(case: Tokenizing) -> nn.Module:
    """Raises ImportError without diffusers."""
    from diffusers import AutoencoderKLCosmos, AutoencoderKLWan

    if not isinstance(case.tokenizer, WanVAEConfig):
        return AutoencoderKLCosmos()
    config = case.tokenizer
    return AutoencoderKLWan(
        base_dim=config.dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
    )


def tokenizing(case: Tokenizing, network: Any, tensor: Tensor) -> Callable[[], object]:
    """Encode pixels, or decode latents, of the whole clip."""
    return lambda: (network.encode if case.direction == "encode" else network.decode)(tensor)
