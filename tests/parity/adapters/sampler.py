"""Samplers with closed-form denoisers, and noise."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import torch
from torch import Tensor

from cosmos_cli.diffusion import edm, edm_euler
from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.res_sampler import Solver, sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden


def _denoiser(bias: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma**2) + bias.to(x.dtype) * sigma**2 / (1 + sigma**2)

    return denoiser


def ab2_sampler(golden: Golden) -> Outputs:
    denoiser, noise, rho = _denoiser(golden.inputs["bias"]), golden.inputs["noise"], golden.config["order"]
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


def res_sampler(golden: Golden) -> Outputs:
    denoiser, noise, config = _denoiser(golden.inputs["bias"]), golden.inputs["noise"], golden.config
    sigma_min, rho = config["sigma_min"], config["rho"]

    def sampled(solver: Solver, sigma_max: float, num_steps: int, dtype: str) -> Tensor:
        start = noise * sigma_max
        sigmas = karras_sigmas(num_steps, sigma_min, sigma_max, rho)
        return sample_res(denoiser, start.double() if dtype == "f64" else start, sigmas, solver=solver)

    ours: Outputs = {}
    for name in golden.outputs:
        if schedule := re.fullmatch(r"sigmas\.min([\d.]+)\.max([\d.]+)\.rho([\d.]+)\.n(\d+)", name):
            low, high, power, count = schedule.groups()
            ours[name] = karras_sigmas(int(count), float(low), float(high), float(power))
        elif case := re.fullmatch(r"2ab\.sigma_max([\d.]+)\.steps(\d+)\.(f\d+)", name):
            ours[name] = sampled("2ab", float(case[1]), int(case[2]), case[3])
        elif case := re.fullmatch(r"solver\.(2ab|1euler|2mid)\.steps(\d+)\.(f\d+)", name):
            # the original counts evaluations, of which the midpoint rule needs two per update
            num_steps = int(case[2]) // (2 if case[1] == "2mid" else 1)
            ours[name] = sampled(case[1], 80.0, num_steps, case[3])  # type: ignore[arg-type]
        elif case := re.fullmatch(r"predict2_2ab\.steps(\d+)\.(f\d+)", name):
            ours[name] = sampled("2ab", 80.0, int(case[1]), case[2])
    return ours


def edm_euler_sampler(golden: Golden) -> Outputs:
    given, config = golden.inputs, golden.config
    limits = config["sigma_min"], config["sigma_max"], config["rho"]
    sigma_data, sigma = config["sigma_data"], given["sigma"][:, None]

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        return 0.5 * x + given["bias"].to(x.dtype) * timestep.cos()

    ours: Outputs = {
        "init_noise_sigma": torch.tensor(edm_euler.initial_scale(config["sigma_max"])),
        "precondition_inputs": given["x"] * edm.scaling(sigma, sigma_data).c_in,
        "precondition_outputs": edm.precondition_output(given["x"], given["o"], sigma, sigma_data),
    }
    for name in golden.outputs:
        case = re.fullmatch(r"(sigmas|timesteps|steps)(\d+)(?:\.(f\d+))?", name)
        if case is None:
            continue
        sigmas = edm_euler.euler_sigmas(int(case[2]), *limits)
        if case[1] == "sigmas":
            ours[name] = sigmas
        elif case[1] == "timesteps":
            ours[name] = edm.scaling(sigmas[:-1], sigma_data).c_noise
        else:
            start = given["noise"] * edm_euler.initial_scale(config["sigma_max"])
            start = start.double() if case[3] == "f64" else start
            ours[name] = edm_euler.sample_edm_euler(edm_euler.unconditioned(network), start, sigmas)
    return ours


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
    "sampler/res_2ab": Adapter(res_sampler, whole_loop=True, sources=("Sampler",)),
    "sampler/predict1_edm_euler": Adapter(edm_euler_sampler, sources=("cosmos_predict1/diffusion/model/model_t2w.py",)),
    "sampler/arch_invariant_noise": Adapter(invariant_noise, sources=("arch_invariant_rand",)),
}
