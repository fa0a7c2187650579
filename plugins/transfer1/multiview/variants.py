"""The models for several cameras: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from cosmos_cli.generation.variants import TINY_TEXT_WIDTH
from cosmos_cli.models.configs import MultiViewConfig, MultiViewControlBranchConfig

FOLDER = PurePosixPath("nvidia/Cosmos-Transfer1-7B-Sample-AV-Single2MultiView")
"""Of all networks, under the checkpoint folder."""

CLIP_FRAMES = 57
"""Frames that a model makes of each view at once."""

CONTROLS = ("hdmap", "lidar")
"""Modalities that there are control branches for."""

Kind = Literal["t2w", "v2w"]
"""t2w makes one clip; v2w is also given the first frames of every view, and so goes on clip after clip."""


@dataclass(frozen=True)
class MultiviewVariant:
    """One size of model.

    dit: the base network, for any number of views.
    height, width: of every view, in pixels.
    num_control_blocks: blocks of a control branch.
    """

    dit: MultiViewConfig
    height: int
    width: int
    num_control_blocks: int

    def base(self, num_views: int) -> MultiViewConfig:
        """The base network."""
        return replace(self.dit, n_views=num_views)

    def branch(self, num_views: int) -> MultiViewControlBranchConfig:
        """A control branch: the base's first blocks, without its stretched time."""
        return MultiViewControlBranchConfig.of(
            self.base(num_views), num_blocks=self.num_control_blocks, rope_t_extrapolation_ratio=1.0
        )


MULTIVIEW_VARIANTS: Mapping[str, MultiviewVariant] = {
    "7B": MultiviewVariant(
        MultiViewConfig(
            model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0, n_views_emb=7
        ),
        height=576,
        width=1024,
        num_control_blocks=3,
    ),
    # The same networks, small enough for a laptop and to ship with the package.
    "tiny": MultiviewVariant(
        MultiViewConfig(
            model_channels=24,
            num_blocks=3,
            num_heads=2,
            crossattn_emb_channels=TINY_TEXT_WIDTH,
            adaln_lora_dim=8,
            max_img_h=16,
            max_img_w=16,
            max_frames=8,
            rope_t_extrapolation_ratio=2.0,
            n_views_emb=7,
        ),
        height=48,
        width=80,
        num_control_blocks=2,
    ),
}


def base_file(kind: Kind) -> PurePosixPath:
    """The base network under the checkpoint folder."""
    return FOLDER / f"{kind}_base_model.pt"


def control_file(kind: Kind, name: str, *, waymo_example: bool) -> PurePosixPath:
    """A modality's control branch under the checkpoint folder."""
    return FOLDER / f"{kind}_{name}_control{'_waymo' if waymo_example else ''}.pt"
