"""Transfer1's control weights and tiles."""

from __future__ import annotations

import re

from cosmos_plugins.transfer1.tiles import merge_tiles, split_tiles
from cosmos_plugins.transfer1.weights import Weight, normalise_maps, normalise_numbers, to_patch_grid
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden


def weights_and_tiles(golden: Golden) -> Outputs:
    config = golden.config
    ours: Outputs = {
        f"scalars{i}": normalise_numbers([float(weight) for weight in weights])
        for i, weights in enumerate(config["scalar_lists"])
    }
    for call in config["map_calls"]:
        name, _, items = call.partition("=")
        weights = [_weight(golden, item.strip()) for item in items.strip("[]").split(",")]
        maps = normalise_maps(weights, config["T"], config["H"], config["W"])
        grid = tuple(golden.outputs[f"maps.{name}.resized"].shape[3:])
        ours[f"maps.{name}"] = maps
        ours[f"maps.{name}.resized"] = to_patch_grid(maps, grid)
        ours[f"maps.{name}.resized_f32"] = to_patch_grid(maps.float(), grid)
    for name, whole in golden.inputs.items():
        if re.fullmatch(r"tile\d+", name):
            noisy = golden.inputs[f"{name}.patches_noisy"]
            ours[f"{name}.patches"] = split_tiles(whole, *noisy.shape[-2:]).flatten(0, 1)
            ours[f"{name}.merged"] = merge_tiles(noisy[:, None], *whole.shape[-2:])
    return ours


def _weight(golden: Golden, item: str) -> Weight:
    """ "a3d" names an input, "'none'" is the default of the originals, a number is itself."""
    if item.strip("'\"").lower() in ("none", ""):
        return 1.0
    try:
        return float(item.strip("'\""))
    except ValueError:
        return golden.inputs[f"map_{item}"]


ADAPTERS = {"transfer1/weight_maps": Adapter(weights_and_tiles, sources=("load_spatial_temporal_weights",))}
