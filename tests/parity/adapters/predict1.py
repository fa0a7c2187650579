"""Predict1: the general DiT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from cosmos_cli.models.configs import GeneralDiTConfig, GridTHW
from cosmos_cli.models.general_dit import GeneralDiT, GeneralDiTTrunk, stored_constants
from cosmos_cli.models.rope import RotaryTable, axis_dims
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.golden import Golden


def general_dit_options(given: dict[str, Any], *, condition_mask: bool) -> dict[str, Any]:
    """The original's constructor arguments as ours: its latent channels include the condition mask."""
    known = {field.name for field in fields(GeneralDiTConfig)}
    options = {name: value for name, value in given.items() if name in known}
    return options | {"in_channels": given["in_channels"] - condition_mask, "condition_mask": condition_mask}


def general_dit_from(golden: Golden, net: str = "net", part: str = "") -> GeneralDiT:
    """The network of a file: `net` names its arguments in the config, `part` begins its weights."""
    options = general_dit_options(golden.config[net], condition_mask="condition_video_input_mask" in golden.inputs)
    # the original's training network embeds patches by a convolution unless told otherwise
    options.setdefault("legacy_patch_emb", "/training/" in golden.source)
    config = GeneralDiTConfig(**options)
    return network_from(golden, lambda: GeneralDiT(config), part, tuple(stored_constants(config)))


def grid_of(net: GeneralDiTTrunk, x_BCTHW: Tensor) -> GridTHW:
    frames, rows, columns = (n // p for n, p in zip(x_BCTHW.shape[2:], net.config.patch_THW, strict=True))
    return frames, rows, columns


def dit(golden: Golden) -> Outputs:
    net, given = general_dit_from(golden), golden.inputs
    grid, mask = grid_of(net, given["x"]), given.get("condition_video_input_mask")

    def run(
        dtype: torch.dtype = torch.float32,
        frames: int | None = None,
        fps: float | Tensor | None = given.get("fps"),
        mask: Tensor | None = mask,
        augment: Tensor | None = given.get("condition_video_augment_sigma"),
        rope: RotaryTable | None = None,
    ) -> Tensor:
        network = net.to(dtype)
        return network(
            given["x"][:, :, :frames].to(dtype),
            given["timesteps"].to(dtype),
            given["crossattn_emb"].to(dtype),
            condition_mask_B1THW=mask,
            padding_mask_B1HW=given["padding_mask"],
            augment_timesteps_B=augment,
            fps=fps,
            rope=rope,
        )

    ours: Outputs = {}
    for name in golden.outputs:
        if name.startswith("rope_fps"):
            # the original's layout: every angle twice, one row per token
            angles_LR = net.rope_angles(grid, fps=float(name.removeprefix("rope_fps")))
            ours[name] = torch.cat([angles_LR, angles_LR], dim=-1)[:, None, None]
        elif name.startswith("y_fps") and not name.endswith("bf16"):
            ours[name] = run(fps=float(name.removeprefix("y_fps")))
    if "y" in golden.outputs:
        ours["y"] = run()
    if "y_T1_nofps" in golden.outputs:
        ours["y_T1_nofps"] = run(frames=1, fps=None, mask=None)
    if "y_zero_mask" in golden.outputs:
        ours["y_zero_mask"] = run(mask=None)
    if "y_aug0" in golden.outputs:
        ours["y_aug0"] = run(augment=None)
    if any(name.startswith("trace.") for name in golden.outputs):
        with Traces(net, ours):
            run(fps=given.get("fps", 24.0))
        ours["trace.extra_pos_emb"] = positions_of(net, grid, given["x"].shape[0])
    for name in golden.outputs:  # last, for it rounds the weights
        if name == "y_bf16":
            ours[name] = run(torch.bfloat16, rope=table_of_exact_seconds(net.bfloat16(), grid, float(given["fps"][0])))
        elif name.endswith("_bf16"):
            ours[name] = run(torch.bfloat16, fps=float(name.removeprefix("y_fps").removesuffix("_bf16")))
    return ours


def table_of_exact_seconds(net: GeneralDiTTrunk, grid: GridTHW, fps: float) -> RotaryTable:
    """The rotary table of an original in bfloat16 that got its fps in float32, which spread to the temporal angles."""
    angles_LR = net.rope_angles(grid, fps=fps)
    num_temporal = axis_dims(net.config.head_dim)[0] // 2
    frequencies = net.rope_angles((2, 1, 1), fps=24.0)[1, :num_temporal]
    seconds = torch.arange(grid[0]) / fps * 24
    angles_LR[:, :num_temporal] = torch.outer(seconds, frequencies).repeat_interleave(grid[1] * grid[2], dim=0)
    return RotaryTable.from_angles(angles_LR)


def positions_of(net: GeneralDiTTrunk, grid: GridTHW, batch: int) -> Tensor:
    positions_THWD = net.position_embedding(grid)
    assert positions_THWD is not None
    return positions_THWD.expand(batch, -1, -1, -1, -1)


class Traces:
    """Records hidden states of a forward pass under the names and in the layouts of the golden files."""

    def __init__(self, net: GeneralDiTTrunk, into: Outputs) -> None:
        self.net, self.into = net, into
        self.hooks: list[RemovableHandle] = []

    def __enter__(self) -> None:
        def keep(name: str, pick: Callable[[Any], Tensor]) -> Any:
            return lambda _module, _args, out: self.into.__setitem__(f"trace.{name}", pick(out).clone())

        net = self.net
        self.hooks = [
            net.x_embedder.register_forward_hook(keep("x_embedded", lambda out: out)),
            net.affline_norm.register_forward_hook(keep("affline_emb", lambda out: out[:, 0])),
            net.t_embedder.register_forward_hook(keep("adaln_lora", lambda out: out[1][:, 0])),
            *(
                block.register_forward_hook(keep(name, lambda out: out.permute(1, 2, 3, 0, 4)))
                for name, block in net.blocks.items()
            ),
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


ADAPTERS = {
    "predict1/dit_t2w_7b_like": Adapter(dit, sources=("GeneralDIT",)),
    "predict1/dit_t2w_14b_like": Adapter(dit),
    "predict1/dit_v2w": Adapter(dit, sources=("VideoExtendGeneralDIT",)),
    "predict1/dit_v2w_augment_sigma": Adapter(dit),
}
