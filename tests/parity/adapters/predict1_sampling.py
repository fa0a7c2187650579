"""Predict1: its Euler sampling loops, with and without given frames."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.edm import Network, add_conditioning, free_below
from cosmos_cli.diffusion.edm_euler import (
    Predict,
    euler_sigmas,
    initial_scale,
    output_at_given_frames,
    sample_edm_euler,
    unconditioned,
)
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.generation.denoise import Side, guided_network
from cosmos_cli.generation.denoise import given as given_frames
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import general_dit_options
from tests.parity.golden import Golden


def _network(golden: Golden, net: str, part: str, *, condition_mask: bool) -> GeneralDiT:
    options = general_dit_options(golden.config[net], condition_mask=condition_mask)
    config = GeneralDiTConfig(**options, legacy_patch_emb="/training/" in golden.source)
    return network_from(golden, lambda: GeneralDiT(config), part, tuple(stored_constants(config)))


def _schedule(golden: Golden) -> Tensor:
    config = golden.config
    return euler_sigmas(config["steps"], config["sigma_min"], config["sigma_max"])


def _schedule_outputs(sigmas: Tensor, golden: Golden) -> Outputs:
    return {
        "init_noise_sigma": torch.tensor(initial_scale(golden.config["sigma_max"])),
        "scheduler.sigmas": sigmas,
        "scheduler.timesteps": edm.scaling(sigmas[:-1]).c_noise,
    }


def _sample(name: str, predict: Predict, sigmas: Tensor, golden: Golden, ours: Outputs) -> None:
    def keep(step: int, x: Tensor) -> None:
        ours[f"{name}.step{step}.xt_next"] = x

    start = golden.inputs["noise"] * initial_scale(golden.config["sigma_max"])
    ours[f"{name}.final"] = sample_edm_euler(predict, start, sigmas, keep)


def _guided(net: GeneralDiT, cond: Side, uncond: Side, golden: Golden) -> Network:
    given = golden.inputs
    return guided_network(
        net,
        cond,
        uncond,
        given["noise"].shape[2:],
        guidance=golden.config["guidance"],
        fps=given["fps"],
        dtype=torch.float32,
        padding_mask_B1HW=given["padding_mask"],
    )


def text_to_world(golden: Golden) -> Outputs:
    net, given, sigmas = _network(golden, "net", "", condition_mask=False), golden.inputs, _schedule(golden)
    text = given["t5_text_embeddings"]
    ours = _schedule_outputs(sigmas, golden)
    for name, other in (("negative", given["neg_t5_text_embeddings"]), ("uncond", torch.zeros_like(text))):
        _sample(name, unconditioned(_guided(net, Side(text), Side(other), golden)), sigmas, golden, ours)
    return ours


def video_to_world(golden: Golden) -> Outputs:
    net, given, sigmas = _network(golden, "net", "", condition_mask=True), golden.inputs, _schedule(golden)
    latents, noise = given["condition_latent"], given["augment_noise"]
    ours = _schedule_outputs(sigmas, golden)

    def predictor(count: int, augment: float, mask_is_guided: bool) -> Predict:
        conditioning = first_frames(latents, count)
        mask = conditioning.mask_B1T11
        uncond_mask = torch.zeros_like(mask) if mask_is_guided else mask
        cond, uncond = (Side(given["t5_text_embeddings"], mask), Side(given["neg_t5_text_embeddings"], uncond_mask))
        network = _guided(net, cond, uncond, golden)
        return given_frames(network, conditioning, noise, sigma_augment=augment, like_original=True)

    for name in golden.outputs:
        if run := re.fullmatch(r"(n(\d+)_aug([\d.]+)_addguid([01]))\.final", name):
            _sample(run[1], predictor(int(run[2]), float(run[3]), run[4] == "1"), sigmas, golden, ours)
        elif probe := re.fullmatch(r"augment\.sigma([\d.]+)\.new_xt", name):
            sigma, prefix = torch.tensor(float(probe[1])), name.removesuffix("new_xt")
            active = free_below(first_frames(latents, 2), sigma, 0.001)
            new_x = add_conditioning(given["xt"], sigma, active, noise, torch.tensor(0.001))
            ours[f"{prefix}new_xt"], ours[f"{prefix}indicator"] = new_x, active.mask_B1T11
            ours[f"{prefix}latent_unscaled"] = output_at_given_frames(latents, new_x, sigma)
    return ours


ADAPTERS = {
    "predict1/generate_t2w": Adapter(
        text_to_world, whole_loop=True, sources=("DiffusionT2WModel.generate_samples_from_batch",)
    ),
    "predict1/generate_v2w": Adapter(
        video_to_world, whole_loop=True, sources=("DiffusionV2WModel.generate_samples_from_batch",)
    ),
}
