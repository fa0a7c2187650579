"""The networks of the tiny annotators that learn, as they begin."""

from __future__ import annotations

from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

DEPTH_SIZE, DEPTH_PATCH = 112, 8
"""Pixels: of the picture that the depth estimator reads, and of one of its tokens."""


def depth_network() -> DepthAnythingForDepthEstimation:
    """Depth Anything, with which everything is at one distance before it learns."""
    width = 64
    backbone = Dinov2Config(
        image_size=DEPTH_SIZE,
        patch_size=DEPTH_PATCH,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        mlp_ratio=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],  # type: ignore[call-arg]  # an option of every backbone, hidden by its dataclass
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    model = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            patch_size=DEPTH_PATCH,
            reassemble_hidden_size=width,
            neck_hidden_sizes=[16, 24, 32, 32],
            fusion_hidden_size=24,
            head_hidden_size=16,
        )
    )
    model.head.conv3.bias.data.fill_(1.0)  # type: ignore[union-attr]  # below 0 all numbers are 0, and none learns
    return model
