"""Guided generation: the sampler with parts of the picture held to a reference."""

from __future__ import annotations

from torch import Tensor

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.ab2 import Denoiser, level
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.injection import Injection
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_plugins.transfer1.guided.guidance import layers_of
from cosmos_plugins.transfer1.tiles import merge_tiles
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden

_MASKS = {"none": (), "room": ("fg_mask",), "wrist": ("bk_mask", "fg_mask")}


def guided_sampler(golden: Golden) -> Outputs:
    given, config = golden.inputs, golden.config
    conditioning = first_frames(given["condition_latent"], 1)
    noise = arch_invariant_noise(given["x0"].shape, config["seed"])

    def free(bias: Tensor, is_next: bool) -> Denoiser:
        def network(x: Tensor, c_noise: Tensor) -> Tensor:
            return 0.7 * x + bias * c_noise.tanh() + 0.2 * given["hint"]

        return lambda x, sigma: edm.denoise(network, x, sigma, conditioning if is_next else None, noise, dtype=x.dtype)

    def denoiser(is_next: bool) -> Denoiser:
        halves = free(given["bias_cond"], is_next), free(given["bias_uncond"], is_next)

        def guided(x: Tensor, sigma: Tensor) -> Tensor:
            x0 = guide(*(half(x, sigma) for half in halves), config["guidance"])
            return merge_tiles(x0[None], *x.shape[-2:])

        return guided

    def injection(case: str) -> Injection:
        masks = [given[name] for name in _MASKS[case]]
        return Injection(given["x0"], given["guide_noise"], layers_of(masks, config["sigma_threshold"]))

    def sampled(case: str, start: Tensor, sigma_max: float, *, is_next: bool = False) -> Tensor:
        sigmas = karras_sigmas(config["steps"], config["sigma_min"], sigma_max)
        return sample_res(injection(case).around(denoiser(is_next)), start, sigmas)

    start, sigma_max = given["init_noise"] * config["sigma_max"], config["sigma_max"]
    ours = {f"{case}.first_clip": sampled(case, start, sigma_max) for case in _MASKS}
    ours |= {f"{case}.next_clip": sampled(case, start, sigma_max, is_next=True) for case in _MASKS}
    ours["room.sigma_max20"] = sampled("room", given["x0"] + 20 * given["guide_noise"], 20)
    for name in golden.outputs:
        if name.startswith("denoise.wrist.sigma") and name.endswith(".xt"):
            sigma = level(float(name.removeprefix("denoise.wrist.sigma").removesuffix(".xt")), given["xt"])
            seen = injection("wrist")(given["xt"], sigma)
            ours[name] = seen
            ours[name.removesuffix("xt") + "x0"] = free(given["bias_cond"], is_next=False)(seen, sigma)
    return ours


ADAPTERS = {"guided/guided_sampler": Adapter(guided_sampler, whole_loop=True)}
