"""Video tokenizers."""

from __future__ import annotations

import torch

from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer, LatentStatistics
from cosmos_cli.models.configs import CosmosTokenizerConfig, WanVAEConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.cosmos_tokenizer_files import STORED_CONSTANTS
from cosmos_cli.models.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE
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


def cosmos_tokenizer_from(golden: Golden, part: str = "") -> CosmosTokenizer:
    given = golden.config["network"]
    config = CosmosTokenizerConfig(
        channels=given["channels"],
        channels_mult=tuple(given["channels_mult"]),
        num_res_blocks=given["num_res_blocks"],
        z_channels=given["z_channels"],
        latent_channels=given["latent_channels"],
        patch_size=given["patch_size"],
        spatial_compression=given["spatial_compression"],
        temporal_compression=given["temporal_compression"],
    )
    return network_from(golden, lambda: CosmosTokenizer(config), part, tuple(STORED_CONSTANTS))


def cosmos_tokenizer(golden: Golden) -> Outputs:
    tokenizer, given = cosmos_tokenizer_from(golden), golden.inputs
    ours: Outputs = {}
    for name in golden.outputs:
        case, _, count = name.partition(".")
        number = int(count[1:])
        if case == "decode":
            ours[name] = tokenizer.decode(given["latent"][:, :, :number])
        else:
            latents = tokenizer.encode(given["video"][:, :, :number])
            ours[name] = tokenizer.decode(latents) if case == "reconstruct" else latents
    return ours


def mean_std_wrapper(golden: Golden) -> Outputs:
    given, dtype = golden.inputs, getattr(torch, golden.config["dtype"])
    network = cosmos_tokenizer_from(golden).to(dtype)
    statistics = LatentStatistics(given["mean"], given["std"])
    plain, scaled = (
        ChunkedTokenizer(network, statistics, chunk_frames=golden.config["pixel_chunk_duration"], sigma_data=sigma_data)
        for sigma_data in (1.0, 0.5)
    )
    ours: Outputs = {
        "num_frames.latent": torch.tensor([plain.num_latent_frames(plain.chunk_frames * n or 1) for n in range(3)]),
        "num_frames.pixel": torch.tensor([plain.num_frames(plain.chunk_latents * n or 1) for n in range(3)]),
    }
    for name in golden.outputs.keys() - ours.keys():
        case, _, count = name.rpartition("_")
        tokenizer = scaled if case.startswith("model_") else plain
        num_chunks = int(count.removesuffix("s").removesuffix("chunk"))
        if case.endswith("decode"):
            ours[name] = tokenizer.decode(given["latent"][:, :, : num_chunks * tokenizer.chunk_latents])
        else:
            ours[name] = tokenizer.encode(given["video"][:, :, : num_chunks * tokenizer.chunk_frames])
    return ours


ADAPTERS = {
    "tokenizer/wan21_vae": Adapter(wan_vae, sources=("VAE_",)),
    "tokenizer/cosmos_cv8x8x8": Adapter(cosmos_tokenizer, sources=("CausalContinuousVideoTokenizer",)),
    "tokenizer/cosmos_mean_std_wrapper": Adapter(mean_std_wrapper, sources=("VideoJITTokenizer",)),
}
