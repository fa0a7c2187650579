"""The shapes of all networks: plain numbers, so that whoever only reads or counts them waits for no torch."""

# in a grid, T, H and W count patches along time, height and width

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from cosmos_cli.errors import CosmosError
from cosmos_cli.files.documents import read_json

GridTHW = tuple[int, int, int]
Config = TypeVar("Config", bound="DiTConfig")

HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)
"""Widths between a control's tokens and the model's, as in every published control branch."""


@dataclass(frozen=True)
class DiTConfig:
    """The shape of a network, under the names that the published configurations use.

    Args:
        model_channels: model width.
        in_channels: latent channels, without the mask channels.
        condition_mask: a video network, with one more input channel that marks the given latent frames.
        concat_padding_mask: one more input channel that marks padded pixels.
        use_adaln_lora: low-rank modulation around a shared one; False is one full matrix per sub-layer.
        max_img_h, max_img_w, max_frames: largest latent size.
        base_fps: where temporal positions count seconds, they count 1/base_fps of one.
        extra_per_block_abs_pos_emb: a position embedding is added in front of every block.
    Raises:
        ValueError: the heads do not divide the width, or are too narrow for three rotary axes.
    """

    model_channels: int
    num_blocks: int
    num_heads: int
    in_channels: int = 16
    out_channels: int = 16
    patch_spatial: int = 2
    patch_temporal: int = 1
    condition_mask: bool = True
    concat_padding_mask: bool = True
    mlp_ratio: float = 4.0
    crossattn_emb_channels: int = 1024
    use_adaln_lora: bool = True
    adaln_lora_dim: int = 256
    max_img_h: int = 240
    max_img_w: int = 240
    max_frames: int = 128
    rope_h_extrapolation_ratio: float = 1.0
    rope_w_extrapolation_ratio: float = 1.0
    rope_t_extrapolation_ratio: float = 1.0
    base_fps: int = 24
    extra_per_block_abs_pos_emb: bool = False

    def __post_init__(self) -> None:
        if self.model_channels % self.num_heads or self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(
                f"{self.num_heads} heads must split a width of {self.model_channels} into even parts of 12 or more"
            )

    @classmethod
    def of(cls: type[Config], other: DiTConfig, **changes: Any) -> Config:
        """The shape of a network of this kind, with the numbers of another one, which has no more of them."""
        return cls(**{**vars(other), **changes})

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads

    @property
    def channels_with_masks(self) -> int:
        return self.in_channels + self.condition_mask + self.concat_padding_mask

    @property
    def max_grid_THW(self) -> GridTHW:
        return (
            self.max_frames // self.patch_temporal,
            self.max_img_h // self.patch_spatial,
            self.max_img_w // self.patch_spatial,
        )

    @property
    def patch_THW(self) -> GridTHW:
        return self.patch_temporal, self.patch_spatial, self.patch_spatial

    @property
    def has_learnt_positions(self) -> bool:
        """Whether the position embedding in front of every block is learnt."""
        return self.extra_per_block_abs_pos_emb


@dataclass(frozen=True)
class MinimalDiTConfig(DiTConfig):
    """The shape of a minimal diffusion transformer, see `DiTConfig`.

    Args:
        crossattn_proj_in_channels: width of the text embedding when it must first be projected to
            `crossattn_emb_channels`; the same width, or None, means that it is used as it is.
        rope_enable_fps_modulation: temporal positions count 1/base_fps seconds rather than latent frames.
    """

    crossattn_proj_in_channels: int | None = None
    rope_enable_fps_modulation: bool = False

    @property
    def projects_text(self) -> bool:
        """Whether the text embedding must first be projected."""
        return self.crossattn_proj_in_channels not in (None, self.crossattn_emb_channels)


@dataclass(frozen=True)
class MinimalMultiviewDiTConfig(MinimalDiTConfig):
    """The shape of a multi-view network, see `MinimalDiTConfig`.

    Args:
        state_t: latent frames of one view.
        n_cameras_emb: how many cameras have an embedding; there can be no more views.
        view_condition_dim: width of a camera's embedding.
        rope_enable_fps_modulation: on. The published configuration says off, but the original network never hands that
            on to its rotary embedding, so the weights were trained with it on.
    """

    state_t: int = 8
    n_cameras_emb: int = 7
    view_condition_dim: int = 7
    rope_enable_fps_modulation: bool = True

    @property
    def channels_with_masks(self) -> int:
        return super().channels_with_masks + self.view_condition_dim


@dataclass(frozen=True)
class ActionDiTConfig(MinimalDiTConfig):
    """The shape of an action-conditioned network, see `MinimalDiTConfig`.

    Args:
        action_dim: numbers in all actions of a clip together: 12 actions of 7.
    Raises:
        ValueError: also without `use_adaln_lora`, for then there is no shared modulation to add to.
    """

    action_dim: int = 84

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use_adaln_lora:
            raise ValueError("an action-conditioned network needs use_adaln_lora")


@dataclass(frozen=True)
class GeneralDiTConfig(DiTConfig):
    """The shape of a general diffusion transformer, see `DiTConfig`.

    Args:
        extra_per_block_abs_pos_emb: a position embedding is added in front of every block.
        extra_per_block_abs_pos_emb_type: "learnable", or "sincos" for a fixed one.
        extra_h_extrapolation_ratio and the like: how far the fixed embedding is stretched; the learnt one never is.
        affline_emb_norm: the timestep embedding is normalised.
        add_augment_sigma_embedding: the network is also told how noisy the given frames are.
        legacy_patch_emb: patches are embedded by a convolution, as in some files of training runs.
        block_norm_eps: of the LayerNorms in the blocks; NeMo, by a slip, has 1e-5.
    Raises:
        ValueError: as for `DiTConfig`, or an unknown type of position embedding.
    """

    extra_per_block_abs_pos_emb: bool = True
    extra_per_block_abs_pos_emb_type: str = "learnable"
    extra_h_extrapolation_ratio: float = 1.0
    extra_w_extrapolation_ratio: float = 1.0
    extra_t_extrapolation_ratio: float = 1.0
    affline_emb_norm: bool = True
    add_augment_sigma_embedding: bool = False
    legacy_patch_emb: bool = False
    block_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extra_per_block_abs_pos_emb_type not in ("learnable", "sincos"):
            raise ValueError(f"no position embedding of type {self.extra_per_block_abs_pos_emb_type!r}")

    @property
    def has_learnt_positions(self) -> bool:
        return self.extra_per_block_abs_pos_emb and self.extra_per_block_abs_pos_emb_type == "learnable"


@dataclass(frozen=True)
class ControlBranchConfig(GeneralDiTConfig):
    """The shape of a control branch, see `GeneralDiTConfig`; `num_blocks` counts its own blocks.

    Args:
        hint_channels: latent channels of a hint, at least what is given: the rest is filled with zeros.
    """

    hint_channels: int = 128


@dataclass(frozen=True)
class MultiViewConfig(GeneralDiTConfig):
    """The shape of a network for several views, see `GeneralDiTConfig`.

    Args:
        n_views: views of a video.
        n_views_emb: rows of the table that describes views; None for one each.
        view_condition_dim: input channels that describe a view.
        add_repeat_frame_embedding: the network is also told how many frames of a view are repeated.
        extra_per_block_abs_pos_emb_type: always "sincos": these networks have no learnt embedding of positions.
    Raises:
        ValueError: as for `GeneralDiTConfig`, or a learnt position embedding.
    """

    extra_per_block_abs_pos_emb_type: str = "sincos"
    n_views: int = 6
    n_views_emb: int | None = None
    view_condition_dim: int = 6
    add_repeat_frame_embedding: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extra_per_block_abs_pos_emb_type != "sincos":
            raise ValueError("networks for several views have a fixed position embedding, of type 'sincos'")

    @property
    def channels_with_masks(self) -> int:
        return super().channels_with_masks + self.view_condition_dim

    @property
    def num_view_rows(self) -> int:
        """Rows of the table that describes views."""
        return self.n_views if self.n_views_emb is None else self.n_views_emb

    def grid_of_view(self, grid_VTHW: GridTHW) -> GridTHW:
        """The patches of one view, out of those of all.

        Raises:
            ValueError: the latent frames do not divide among the views.
        """
        VT, H, W = grid_VTHW
        if VT % self.n_views:
            raise ValueError(f"{VT} latent frames do not divide among {self.n_views} views")
        return VT // self.n_views, H, W


@dataclass(frozen=True)
class MultiViewControlBranchConfig(MultiViewConfig, ControlBranchConfig):
    """The shape of a control branch for several views, see `MultiViewConfig` and `ControlBranchConfig`."""

    hint_channels: int = 16


@dataclass(frozen=True)
class NeighborhoodConfig:
    """The sparsity of one layer, per axis (time, height, width), counted in patches.

    Args:
        window: keys per query; 1 or less means the whole axis.
        stride: neighbouring queries that share a window.
        dilation: distance between the keys of a window.
        base_grid: the grid that the numbers were chosen for: on another one they scale along. An entry of 0 or less
            leaves its axis alone. None applies the numbers as they are to every grid.
    """

    window: tuple[int, int, int]
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    base_grid: tuple[int, int, int] | None = None

    def on_grid(self, grid_THW: GridTHW) -> NeighborhoodConfig:
        """The window, stride and dilation in effect on a grid.

        Raises:
            ValueError: without a base grid, a window does not fit the grid or a stride exceeds its window.
        Source: cosmos-predict2 661da47, module/neighborhood_attn.py.
        """
        base = self.base_grid or (0, 0, 0)
        window, stride, dilation = [], [], []
        for length, base_length, w, s, d in zip(grid_THW, base, self.window, self.stride, self.dilation, strict=True):
            w = w if w > 1 else length
            if self.base_grid is not None:
                scale = length / base_length if base_length > 0 else 1.0
                w = min(max(2, round(w * scale)), length)
                s = min(max(1, round(s * scale)), w)
                d = min(max(1, round(d * scale)), length // w)
            if w * d > length or s > w:
                raise ValueError(
                    f"window {w} with stride {s} and dilation {d} does not fit an axis of {length} patches"
                )
            window.append(w)
            stride.append(s)
            dilation.append(d)
        return NeighborhoodConfig(triple(window), triple(stride), triple(dilation))


def triple(numbers: list[int]) -> tuple[int, int, int]:
    first, second, third = numbers
    return first, second, third


@dataclass(frozen=True)
class WanVAEConfig:
    """Sizes of the tokenizer; the defaults are those of the published weights."""

    dim: int = 96
    """Width of the level at full resolution."""
    z_dim: int = 16
    """Latent channels."""
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    """Width of each level, finest first, in multiples of `dim`."""
    num_res_blocks: int = 2
    """Residual blocks of an encoder level; a decoder level has one more."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Which steps from one level to the next, finest first, halve time as well as space."""

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent pixel, along height and along width."""
        return 2 ** len(self.temporal_downsample)

    @property
    def temporal_factor(self) -> int:
        """Pixel frames per latent frame, after the first."""
        return 2 ** sum(self.temporal_downsample)


@dataclass(frozen=True)
class CosmosTokenizerConfig:
    """Sizes of the tokenizer; the defaults are those of CV8x8x8."""

    channels: int = 128
    channels_mult: tuple[int, ...] = (2, 4, 4)
    """Width of each level, finest first, in multiples of `channels`."""
    num_res_blocks: int = 2
    """Residual blocks of an encoder level; a decoder level has one more."""
    z_channels: int = 16
    """Channels between the encoder and its last 1 x 1 x 1 convolution."""
    latent_channels: int = 16
    patch_size: int = 4
    """Pixels along each side, and frames, that the wavelet transform folds into channels."""
    spatial_compression: int = 8
    temporal_compression: int = 8

    def __post_init__(self) -> None:
        factors = (self.patch_size, self.spatial_compression, self.temporal_compression)
        if any(factor < 1 or factor & (factor - 1) for factor in factors):
            raise ValueError(f"patch size and compressions are {factors}, not powers of 2.")
        if not self.patch_size <= self.temporal_compression <= self.spatial_compression:
            raise ValueError("it takes patch_size <= temporal_compression <= spatial_compression.")
        for axis, compression in enumerate((self.spatial_compression, self.temporal_compression)):
            for resamples in (self.downsamples, self.upsamples):
                num_levels = sum(resamples(level)[axis] for level in range(len(self.channels_mult)))
                if num_levels != self._num_halvings(compression):
                    raise ValueError(
                        f"{len(self.channels_mult)} levels are too few for a compression by {compression}."
                    )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * mult for mult in self.channels_mult)

    @property
    def patch_channels(self) -> int:
        return 3 * self.patch_size**3

    def downsamples(self, level: int) -> tuple[bool, bool]:
        """Whether the encoder halves space, and time, after this level: the finest levels do."""
        num_spatial, num_temporal = map(self._num_halvings, (self.spatial_compression, self.temporal_compression))
        return level < num_spatial, level < num_temporal

    def upsamples(self, level: int) -> tuple[bool, bool]:
        """Whether the decoder doubles space, and time, after this level.

        No mirror image of the encoder: where time is doubled, the coarsest level leaves it alone, and space as well
        unless space is to be doubled more often than time.
        """
        num_spatial, num_temporal = map(self._num_halvings, (self.spatial_compression, self.temporal_compression))
        position = len(self.channels_mult) - 1 - level
        if level == 0:
            return False, False
        temporal = 0 < position <= num_temporal
        return temporal or (position < num_spatial and num_spatial > num_temporal), temporal

    def _num_halvings(self, compression: int) -> int:
        return (compression // self.patch_size).bit_length() - 1


@dataclass(frozen=True)
class T5EncoderConfig:
    """The encoder half of a T5 model, under the names of its config.json; the defaults are those of T5-11B."""

    d_model: int = 1024
    d_kv: int = 128
    d_ff: int = 65536
    num_layers: int = 24
    num_heads: int = 128
    vocab_size: int = 32128
    relative_attention_num_buckets: int = 32

    @classmethod
    def in_folder(cls, folder: Path) -> T5EncoderConfig:
        """The encoder that lies in a folder, or the published one where none does."""
        try:
            config = read_json(folder / "config.json")
            sizes = {field.name: config[field.name] for field in fields(cls)}
        except (CosmosError, LookupError, TypeError):
            return cls()
        is_possible = all(type(size) is int and 0 < size < 2**31 for size in sizes.values())
        return cls(**sizes) if is_possible else cls()


TINY_WAN_VAE = WanVAEConfig(dim=12, num_res_blocks=1)
"""The tokenizer of Predict2's tiny models."""

TINY_COSMOS_TOKENIZER = CosmosTokenizerConfig(channels=16, channels_mult=(2, 4, 4), num_res_blocks=1)
"""The tokenizer of all other tiny models."""
