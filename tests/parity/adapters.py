"""One adapter per kind of golden file: our code on the golden inputs and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.diffusion import rectified_flow
from cosmos_cli.diffusion.ab2 import sample_ab2
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.rectified_flow import Conditioning, denoise, first_frames
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.media.frames import to_video
from cosmos_cli.media.resize import cover_and_crop
from cosmos_cli.models.minimal_dit import MinimalDiT, MinimalDiTConfig, stored_constants
from cosmos_cli.models.wan_vae import LATENT_MEAN, LATENT_STD, WanVAE, WanVAEConfig
from cosmos_plugins.predict2.pipeline import Denoiser
from tests.parity.golden import Golden

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Adapter:
    """run: golden to our outputs. whole_loop: they went through a sampling loop."""

    run: Callable[[Golden], Outputs]
    whole_loop: bool = False


def adapter_for(golden: Golden) -> Adapter | None:
    """By "family/case"; a case with a longer name goes to the longest kind that begins it; else by the source."""
    if golden.kind in ADAPTERS:
        return ADAPTERS[golden.kind]
    family, _, case = golden.kind.partition("/")
    begun = [kind for kind in ADAPTERS if kind.startswith(f"{family}/") and case.startswith(kind.partition("/")[2])]
    if begun:
        return ADAPTERS[max(begun, key=len)]
    symbol = golden.source.partition(" ")[0].rpartition(":")[2]
    return next((ADAPTERS[kind] for name, kind in _KIND_OF_SOURCE.items() if symbol.startswith(name)), None)


def _network(golden: Golden, build: Callable[[], nn.Module], part: str = "", ignored: tuple[str, ...] = ()) -> Any:
    """A network filled from the file through the production loader."""
    prefix = f"weights.{part}"

    def rename(key: str) -> str | None:
        name = key.removeprefix(prefix)
        return name if key.startswith(prefix) and name not in ignored else None

    return load_network(build, golden.path, rename=rename)


def _dit_config(golden: Golden) -> MinimalDiTConfig:
    known = {field.name for field in fields(MinimalDiTConfig)}
    video = "text2image" not in golden.source
    return MinimalDiTConfig(**{k: v for k, v in golden.config["net"].items() if k in known}, condition_mask=video)


def _dit(golden: Golden, part: str = "") -> MinimalDiT:
    config = _dit_config(golden)
    return _network(golden, lambda: MinimalDiT(config), part, tuple(stored_constants(config)))


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
            denoiser = Denoiser(net, first_frames(latents, count), text, negative, config["guidance"], torch.float32)
            noise = arch_invariant_noise(latents.shape, config["seed"]) * config["sigma_max"]
            name = f"cond{count}.{label}"

            def keep(step: int, x: Tensor, name: str = name) -> None:
                ours[f"{name}.step{step}.sample"] = x

            ours[f"{name}.final"] = sample_ab2(denoiser, noise, sigmas, keep)
    return ours


def end_to_end(golden: Golden) -> Outputs:
    config, given = golden.config, golden.inputs
    dit, vae = _dit(golden, "dit."), _wan_vae(golden, "vae.")
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
        denoiser = Denoiser(
            dit,
            first_frames(latents, encoded.shape[2]),
            given["crossattn_emb"],
            given["neg_crossattn_emb"],
            config["guidance"],
            torch.float32,
        )
        noise = arch_invariant_noise(latents.shape, config["seed"]) * float(sigmas[0])
        ours[f"{name}.latent"] = sample_ab2(denoiser, noise, sigmas)
        ours[f"{name}.video"] = vae.decode(ours[f"{name}.latent"])[:, :, ::2]
    return ours


def _wan_vae(golden: Golden, part: str = "") -> WanVAE:
    given = golden.config["vae"]
    config = WanVAEConfig(
        dim=given["dim"],
        z_dim=given["z_dim"],
        dim_mult=tuple(given["dim_mult"]),
        num_res_blocks=given["num_res_blocks"],
        temporal_downsample=tuple(given["temperal_downsample"]),
    )
    return _network(golden, lambda: WanVAE(config), part)


def wan_vae(golden: Golden) -> Outputs:
    vae, given = _wan_vae(golden), golden.inputs
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
    "predict2/dit_2b_like": Adapter(dit),
    "predict2/dit_14b_like": Adapter(dit),
    "predict2/dit_text2image": Adapter(dit),
    "predict2/dit_options": Adapter(dit),
    "predict2/denoise": Adapter(preconditioned_denoise),
    "predict2/sampler_loop_latent": Adapter(sampler_loop, whole_loop=True),
    "predict2/end_to_end": Adapter(end_to_end, whole_loop=True),
    "tokenizer/wan21_vae": Adapter(wan_vae),
    "sampler/predict2_ab2": Adapter(ab2_sampler),
    "sampler/arch_invariant_noise": Adapter(invariant_noise),
}

_KIND_OF_SOURCE = {
    "Video2WorldPipeline.__call__": "predict2/end_to_end",
    "Video2WorldPipeline.get_x0_fn_from_batch": "predict2/sampler_loop_latent",
    "Video2WorldPipeline.denoise": "predict2/denoise",
    "MinimalV1LVGDiT": "predict2/dit_2b_like",
    "MiniTrainDIT": "predict2/dit_text2image",
    "VAE_": "tokenizer/wan21_vae",
    "RectifiedFlowAB2Scheduler": "sampler/predict2_ab2",
    "arch_invariant_rand": "sampler/arch_invariant_noise",
}
