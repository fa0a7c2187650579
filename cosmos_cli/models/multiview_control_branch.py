"""Control branches of the diffusion transformer for several views: one control video per view steers the generation."""

# B batch, V views, T latent frames of all views, H and W latent height and width, or height and width in patches
# D model width, E view channels

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from cosmos_cli.models.configs import MultiViewControlBranchConfig
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.dit_layers import EncodedText
from cosmos_cli.models.multiview_dit import MultiViewTrunk


class MultiViewControlBranch(MultiViewTrunk, ControlBranch):
    """One residual per block, from noisy latents of all views and a hint, whose views stand in the same order.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
    Source: cosmos-transfer1 5005e82, diffusion/networks/general_dit_ctrl_enc_multiview.py.
    """

    config: MultiViewControlBranchConfig

    def forward(self, *args: Any, hint_BCTHW: Tensor | None = None, **options: Any) -> tuple[Tensor, ...]:
        """What `residuals` gives, all at once; `hint_BCTHW` as for `ControlBranch.forward`."""
        if hint_BCTHW is not None:
            options["guided_hint_BTHWD"] = self.encode_hint(hint_BCTHW, options.get("padding_mask_B1HW"))
        return tuple(self.residuals(*args, **options))

    def residuals(
        self,
        x_BCTHW: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        guided_hint_BTHWD: Tensor,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        views_BEVT: Tensor | None = None,
        view_indices: Tensor | None = None,
        frame_repeat_BV: Tensor | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """One residual per block, (B, T, H, W, D) each, computed when it is asked for and not kept.

        Args:
            views_BEVT: this branch's own `encode_views`; None encodes what `view_indices` and `frame_repeat_BV` say.
        Arguments otherwise, and errors, as for `ControlBranch.forward` and `MultiViewDiT.forward`.
        """
        yield from self.residuals_of(
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW, views_BEVT, view_indices, frame_repeat_BV),
            timesteps_B.to(x_BCTHW.dtype),
            text,
            guided_hint_BTHWD,
            **options,
        )
