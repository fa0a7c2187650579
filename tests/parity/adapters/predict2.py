"""Predict2: the minimal DiT, its preconditioning, the sampling loop and the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.diffusion import rectified_flow
from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, denoise, first_frames
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.resize import cover_and_crop
from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.minimal_dit import MinimalDiT, stored_constants
from cosmos_plugins.predict2.denoise import guided_by_texts
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.tokenizer import wan_vae_from
from tests.parity.golden import Golden


def dit_config(golden: Golden) -> MinimalDiTConfig:
    known = {field.name for field in fields(MinimalDiTConfig)}
    video = "text2image" not in golden.source
    return MinimalDiTConfig(**{k: v for k, v in golden.config["net"].items() if k in known}, condition_mask=video)


def _dit(golden: Golden, part: str = "") -> MinimalDiT:
    config = dit_config(golden)
    return network_from(golden, lambda: MinimalDiT(config), part, tuple(stored_constants(config)))


def _grid(dit: MinimalDiT, x_BCTHW: Tensor) -> tuple[int, int, int]:
    frames, rows, columns = (n // p for n, p in zip(x_BCTHW.shape[2:], dit.config.patch_THW, strict=True))
    return frames, rows, columns


def dit(golden: Golden) -> Outputs:
    net, given = _dit(golden), golden.inputs
    x, timesteps, text, padding = given["x"], given["timesteps"], given["crossattn_emb"], given["padding_mask"]
    mask, grid = given.get("condition_mask"), _grid(net, given["x"])

    def run(network: MinimalDiT, dtype: torch.dtype, **options: Any) -> Tensor:
        # the golden bfloat16 run kept its rotary table in float32
        rope = network.rotary_table(grid, dtype=torch.float32, fps=options.get("fps"))
        return network(
            x.to(dtype),
            timesteps.to(dtype),
            text.to(dtype),
            condition_mask_B1THW=mask,
            padding_mask_B1HW=padding,
            rope=rope,
        )

    ours: Outputs = {}
    for name in golden.outputs:
        if name.startswith("y_fps"):
            ours[name] = run(net, torch.float32, fps=float(name.removeprefix("y_fps")))
    if "rope_emb" in golden.outputs:
        # the original's layout: every angle twice, one row per token
        angles_LR = net.rope_angles(grid, fps=given.get("fps"))
        ours["rope_emb"] = torch.cat([angles_LR, angles_LR], dim=-1)[:, None, None]
    if "y" in golden.outputs:
        with _traces(net, ours):
            ours["y"] = run(net, torch.float32, fps=given.get("fps"))
    if "y_image" in golden.outputs:
        ours["y_image"] = net(x[:, :, :1], timesteps[:, :1], text, padding_mask_B1HW=padding)
    if "y_bf16" in golden.outputs:
        ours["y_bf16"] = run(net.to(torch.bfloat16), torch.bfloat16, fps=given.get("fps"))
    return ours


class _traces:
    """Records hidden states of a forward pass under the names of the golden files."""

    def __init__(self, net: MinimalDiT, into: Outputs) -> None:
        self.net, self.into, self.hooks = net, into, []

    def __enter__(self) -> None:
        def keep(name: str, pick: Callable[[Any], Tensor] = lambda out: out) -> Any:
            return lambda _module, _args, out: self.into.__setitem__(f"trace.{name}", pick(out).clone())

        net = self.net
        self.hooks = [
            net.x_embedder.register_forward_hook(keep("x_embedded")),
            net.t_embedding_norm.register_forward_hook(keep("t_embedding")),
            *(block.register_forward_hook(keep(f"block{i}")) for i, block in enumerate(net.blocks)),
        ]
        if net.config.use_adaln_lora:
            self.hooks.append(net.t_embedder.register_forward_hook(keep("adaln_lora", lambda out: out[1])))

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def preconditioned_denoise(golden: Golden) -> Outputs:
    net, given = _dit(golden), golden.inputs
    x, latents, sigmas = given["xt"], given["gt_latent"], given["sigmas"]
    ours: Outputs = {f"scaling.{k}": v for k, v in rectified_flow.scaling(given["scaling_sigma"])._asdict().items()}
    ours["scaling.loss_weight_uniform"] = rectified_flow.uniform_loss_weight(given["scaling_sigma"])
    ours["scaling.loss_weight_bell"] = rectified_flow.bell_loss_weight(given["scaling_sigma"])

    def x0_of(conditioning: Conditioning, sigma: Tensor) -> Tensor:
        def velocity(scaled: Tensor, timesteps: Tensor) -> Tensor:
            mask = conditioning.mask_B1T11.expand(-1, -1, -1, *scaled.shape[3:])
            return net(
                scaled,
                timesteps,
                given["crossattn_emb"],
                condition_mask_B1THW=mask,
                padding_mask_B1HW=given["padding_mask"],
            )

        return denoise(velocity, x, sigma, conditioning, dtype=torch.float32)

    for count in range(3):
        conditioning = first_frames(latents, count)
        for i, sigma in enumerate(sigmas):
            x0 = x0_of(conditioning, sigma)
            ours[f"cond{count}.sigma{i}.x0"] = x0
            ours[f"cond{count}.sigma{i}.eps"] = (x - x0) / sigma
            # the original can hide the picture from the network and still keep it in the result
            mask = conditioning.mask_B1T11
            hidden = x0_of(Conditioning(torch.zeros_like(latents), mask), sigma)
            ours[f"cond{count}_dropped.sigma{i}.x0"] = mask * latents + (1 - mask) * hidden
    return ours


def sampler_loop(golden: Golden) -> Outputs:
    net, given, config = _dit(golden), golden.inputs, golden.config
    sigmas = karras_sigmas(config["steps"], config["sigma_min"], config["sigma_max"], config["order"])
    latents, text = given["gt_latent"], given["crossattn_emb"]
    ours: Outputs = {"sigmas": sigmas}
    for count in range(3):
        for label, negative in (("negative", given["neg_crossattn_emb"]), ("uncond", torch.zeros_like(text))):
            conditioning = first_frames(latents, count)
            denoiser = guided_by_texts(
                net, text, negative, conditioning, guidance=config["guidance"], dtype=torch.float32
            )
            noise = arch_invariant_noise(latents.shape, config["seed"]) * config["sigma_max"]
            name = f"cond{count}.{label}"

            def keep(step: int, x: Tensor, name: str = name) -> None:
                ours[f"{name}.step{step}.sample"] = x

            ours[f"{name}.final"] = sample_ab2(denoiser, noise, sigmas, keep)
    return ours


def end_to_end(golden: Golden) -> Outputs:
    config, given = golden.config, golden.inputs
    dit, vae = _dit(golden, "dit."), wan_vae_from(golden, "vae.")
    num_frames = vae.num_frames(config["state_t"])
    sigmas = karras_sigmas(config["steps"], config.get("sigma_min", 0.002), config.get("sigma_max", 80.0))
    frames = given["frames"].numpy()
    ours: Outputs = {}
    for name, source in (("image1", given["image"].numpy()[None]), ("video1", frames[-1:]), ("video5", frames[-5:])):
        prepared = cover_and_crop(source, config["height"], config["width"])
        pixels = torch.from_numpy(prepared).permute(3, 0, 1, 2)[None]
        if name != "image1":  # the original fills a clip up with its last frame, and reports it so
            filler = pixels[:, :, -1:].expand(-1, -1, num_frames - pixels.shape[2], -1, -1)
            pixels = torch.cat([pixels, filler], dim=2)
        ours[f"{name}.processed_input"] = pixels
        encoded = vae.encode(to_video(prepared, torch.device("cpu"), torch.float32))
        latents = torch.zeros(*encoded.shape[:2], config["state_t"], *encoded.shape[3:])
        latents[:, :, : encoded.shape[2]] = encoded
        denoiser = guided_by_texts(
            dit,
            given["crossattn_emb"],
            given["neg_crossattn_emb"],
            first_frames(latents, encoded.shape[2]),
            guidance=config["guidance"],
            dtype=torch.float32,
        )
        noise = arch_invariant_noise(latents.shape, config["seed"]) * float(sigmas[0])
        ours[f"{name}.latent"] = sample_ab2(denoiser, noise, sigmas)
        ours[f"{name}.video"] = vae.decode(ours[f"{name}.latent"])[:, :, ::2]
    return ours


ADAPTERS = {
    "predict2/dit_2b_like": Adapter(dit, sources=("MinimalV1LVGDiT",)),
    "predict2/dit_14b_like": Adapter(dit),
    "predict2/dit_text2image": Adapter(dit, sources=("MiniTrainDIT",)),
    "predict2/dit_options": Adapter(dit),
    "predict2/denoise": Adapter(preconditioned_denoise, sources=("Video2WorldPipeline.denoise",)),
    "predict2/sampler_loop_latent": Adapter(
        sampler_loop, whole_loop=True, sources=("Video2WorldPipeline.get_x0_fn_from_batch",)
    ),
    "predict2/end_to_end": Adapter(end_to_end, whole_loop=True, sources=("Video2WorldPipeline.__call__",)),
}
