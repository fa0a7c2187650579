"""The general diffusion transformer for several cameras that film one scene at the same time.

The views stand one after the other on the time axis, so a video of V views of T latent frames has V * T of them. All
tokens attend to each other, and each view counts its frames, rows and columns from 0; what tells the views apart are
constant input channels, looked up in a learnt table, and the text: every view reads a prompt of its own.
"""

# B batch, V views, C latent channels, T latent frames of one view, VT of all views, one view after the other
# H and W latent height and width; in a grid they count patches; D model width, L text positions, E view channels

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import GeneralDiTConfig, GridTHW, MultiViewConfig
from cosmos_cli.models.dit_layers import EncodedText, KeysValues, with_masks
from cosmos_cli.models.general_dit import GeneralDiT, GeneralDiTTrunk
from cosmos_cli.models.general_dit_layers import CrossAttention


class PerViewCrossAttention(CrossAttention):
    """Attention of every view's tokens to its own part of the text, which holds one prompt per view, in order."""

    def __init__(self, config: GeneralDiTConfig, attention_backend: str) -> None:
        super().__init__(config, attention_backend)
        assert isinstance(config, MultiViewConfig)
        self.n_views = config.n_views

    def forward(self, x_BTHWD: Tensor, text: Tensor | KeysValues) -> Tensor:
        own = self._apart(text) if isinstance(text, Tensor) else (self._apart(text[0]), self._apart(text[1]))
        return super().forward(self._apart(x_BTHWD), own).view(x_BTHWD.shape)

    def _apart(self, x_BL: Tensor) -> Tensor:
        """The views as a batch: (B, V * L, ...) to (B * V, L, ...).

        Raises:
            ValueError: the second axis does not divide among the views.
        """
        if x_BL.shape[1] % self.n_views:
            raise ValueError(f"{x_BL.shape[1]} positions do not divide among {self.n_views} views")
        return x_BL.unflatten(1, (self.n_views, -1)).flatten(0, 1)


class MultiViewTrunk(GeneralDiTTrunk):
    """What a network for several views and its control branches have beyond those for one."""

    config: MultiViewConfig
    cross_attention = PerViewCrossAttention

    def __init__(self, config: MultiViewConfig, attention_backend: str = "sdpa") -> None:
        super().__init__(config, attention_backend)
        self.view_embeddings = nn.Embedding(config.num_view_rows, config.view_condition_dim)
        if config.add_repeat_frame_embedding:
            self.repeat_frame_embedding = nn.Linear(1, config.view_condition_dim)

    def encode_views(self, view_indices: Tensor | None = None, frame_repeat_BV: Tensor | None = None) -> Tensor:
        """What describes each view, (B or 1, E, V, T or 1); it depends on nothing that changes over the steps.

        Args:
            view_indices: rows of the view table, integers: (V,) one per view, or (B, VT) one per latent frame. None
                counts the views from 0. An index past the table is its last row.
            frame_repeat_BV: tenths of the number of repeated frames in each view, in the dtype of the network; None is
                zeros. Only with `add_repeat_frame_embedding`.
        Raises:
            ValueError: the network is not told of repeated frames, or indices do not divide among the views.
        """
        table, V = self.view_embeddings, self.config.n_views
        if view_indices is None:
            view_indices = torch.arange(V, device=table.weight.device)
        if view_indices.shape[-1] % V:
            raise ValueError(f"{view_indices.shape[-1]} view indices do not divide among {V} views")
        rows = view_indices.to(table.weight.device).clamp(max=table.num_embeddings - 1)
        indices_BVT = rows.view(1, V, -1) if rows.ndim == 1 else rows.unflatten(1, (V, -1))
        views_BVTE: Tensor = table(indices_BVT)
        if self.config.add_repeat_frame_embedding:
            if frame_repeat_BV is None:
                frame_repeat_BV = views_BVTE.new_zeros(1, V)
            views_BVTE = views_BVTE + self.repeat_frame_embedding(frame_repeat_BV[..., None])[:, :, None]
        elif frame_repeat_BV is not None:
            raise ValueError("this network is not told of repeated frames")
        return views_BVTE.permute(0, 3, 1, 2)

    def embed(
        self,
        x_BCTHW: Tensor,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        views_BEVT: Tensor | None = None,
        view_indices: Tensor | None = None,
        frame_repeat_BV: Tensor | None = None,
    ) -> Tensor:
        """Latents, masks and what describes the views as tokens.

        Args:
            views_BEVT: `encode_views`; None encodes them here, out of the other two.

        Raises:
            ValueError: as for `GeneralDiT.forward`, or the latent frames do not divide among the views.
        """
        channels = with_masks(self.config, x_BCTHW, condition_mask_B1THW, padding_mask_B1HW)
        views = self.encode_views(view_indices, frame_repeat_BV) if views_BEVT is None else views_BEVT
        B, _, VT, H, W = x_BCTHW.shape
        T, _, _ = self.config.grid_of_view((VT, H, W))
        views_BEVT = views.to(x_BCTHW.dtype).expand(B, -1, -1, T)
        more_channels = views_BEVT.reshape(B, -1, VT, 1, 1).expand(-1, -1, -1, H, W)
        x_BTHWD: Tensor = self.x_embedder(torch.cat([channels, more_channels], dim=1))
        return x_BTHWD

    def position_embedding(self, grid_THW: GridTHW) -> Tensor | None:
        """As in the network for one view, the same for every view; `grid_THW` is that of all views."""
        positions_THWD = super().position_embedding(self.config.grid_of_view(grid_THW))
        return None if positions_THWD is None else positions_THWD.repeat(self.config.n_views, 1, 1, 1)

    def rope_angles(self, grid_THW: GridTHW, **options: Any) -> Tensor:
        """As in the network for one view, the same for every view; `grid_THW` is that of all views."""
        return super().rope_angles(self.config.grid_of_view(grid_THW), **options).repeat(self.config.n_views, 1)


class MultiViewDiT(MultiViewTrunk, GeneralDiT):
    """Predicts what EDM preconditioning turns into denoised latents of all views.

    Args:
        attention_backend: a name from `cosmos_cli.runtime.attention.available_backends()`.
    Source: cosmos-predict1 4ed35fa, diffusion/networks/general_dit_multiview.py and
        general_dit_video_conditioned_multiview.py; cosmos-transfer1 5005e82, networks/general_dit_multi_view.py.
    """

    def forward(
        self,
        x_BCTHW: Tensor,
        timesteps_B: Tensor,
        text: Tensor | EncodedText,
        *,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        views_BEVT: Tensor | None = None,
        view_indices: Tensor | None = None,
        frame_repeat_BV: Tensor | None = None,
        control_residuals: Iterable[Tensor] = (),
        **options: Any,
    ) -> Tensor:
        """The prediction, (B, out_channels, VT, H, W), in the dtype of the latents.

        Args:
            x_BCTHW: noisy latents of all views, one view after the other in time.
            text: embeddings (B, V * L, C) of one prompt per view, in order, or `encode_text` of them.
            condition_mask_B1THW: 1 on given latent frames, of all views.
            views_BEVT: this network's own `encode_views`; None encodes what `view_indices` and `frame_repeat_BV` say.
            rope, positions_THWD: tables of the grid of all views.
        Arguments otherwise, and errors, as for `GeneralDiT.forward`; ValueError too if latent frames or text positions
        do not divide among the views.
        """
        return self.predict(
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW, views_BEVT, view_indices, frame_repeat_BV),
            timesteps_B.to(x_BCTHW.dtype),
            text,
            control_residuals=control_residuals,
            **options,
        )
