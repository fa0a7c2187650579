"""Transfer1: control branches, alone and with the network that they steer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.models.configs import ControlBranchConfig
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import general_dit_from, general_dit_options
from tests.parity.golden import Golden


def control_branch_from(golden: Golden, part: str) -> ControlBranch:
    given = golden.config["ctrl"]
    options = general_dit_options(given, condition_mask="condition_video_input_mask" in golden.inputs)
    options["num_blocks"] = given["layer_mask"].index(True)  # the mask marks the blocks that a branch lacks
    config = ControlBranchConfig(**options, hint_channels=given["hint_channels"])
    assert {field.name for field in fields(config)} >= options.keys()
    return network_from(golden, lambda: ControlBranch(config), part, tuple(stored_constants(config)))


class Controlled:
    """A network and its branches on the inputs of a golden file, all in one dtype."""

    def __init__(
        self, golden: Golden, base: GeneralDiT, branches: Sequence[ControlBranch], dtype: torch.dtype = torch.float32
    ) -> None:
        given = {name: tensor.to(dtype) for name, tensor in golden.inputs.items()}
        self.base, self.branches = base.to(dtype), [branch.to(dtype) for branch in branches]
        self.arguments = given["x"], given["timesteps"], given["crossattn_emb"]
        self.options: dict[str, Any] = {
            "condition_mask_B1THW": given.get("condition_video_input_mask"),
            "padding_mask_B1HW": given["padding_mask"],
            "fps": given["fps"],
        }
        hints = [given["hint"]] if given["hint"].ndim == 5 else given["hint"].unbind(1)
        self.hints = [
            branch.encode_hint(hint, given["padding_mask"]) for branch, hint in zip(self.branches, hints, strict=True)
        ]

    def residuals(self, weights: Sequence[float | Tensor]) -> list[Tensor]:
        pairs = zip(self.branches, self.hints, strict=True)
        each = [branch.residuals(*self.arguments, hint, **self.options) for branch, hint in pairs]
        return list(sum_residuals(zip(weights, each, strict=True)))

    def __call__(self, weights: Sequence[float | Tensor] | None) -> Tensor:
        residuals = self.residuals(weights) if weights is not None else ()
        return self.base(*self.arguments, **self.options, control_residuals=residuals)


def in_time_first_layout(x_BTHWD: Tensor) -> Tensor:
    return x_BTHWD.permute(1, 2, 3, 0, 4)


def single_control(golden: Golden) -> Outputs:
    base, branch = general_dit_from(golden, "base", "base."), control_branch_from(golden, "ctrl.")
    run = Controlled(golden, base, [branch])
    ours: Outputs = {"guided_hint": in_time_first_layout(run.hints[0])}
    for i, residual in enumerate(run.residuals([1.0])):
        ours[f"residual.w1.block{i}"] = in_time_first_layout(residual)
    for name in golden.outputs:
        case = name.removeprefix("y.")
        if name.startswith("y.") and not case.endswith("_bf16"):
            ours[name] = run(_single_weight(case, golden))
    if "y.w1_bf16" in golden.outputs:  # last, for it rounds the weights
        ours["y.w1_bf16"] = Controlled(golden, base, [branch], torch.bfloat16)([1.0])
    return ours


def _single_weight(case: str, golden: Golden) -> list[float | Tensor] | None:
    """ "w0.5" -> [0.5], None without control."""
    if case in ("base_only", "none_hint"):
        return None
    if case == "weight_map":
        return list(golden.inputs["weight_map"])
    if case == "w_bf16_third":
        return [torch.tensor(1 / 3, dtype=torch.bfloat16).item()]
    return [float(case.removeprefix("w"))]


def several_controls(golden: Golden) -> Outputs:
    base = general_dit_from(golden, "base", "base.")
    branches = [control_branch_from(golden, f"ctrl{i}.") for i in range(golden.config["num_controls"])]
    run = Controlled(golden, base, branches)
    weights: dict[str, list[float | Tensor]] = {
        "scalar": golden.inputs["scalar_weights"].tolist(),
        "map": list(golden.inputs["weight_maps"]),
    }
    ours: Outputs = {}
    for name, each in weights.items():
        ours[f"y.{name}"] = run(each)
        for i, residual in enumerate(run.residuals(each)):
            ours[f"residual.{name}.block{i}"] = in_time_first_layout(residual)
    return ours


ADAPTERS = {
    "transfer1/ctrl_single": Adapter(single_control, sources=("GeneralDITEncoder",)),
    "transfer1/ctrl_multi": Adapter(several_controls),
}
