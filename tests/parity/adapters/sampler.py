"""Samplers with closed-form denoisers, and noise."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.schedules import karras_sigmas
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden


def ab2_sampler(golden: Golden) -> Outputs:
    bias, noise, rho = golden.inputs["bias"], golden.inputs["noise"], golden.config["order"]

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma**2) + bias.to(x.dtype) * sigma**2 / (1 + sigma**2)

    ours: Outputs = {}
    for name in golden.outputs:
        *limits, case = _ab2_case(name)
        sigmas = karras_sigmas(int(case.split(".")[0].lstrip("abcdefghijklmnopqrstuvwxyz")), *limits, rho)
        if case.startswith("sigmas"):
            ours[name] = sigmas
        else:
            start = noise * limits[1]
            ours[name] = sample_ab2(denoiser, start.double() if case.endswith("f64") else start, sigmas)
    return ours


def _ab2_case(name: str) -> tuple[float, float, str]:
    """ "min0.002.max80.steps5.f64" -> 0.002, 80.0, "steps5.f64"."""
    low, _, rest = name.removeprefix("min").partition(".max")
    cut = min(rest.index(word) for word in (".steps", ".sigmas") if word in rest)
    return float(low), float(rest[:cut]), rest[cut + 1 :]


def invariant_noise(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for name in golden.outputs:
        seed, shape = name.removeprefix("sha256.").removeprefix("seed").removesuffix(".first64").split(".")
        noise = arch_invariant_noise([int(n) for n in shape.split("x")], int(seed))
        if name.startswith("sha256."):
            digest = hashlib.sha256(noise.numpy().tobytes()).digest()
            ours[name] = torch.tensor(list(digest), dtype=torch.uint8)
        else:
            ours[name] = noise.flatten()[:64]
    return ours


ADAPTERS = {
    "sampler/predict2_ab2": Adapter(ab2_sampler, sources=("RectifiedFlowAB2Scheduler",)),
    "sampler/arch_invariant_noise": Adapter(invariant_noise, sources=("arch_invariant_rand",)),
}
