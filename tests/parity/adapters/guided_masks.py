"""Guided generation: which part of a view stays as it is."""

from __future__ import annotations

import re

import torch

from cosmos_plugins.transfer1.guided.episodes.labels import labels_of
from cosmos_plugins.transfer1.guided.masks import latent_mask, pixel_masks
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden

_CHANNELS_OF_A_MASK = 16
_EVERY = 4
"""Frames from one that the file keeps to the next."""


def latent_masks(golden: Golden) -> Outputs:
    size = (golden.config["h"], golden.config["w"])
    ours: Outputs = {}
    for case in {name.partition(".")[0] for name in golden.outputs}:
        planes = [golden.inputs["seg_images"][:, 0].numpy()]
        if case.startswith("wrist"):
            planes = list(golden.inputs["roi_masks"].numpy())
        foreground = [int(label) for label in re.findall(r"\d+", case)]
        labels = [labels_of(plane) if plane.ndim == 4 else plane for plane in planes]
        pixels = [pixel_masks(plane, foreground, size, original=True) for plane in labels]
        latents = torch.cat([latent_mask(mask, reduction="original") for mask in pixels], dim=1)
        kept = torch.stack([torch.from_numpy(mask[::_EVERY]) for mask in pixels])[None]
        ours[f"{case}.pixel_mask_channels"] = kept
        ours[f"{case}.latent_mask"] = latents
        ours[f"{case}.latent_mask_shape"] = torch.tensor(
            [1, _CHANNELS_OF_A_MASK * latents.shape[1], *latents.shape[2:]]
        )
    return ours


ADAPTERS = {"guided/latent_mask": Adapter(latent_masks, sources=("read_and_resize_numpy_mask",))}
