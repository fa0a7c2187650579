"""The minimal diffusion transformer over several cameras: one video whose latent frames are those of all views in turn.

Every token attends to the tokens of all views, but only to its own view's text. A learnt embedding, given as further
input channels, says which camera a view is, and the rotary positions begin anew with each view.
"""

# B batch, V views, C latent channels or embedding width, T latent frames of all views, view after view
# H and W latent height and width, or height and width in patches; L text positions of one view, D model width

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.models import minimal_dit
from cosmos_cli.models.configs import GridTHW, MinimalMultiviewDiTConfig
from cosmos_cli.models.dit_layers import EncodedText, KeysValues, cross_attention, with_masks
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_dit_layers import CrossAttention
from cosmos_cli.models.rope import RotaryTable

__all__ = ["MinimalMultiviewDiT", "stored_constants"]


def stored_constants(config: MinimalMultiviewDiTConfig) -> dict[str, tuple[int, ...]]:
    """As for `MinimalDiT`, with the rotary constants once for every number of views."""
    stored = {}
    for name, shape in minimal_dit.stored_constants(config).items():
        table = name.removeprefix("pos_embedder.")
        if table == name:
            stored[name] = shape
        else:
            cameras = range(1, config.n_cameras_emb + 1)
            stored |= {f"pos_embedder_options.n_cameras_{count}.{table}": shape for count in cameras}
    return stored


class CrossAttentionPerView(CrossAttention):
    """Attention of every token to its own view's text, given as embeddings (B, V, L, C) or as keys and values."""

    def forward(self, x_BTHWD: Tensor, text: Tensor | KeysValues) -> Tensor:
        keys, values = self.keys_values(text) if isinstance(text, Tensor) else text
        own_views = x_BTHWD.unflatten(1, (keys.shape[1], -1)).flatten(0, 1)
        out = cross_attention(self, own_views, (keys.flatten(0, 1), values.flatten(0, 1)), self.attention_backend)
        return out.view(x_BTHWD.shape)


class MinimalMultiviewDiT(MinimalDiT):
    """Predicts the velocity (noise minus clean latents) of the noisy latents of several cameras.

    Arguments and errors as for `MinimalDiT`. A text is (B, V, L, C) here, one embedding for each view, to `encode_text`
    too; `rope_angles` and `rotary_table` take the grid of all views together.

    Source: cosmos-predict2 661da47, models/multiview_dit.py.
    """

    config: MinimalMultiviewDiTConfig
    cross_attention = CrossAttentionPerView

    def __init__(self, config: MinimalMultiviewDiTConfig, attention_backend: str = "sdpa") -> None:
        super().__init__(config, attention_backend)
        self.view_embeddings = nn.Embedding(config.n_cameras_emb, config.view_condition_dim)

    def forward(
        self,
        x_BCTHW: Tensor,
        timesteps_BT: Tensor,
        text: Tensor | EncodedText,
        *,
        view_indices_BV: Tensor | None = None,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        fps: float | Tensor | None = None,
        rope: RotaryTable | None = None,
    ) -> Tensor:
        """The velocity, (B, out_channels, T, H, W), in the dtype of the latents.

        Args:
            x_BCTHW: noisy latents, `state_t` frames of the first view, then of the second, and so on.
            timesteps_BT: rectified-flow time in (0, 1), one per sample or one per latent frame of all views.
            text: embeddings (B, V, L, C) of every view's prompt, or `encode_text` of them.
            view_indices_BV: which camera each view is, integers; None is 0, 1, 2 and so on. Cameras beyond the table
                share its last row, as in the original.
            fps: frames per second; rotary positions count in seconds.
        Arguments otherwise as for `MinimalDiT.forward`.
        Raises:
            ValueError: a shape does not fit the network, or latents, text and indices are not of as many views.
        """
        num_views = self.num_views(x_BCTHW.shape[2])
        text_views = text.keys_values[0][0].shape[1] if isinstance(text, EncodedText) else text.shape[1]
        if text_views != num_views:
            raise ValueError(f"texts of {text_views} views for latents of {num_views}")
        return self.predict(  # no name for the tokens here: it would keep them while the blocks replace them
            self.embed(x_BCTHW, condition_mask_B1THW, padding_mask_B1HW, view_indices_BV),
            self.embed_timesteps(timesteps_BT.to(x_BCTHW.dtype)),
            text,
            fps=fps,
            rope=rope,
        )

    def embed(
        self,
        x_BCTHW: Tensor,
        condition_mask_B1THW: Tensor | None = None,
        padding_mask_B1HW: Tensor | None = None,
        view_indices_BV: Tensor | None = None,
    ) -> Tensor:
        """Latents, masks and cameras as tokens, (B, T, H, W, D); arguments and errors as for `forward`."""
        masked = with_masks(self.config, x_BCTHW, condition_mask_B1THW, padding_mask_B1HW)
        B, _, T, H, W = masked.shape
        num_views = self.num_views(T)
        if view_indices_BV is None:
            view_indices_BV = torch.arange(num_views, device=x_BCTHW.device).expand(B, -1)
        if view_indices_BV.shape != (B, num_views):
            raise ValueError(f"view indices of shape {tuple(view_indices_BV.shape)} for {(B, num_views)} views")
        indices_BV = view_indices_BV.to(x_BCTHW.device).clamp(max=self.config.n_cameras_emb - 1)
        views_BTC = self.view_embeddings(indices_BV).repeat_interleave(self.config.state_t, dim=1)
        views_BCTHW = views_BTC.movedim(-1, 1)[..., None, None].expand(-1, -1, -1, H, W)
        x_BTHWD: Tensor = self.x_embedder(torch.cat([masked, views_BCTHW.to(masked.dtype)], dim=1))
        return x_BTHWD

    def num_views(self, num_latents: int) -> int:
        """How many views so many latent frames are.

        Raises:
            ValueError: they are not whole views, or more of them than the network has cameras.
        """
        num_views, rest = divmod(num_latents, self.config.state_t)
        if rest or not 1 <= num_views <= self.config.n_cameras_emb:
            raise ValueError(
                f"{num_latents} latent frames are not 1 to {self.config.n_cameras_emb} views of {self.config.state_t}"
            )
        return num_views

    def rope_angles(self, grid_THW: GridTHW, **options: Any) -> Tensor:
        """As in the network for one view, the same for every view; `grid_THW` is that of all views."""
        num_views = self.num_views(grid_THW[0] * self.config.patch_temporal)
        own_grid = (grid_THW[0] // num_views, *grid_THW[1:])
        return super().rope_angles(own_grid, **options).repeat(num_views, 1)
