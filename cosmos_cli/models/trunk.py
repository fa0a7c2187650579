"""What all diffusion transformers have in common: where their tokens are, and how they become a prediction."""

# B batch, C latent channels, T latent frames, H and W latent height and width; in a grid they count patches
# D model width, L tokens, R rotated pairs, S modulation steps

from __future__ import annotations

import torch
from torch import Tensor, nn

from cosmos_cli.models.configs import GridTHW
from cosmos_cli.models.context_parallel import ParallelNetwork
from cosmos_cli.models.dit_layers import config_rope_angles, grid_of, table_dtype, unpatchify
from cosmos_cli.models.rope import RotaryTable


class Trunk(ParallelNetwork):
    """A transformer over the patches of a latent video."""

    final_layer: nn.Module
    """Its `linear` gives the output patches; it is never elsewhere while the network computes."""
    rope_in_seconds: bool
    """Whether rotary positions along time count seconds, rather than latent frames."""

    def rope_angles(
        self,
        grid_THW: GridTHW,
        *,
        fps: float | Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Rotary angles of every token, (L, R) float32.

        Args:
            grid_THW: patches along time, height and width, of the whole video.
            fps: frames per second, needed for more than one latent frame where `rope_in_seconds`; a tensor must hold
                one value.
            dtype: what the angles are rounded to; None is bfloat16 for a bfloat16 network and float32 for others.
            device: None is where the parameters are.
        Raises:
            ValueError: the grid is larger than the network supports, or its video needs one fps and has none.
        """
        weight = self.output_weight
        return config_rope_angles(
            self.config,
            grid_THW,
            fps=fps,
            in_seconds=self.rope_in_seconds,
            dtype=dtype or table_dtype(self.dtype_beside(weight)),
            device=device or weight.device,
        )

    def rotary_table(
        self,
        grid_THW: GridTHW,
        *,
        fps: float | Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> RotaryTable:
        """The table that a forward pass takes as `rope`; arguments and errors as for `rope_angles`."""
        table = RotaryTable.from_angles(self.rope_angles(grid_THW, fps=fps, dtype=dtype, device=device))
        return self.context.share_of_table(table, grid_THW)

    @property
    def output_weight(self) -> Tensor:
        """What says where the network computes, and in which dtype its parameters are."""
        weight: Tensor = self.final_layer.linear.weight  # type: ignore[union-attr, assignment]
        return weight

    def finish(
        self, x_BTHWD: Tensor, emb_BSD: Tensor, adaln_lora_BSM: Tensor | None, grid_THW: GridTHW | None = None
    ) -> Tensor:
        """The last block's tokens as a prediction, (B, out_channels, T, H, W).

        Args:
            grid_THW: of all tokens; None is that of these.
        """
        patches_BTHWP = self.final_layer(x_BTHWD, emb_BSD, adaln_lora_BSM)
        return unpatchify(self.context.whole(patches_BTHWP, grid_THW or grid_of(x_BTHWD)), self.config.patch_THW)
