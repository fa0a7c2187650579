"""The Transfer1 models: their networks and sizes, without building anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cosmos_cli.generation.variants import TINY_HELPERS, TINY_TEXT_WIDTH
from cosmos_cli.models.configs import ControlBranchConfig, CosmosTokenizerConfig, GeneralDiTConfig

Sizes = Mapping[str, tuple[int, int]]
"""Aspect ratio (width:height) to (height, width) in pixels."""

_PUBLISHED_SIZES: Sizes = {
    "16:9": (704, 1280),
    "4:3": (704, 960),
    "1:1": (960, 960),
    "3:4": (960, 704),
    "9:16": (1280, 704),
}
_TINY_SIZES: Sizes = {"16:9": (64, 112), "4:3": (80, 112), "1:1": (80, 80), "3:4": (112, 80), "9:16": (112, 64)}

_PUBLISHED_ANNOTATORS: Mapping[str, str] = {
    "depth": "depth-anything/Depth-Anything-V2-Small-hf",
    "detector": "IDEA-Research/grounding-dino-tiny",
    "tracker": "facebook/sam2-hiera-large",
}

PERSON_DETECTOR = "rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip"
POSE_ESTIMATOR = "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122.zip"
"""The networks that find people and their joints, in the folder of both."""

UPSCALE_FACTOR = 3
"""How much larger an upscaled video is along each side, and how many tiles it is made in."""

NUM_STATES = 5
"""Tensors of the latents' shape in float32 that the sampler holds, those in float64 counted twice."""

LATENT_PX = 8
"""Height and width in pixels of what one latent stands for."""


@dataclass(frozen=True)
class Variant:
    """One model.

    dit: the base network for videos with given frames.
    driving_dit, distilled_dit: the same for driving scenes and of distilled models, if they have other sizes.
    tokenizer: the default is the published one.
    folder, av_folder: of the base model and of the one for driving scenes, under the checkpoint folder.
    text_encoder: folder of the T5 encoder under the checkpoint folder.
    num_control_blocks: blocks of a control branch. hint_channels: latent channels that it has room for.
    chunk_frames: what the model makes at once.
    upscale_overlap_px: what both seams of the tiles of an enlarged video overlap together, along the longer side.
    annotators: "depth", "detector" and "tracker" to the folders of the models that make control videos.
    """

    dit: GeneralDiTConfig
    tokenizer: CosmosTokenizerConfig = field(default_factory=CosmosTokenizerConfig)
    sizes: Sizes = field(default_factory=lambda: _PUBLISHED_SIZES)
    folder: str = "nvidia/Cosmos-Transfer1-7B"
    av_folder: str = "nvidia/Cosmos-Transfer1-7B-Sample-AV"
    text_encoder: str = "google-t5/t5-11b"
    num_control_blocks: int = 3
    hint_channels: int = 128
    chunk_frames: int = 121
    upscale_overlap_px: int = 256
    annotators: Mapping[str, str] = field(default_factory=lambda: _PUBLISHED_ANNOTATORS)
    driving_dit: GeneralDiTConfig | None = None
    distilled_dit: GeneralDiTConfig | None = None

    def base(self, *, driving: bool, distilled: bool = False) -> GeneralDiTConfig:
        """The base network; the one for driving scenes takes no given frames."""
        own = self.driving_dit if driving else self.distilled_dit if distilled else None
        return replace(own or self.dit, condition_mask=not driving)

    def branch(self, *, driving: bool, distilled: bool = False) -> ControlBranchConfig:
        """A control branch: the base's first blocks, without its stretched time."""
        return ControlBranchConfig.of(
            self.base(driving=driving, distilled=distilled),
            num_blocks=self.num_control_blocks,
            rope_t_extrapolation_ratio=1.0,
            hint_channels=16 if driving else self.hint_channels,
        )


def _tiny_dit(*, model_channels: int, num_blocks: int) -> GeneralDiTConfig:
    return GeneralDiTConfig(
        model_channels,
        num_blocks,
        num_heads=4,
        crossattn_emb_channels=TINY_TEXT_WIDTH,
        adaln_lora_dim=16,
        max_img_h=40,
        max_img_w=40,
        max_frames=16,
        rope_t_extrapolation_ratio=2.0,
    )


VARIANTS: Mapping[str, Variant] = {
    "7B": Variant(
        dit=GeneralDiTConfig(model_channels=4096, num_blocks=28, num_heads=32, rope_t_extrapolation_ratio=2.0)
    ),
    # The same networks, small enough for a laptop and to ship with the package. Everything about its size stands here.
    "tiny": Variant(
        dit=_tiny_dit(model_channels=128, num_blocks=4),
        driving_dit=_tiny_dit(model_channels=48, num_blocks=3),
        # its file holds base and branch in one: at the size of the others it would hold their base a second time
        distilled_dit=_tiny_dit(model_channels=48, num_blocks=3),
        tokenizer=TINY_HELPERS.tokenizer,
        sizes=_TINY_SIZES,
        text_encoder=TINY_HELPERS.text_encoder,
        num_control_blocks=2,
        hint_channels=16,
        chunk_frames=33,
        upscale_overlap_px=64,
        annotators={
            "depth": "depth-anything/Depth-Anything-V2-Tiny",
            "detector": "IDEA-Research/grounding-dino-tiniest",
            "tracker": "facebook/sam2-hiera-tiniest",
        },
    ),
}
