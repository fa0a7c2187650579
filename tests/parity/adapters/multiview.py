"""Networks for several views: alone, under control, and in the sampling loops of both families."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cosmos_cli.diffusion.edm import Network
from cosmos_cli.diffusion.edm_euler import Predict, euler_sigmas, initial_scale, sample_edm_euler, unconditioned
from cosmos_cli.diffusion.noise import arch_invariant_noise
from cosmos_cli.diffusion.res_sampler import sample_res
from cosmos_cli.diffusion.schedules import karras_sigmas
from cosmos_cli.diffusion.view_conditioning import given_views
from cosmos_cli.generation.denoise import SIGMA_MAX, SIGMA_MIN, Side, guided_network
from cosmos_cli.generation.denoise import given as given_frames
from cosmos_cli.models.configs import MultiViewConfig, MultiViewControlBranchConfig
from cosmos_cli.models.control_branch import sum_residuals
from cosmos_cli.models.general_dit import stored_constants
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_plugins.transfer1.denoiser import ControlledDenoiser, Hint, SharedInputs
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import Traces, general_dit_options, grid_of, positions_of
from tests.parity.adapters.transfer1 import in_time_first_layout
from tests.parity.golden import Golden


def multiview_options(given: dict[str, Any], *, condition_mask: bool) -> dict[str, Any]:
    """The original's constructor arguments as ours; it ignores the type of position embedding that it is given."""
    # one of the originals counts the condition mask among the latent channels, the other does not
    channels = {"in_channels": 16 + condition_mask}
    return general_dit_options(given | channels, condition_mask=condition_mask) | {
        "extra_per_block_abs_pos_emb_type": "sincos",
        "n_views": given["n_views"],
        "n_views_emb": given.get("n_views_emb"),
        "view_condition_dim": given.get("view_condition_dim", given.get("camera_condition_dim")),
        "add_repeat_frame_embedding": given["add_repeat_frame_embedding"],
    }


def _dit(golden: Golden, net: str, part: str, *, condition_mask: bool) -> MultiViewDiT:
    config = MultiViewConfig(**multiview_options(golden.config[net], condition_mask=condition_mask))
    return network_from(golden, lambda: MultiViewDiT(config), part, tuple(stored_constants(config)))


def _branch(golden: Golden, part: str) -> MultiViewControlBranch:
    given = golden.config["ctrl"]
    options = multiview_options(given, condition_mask=given["is_extend_model"])
    options["num_blocks"] = given["layer_mask"].index(True)
    config = MultiViewControlBranchConfig(**options, hint_channels=given["hint_channels"])
    return network_from(golden, lambda: MultiViewControlBranch(config), part, tuple(stored_constants(config)))


def dit(golden: Golden) -> Outputs:
    given = golden.inputs
    mask = given.get("condition_video_input_mask")
    net = _dit(golden, "net", "", condition_mask=mask is not None)

    def run(frame_repeat: Tensor | None) -> Tensor:
        return net(
            given["x"],
            given["timesteps"],
            given["crossattn_emb"],
            condition_mask_B1THW=mask,
            padding_mask_B1HW=given["padding_mask"],
            views_BEVT=net.encode_views(frame_repeat_BV=frame_repeat),
            fps=given["fps"],
        )

    ours: Outputs = {"y_no_frame_repeat": run(None)}
    with Traces(net, ours):
        ours["y"] = run(given["frame_repeat"])
    ours["trace.extra_pos_emb"] = positions_of(net, grid_of(net, given["x"]), given["x"].shape[0])
    return ours


def generate(golden: Golden) -> Outputs:
    given, config = golden.inputs, golden.config
    sigmas = euler_sigmas(config["steps"], SIGMA_MIN, SIGMA_MAX)
    ours: Outputs = {}

    def guided(net: MultiViewDiT, mask: Tensor | None) -> Network:
        cond, uncond = (
            Side(given[text], mask, given["frame_repeat"]) for text in ("t5_text_embeddings", "neg_t5_text_embeddings")
        )
        return guided_network(
            net,
            cond,
            uncond,
            given["noise"].shape[2:],
            guidance=config["guidance"],
            fps=given["fps"],
            dtype=torch.float32,
            padding_mask_B1HW=given["padding_mask"],
        )

    def sample(name: str, predict: Predict) -> None:
        def keep(step: int, x: Tensor) -> None:
            ours[f"{name}.step{step}.xt_next"] = x

        start = given["noise"] * initial_scale(SIGMA_MAX)
        ours[f"{name}.final"] = sample_edm_euler(predict, start, sigmas, keep)

    t2w, v2w = (
        _dit(golden, "net", f"{kind}.", condition_mask=is_video) for kind, is_video in (("t2w", False), ("v2w", True))
    )
    sample("t2w", unconditioned(guided(t2w, None)))

    latents = given["condition_latent"]
    conditioning = given_views(latents, config["net"]["n_views"], num_frames=config["num_condition_t"])
    predict = given_frames(
        guided(v2w, conditioning.mask_B1T11),
        conditioning,
        arch_invariant_noise(latents.shape, config["seed"]),
        sigma_augment=config["condition_augment_sigma"],
        like_original=True,
    )
    sample("v2w", predict)
    return ours


def controlled(golden: Golden) -> Outputs:
    given = golden.inputs
    base, branch = _dit(golden, "base", "base.", condition_mask=True), _branch(golden, "ctrl.")
    hint = branch.encode_hint(given["hint"], given["padding_mask"])

    def views(net: Any, indices: Tensor | None) -> Tensor:
        encoded: Tensor = net.encode_views(indices, given["frame_repeat"])
        return encoded

    def run(indices: Tensor | None, weight: float) -> tuple[Tensor, list[Tensor]]:
        arguments = given["x"], given["timesteps"], given["crossattn_emb"]
        options: dict[str, Any] = {
            "condition_mask_B1THW": given["condition_video_input_mask"],
            "padding_mask_B1HW": given["padding_mask"],
            "fps": given["fps"],
        }
        residuals = list(branch.residuals(*arguments, hint, **options, views_BEVT=views(branch, indices)))
        total = sum_residuals([(weight, residuals)])
        y = base(*arguments, **options, views_BEVT=views(base, indices), control_residuals=total)
        return y, residuals

    y, residuals = run(given["view_indices"], 1.0)
    ours: Outputs = {
        "y": y,
        "y_base_only": run(given["view_indices"], 0.0)[0],
        "y_default_views": run(None, 0.7)[0],
        **{f"residual.block{i}": in_time_first_layout(residual) for i, residual in enumerate(residuals)},
    }
    for name, num_frames in (("first_cam", 0), ("first_cam_and_first_n", golden.config["generate"]["num_condition_t"])):
        ours[f"generate.{name}"] = _controlled_loop(golden, base, branch, num_frames)
    return ours


def _controlled_loop(golden: Golden, base: MultiViewDiT, branch: MultiViewControlBranch, num_frames: int) -> Tensor:
    given, options = golden.inputs, golden.config["generate"]
    latents = given["gen_condition_latent"]
    hints = [Hint(branch, given["hint"], 1.0)]
    shared = SharedInputs.of(
        base,
        hints,
        latents.shape[2:],
        given["gen_ctx"],
        given["gen_neg"],
        guidance=options["guidance"],
        fps=float(given["fps"]),
    )
    denoiser = ControlledDenoiser(
        shared,
        hints,
        conditioning=given_views(latents, base.config.n_views, num_frames=num_frames, whole_views=(0,)),
        noise_BCTHW=arch_invariant_noise(latents.shape, options["seed"]),
        sigma_augment=options["augment_sigma"],
        dtype=torch.float32,
    )
    return sample_res(denoiser, given["gen_noise"] * 80, karras_sigmas(options["steps"], 0.002, 80.0))


ADAPTERS = {
    "predict1/dit_t2w_multiview": Adapter(dit, sources=("MultiviewGeneralDIT",)),
    "predict1/dit_v2w_multiview": Adapter(dit, sources=("MultiviewVideoExtendGeneralDIT",)),
    "predict1/generate_multiview": Adapter(generate, whole_loop=True),
    "transfer1/multiview_ctrl": Adapter(controlled, sources=("GeneralDITMultiviewEncoder",)),
}
