"""Predict2: the minimal DiT over several cameras."""

from __future__ import annotations

from dataclasses import fields

from torch import Tensor

from cosmos_cli.models.configs import MinimalMultiviewDiTConfig
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT, stored_constants
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.golden import Golden

IGNORED_BY_THE_ORIGINAL = {"rope_enable_fps_modulation"}
FPS = 10
"""What the published model was trained at, and the original was run at: the golden file does not hold it."""


def multiview_dit(golden: Golden) -> Outputs:
    known = {field.name for field in fields(MinimalMultiviewDiTConfig)} - IGNORED_BY_THE_ORIGINAL
    config = MinimalMultiviewDiTConfig(**{k: v for k, v in golden.config["net"].items() if k in known})
    net = network_from(golden, lambda: MinimalMultiviewDiT(config), ignored=tuple(stored_constants(config)))
    given = golden.inputs
    num_views = net.num_views(given["x"].shape[2])

    def run(view_indices_BT: Tensor | None) -> Tensor:
        return net(
            given["x"],
            given["timesteps"],
            given["crossattn_emb"].unflatten(1, (num_views, -1)),
            view_indices_BV=view_indices_BT[:, :: config.state_t] if view_indices_BT is not None else None,
            condition_mask_B1THW=given["condition_mask"],
            padding_mask_B1HW=given["padding_mask"],
            fps=given.get("fps", FPS),
        )

    return {
        "y": run(given["view_indices"]),
        "y_permuted_views": run(given["view_indices_permuted"]),
        "y_view_indices_none": run(None),
    }


ADAPTERS = {"predict2/dit_multiview": Adapter(multiview_dit, sources=("MultiViewDiT",))}
