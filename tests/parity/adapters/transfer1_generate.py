"""Transfer1: whole generation loops in latent space, with the denoisers that the pipeline uses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.diffusion import edm
from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.diffusion.guidance import guide
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import first_frames
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, SharedInputs, TiledDenoiser
from cosmos_plugins.transfer1.tiles import merge_tiles
from cosmos_plugins.transfer1.weights import normalise_maps, to_patch_grid
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import general_dit_options
from tests.parity.golden import Golden


class Loop:
    """The networks and inputs of a golden file, and how a loop over them is run."""

    def __init__(self, golden: Golden) -> None:
        self.config, self.given = golden.config, golden.inputs
        ctrl = golden.config["ctrl"]
        is_video = ctrl["in_channels"] == 17
        base = GeneralDiTConfig(**general_dit_options(golden.config["base"], condition_mask=is_video))
        options = general_dit_options(ctrl, condition_mask=is_video)
        options["num_blocks"] = ctrl["layer_mask"].index(True)
        branch = ControlBranchConfig(**options, hint_channels=ctrl["hint_channels"])
        self.base: GeneralDiT = network_from(golden, lambda: GeneralDiT(base), "base.", tuple(stored_constants(base)))
        count = golden.config.get("num_controls", 1)
        parts = ["ctrl."] if count == 1 else [f"ctrl{i}." for i in range(count)]
        self.branches: list[ControlBranch] = [
            network_from(golden, lambda: ControlBranch(branch), part, tuple(stored_constants(branch))) for part in parts
        ]
        hint = self.given["latent_hint"]
        self.hints = [hint] if hint.ndim == 5 else list(hint.unbind(1))
        self.text, self.negative = self.given["t5_text_embeddings"], self.given["neg_t5_text_embeddings"]

    def denoiser(
        self,
        weights: list[Any] | None = None,
        *,
        negative: Tensor | None = None,
        guidance: float | None = None,
        num_given: int = 0,
        text: Tensor | None = None,
    ) -> ControlledDenoiser:
        hints = self._hints(self.hints, weights or [1.0] * len(self.hints))
        return ControlledDenoiser(
            self._shared(hints, text=text, negative=negative, guidance=guidance),
            hints,
            conditioning=first_frames(self.given["lat"], num_given) if num_given else None,
            noise_BCTHW=arch_invariant_noise(self.hints[0].shape, self.config["seed"]) if num_given else None,
            dtype=torch.float32,
        )

    def tiles(self) -> list[ControlledDenoiser]:
        """One for each tile; the hints hold the tiles along the batch axis."""
        by_tile = zip(*(hint.split(1) for hint in self.hints), strict=True)
        tiles = [self._hints(hints, [1.0] * len(hints)) for hints in by_tile]
        shared = self._shared(list(chain.from_iterable(tiles)))
        return [ControlledDenoiser(shared, hints, dtype=torch.float32) for hints in tiles]

    def _hints(self, latents: Sequence[Tensor], weights: list[Any]) -> list[Hint]:
        return [Hint(*parts) for parts in zip(self.branches, latents, weights, strict=True)]

    def _shared(
        self,
        hints: list[Hint],
        *,
        text: Tensor | None = None,
        negative: Tensor | None = None,
        guidance: float | None = None,
    ) -> SharedInputs:
        return SharedInputs.of(
            self.base,
            hints,
            self.hints[0].shape[2:],
            self.text if text is None else text,
            self.negative if negative is None else negative,
            guidance=self.config.get("guidance", 0.0) if guidance is None else guidance,
            fps=float(self.given["fps"]),
        )

    def sample(self, denoiser: Denoiser, start: Tensor, sigma_max: float) -> Tensor:
        if self.base.config.condition_mask and isinstance(denoiser, ControlledDenoiser):
            denoiser = TiledDenoiser([denoiser], *start.shape[-2:])
        sigma_min = self.config.get("sigma_min_sampler", 0.002)
        return sample_res(denoiser, start, karras_sigmas(self.config["steps"], sigma_min, sigma_max))


def generate_single(golden: Golden) -> Outputs:
    loop, given = Loop(golden), golden.inputs
    sigma_max = float(golden.config["sigma_max"])
    noise = given["noise"] * sigma_max
    ours: Outputs = {
        "first_clip": loop.sample(loop.denoiser(), noise, sigma_max),
        "next_clip_cond1": loop.sample(loop.denoiser(num_given=1), noise, sigma_max),
        "uncond_not_negative": loop.sample(loop.denoiser(negative=torch.zeros_like(loop.negative)), noise, sigma_max),
        "none_hint_uncond": loop.sample(_without_hint_in_uncond(loop), noise, sigma_max),
    }
    for name in golden.outputs:
        if name.startswith("weight"):
            weights: list[Any] = [float(name.removeprefix("weight"))]
            ours[name] = loop.sample(loop.denoiser(weights), noise, sigma_max)
        elif name.endswith(".x_sigma_max"):
            case = name.partition(".")[0]
            level = float(case.removeprefix("sigma_max"))
            ours[name] = given["lat"] + given["clean_noise"] * level
            ours[f"{case}.final"] = loop.sample(loop.denoiser(), ours[name], level)
        elif name.startswith("denoise.") and name.endswith(".x0"):
            _single_evaluation(loop, name.removesuffix(".x0"), ours)
    return ours


def _without_hint_in_uncond(loop: Loop) -> Denoiser:
    """The originals' unused switch: no control in the unconditional pass."""
    cond, uncond = loop.denoiser(guidance=0.0), loop.denoiser([0.0], guidance=0.0, text=loop.negative)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        x0 = guide(cond(x, sigma), uncond(x, sigma), loop.config["guidance"])
        return merge_tiles(x0[None])

    return denoiser


def _single_evaluation(loop: Loop, name: str, ours: Outputs) -> None:
    sigma = torch.tensor(float(name.removeprefix("denoise.sigma")))
    given, conditioning = loop.given, first_frames(loop.given["lat"], 1)
    ours[f"{name}.x0"] = loop.denoiser(num_given=1, guidance=0.0)(given["xt"], sigma)
    noise = arch_invariant_noise(given["xt"].shape, loop.config["seed"])
    augment = torch.tensor(edm.SIGMA_AUGMENT)
    ours[f"{name}.net_in_xt"] = edm.add_conditioning(given["xt"], sigma, conditioning, noise, augment)


def generate_multi(golden: Golden) -> Outputs:
    loop, given = Loop(golden), golden.inputs
    start = given["noise"] * 80
    maps = list(given["weight_maps"])
    t, h, w = given["noise"].shape[2:]
    resized = to_patch_grid(normalise_maps(maps, *maps[0].shape), (t, h // 2, w // 2))
    return {
        "scalar": loop.sample(loop.denoiser(given["scalar_weights"].tolist()), start, 80.0),
        "map.normalised_resized": resized,
        "map": loop.sample(loop.denoiser(list(resized.float())), start, 80.0),
    }


def generate_text_to_video(golden: Golden) -> Outputs:
    loop = Loop(golden)
    return {"final": loop.sample(loop.denoiser(), golden.inputs["noise"] * 80, 80.0)}


def generate_patches(golden: Golden) -> Outputs:
    loop, given, config = Loop(golden), golden.inputs, golden.config
    patches = loop.sample(TiledDenoiser(loop.tiles(), *config["target"]), given["x_sigma_max"], config["sigma_max"])
    return {"patches": patches, "merged": merge_tiles(patches[:, None], *config["target"])}


def distilled(golden: Golden) -> Outputs:
    loop = Loop(golden)
    sigma = torch.tensor(float(golden.config["sigma_max"]))
    start = golden.inputs["noise"] * sigma
    return {f"cond{count}": loop.denoiser(num_given=count, guidance=0.0)(start, sigma) for count in (0, 1)}


ADAPTERS = {
    "transfer1/generate_single": Adapter(
        generate_single, whole_loop=True, sources=("VideoDiffusionModelWithCtrl.generate_samples_from_batch",)
    ),
    "transfer1/generate_multi": Adapter(generate_multi, whole_loop=True),
    "transfer1/generate_t2v_hdmap": Adapter(
        generate_text_to_video, whole_loop=True, sources=("VideoDiffusionT2VModelWithCtrl",)
    ),
    "transfer1/generate_upscale_patches": Adapter(generate_patches, whole_loop=True),
    "transfer1/distilled_one_step": Adapter(distilled, sources=("VideoDistillModelWithCtrl",)),
}
