"""Which latent frames are given, where several views stand one after the other on the time axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cosmos_cli.diffusion.rectified_flow import Conditioning

# B batch, V views, C latent channels, T latent frames of all views, H and W latent height and width


def given_views(
    latents_BCTHW: Tensor, num_views: int, *, num_frames: int = 0, whole_views: Sequence[int] = ()
) -> Conditioning:
    """Condition on all of some views, and on the first `num_frames` latent frames of every view.

    Args:
        latents_BCTHW: of the full length, one view after the other.
        whole_views: numbers of the views that are given from the first frame to the last.
    Raises:
        ValueError: the latent frames do not divide among the views, a view has fewer than `num_frames`, or there is no
            view of such a number.
    Source: cosmos-transfer1 5005e82, diffusion/model/model_v2w_multiview.py (behaviour).
    """
    B, _, T, _, _ = latents_BCTHW.shape
    if T % num_views or not 0 <= num_frames <= T // num_views:
        raise ValueError(f"{num_frames} conditioning frames in {num_views} views of together {T} latent frames")
    if any(not 0 <= view < num_views for view in whole_views):
        raise ValueError(f"of {num_views} views, {list(whole_views)} cannot be given")
    mask_BVT = torch.zeros(B, num_views, T // num_views, dtype=torch.float32, device=latents_BCTHW.device)
    mask_BVT[:, :, :num_frames] = 1
    for view in whole_views:
        mask_BVT[:, view] = 1
    return Conditioning(latents_BCTHW, mask_BVT.view(B, 1, T, 1, 1))
