"""The size of a network, told by the shapes of its tensors, and the shapes of all tensors by the size. No torch.

What a folder or a file is called says nothing about what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_plugins.nemo_bridge.convert.keys import (
    HEAD,
    IN_BLOCK,
    LAYERS,
    NET,
    NUM_PARTS,
    OUTSIDE,
    POSITIONS,
    InBlock,
    Rule,
    block_name,
    native_names,
    num_blocks_in,
    outside_in_nemo,
    place_of,
)

Shape = tuple[int, ...]
Kind = Literal["text2world", "video2world", "camera"]

PATCH_THW = (1, 2, 2)
HEAD_CHANNELS = 128
"""Of the head of the loss."""
RANK = 256
"""Of the modulation of published networks."""

_KINDS: Mapping[int, Kind] = {1: "text2world", 2: "video2world", 8: "camera"}
"""Channels that the network is given beside the latents: masks, and for a camera its six coordinates."""
_PUBLISHED = {(4096, 28, 32): "7B", (5120, 36, 40): "14B"}
"""Width, blocks and heads of published networks."""
_TELLING: Mapping[str, tuple[tuple[str, int], ...]] = {
    "width": (("net.affline_norm.weight", 0), ("net.t_embedder.1.linear_1.weight", 0)),
    "head_dim": (("blocks.0.block.attn.to_q.1.weight", 0), ("blocks.0.block.attn.to_k.1.weight", 0)),
    "text_width": (("blocks.1.block.attn.to_k.0.weight", 1), ("blocks.1.block.attn.to_v.0.weight", 1)),
    "mlp_width": (("blocks.2.block.layer1.weight", 0), ("blocks.2.block.layer2.weight", 1)),
    "rank": (("blocks.0.adaLN_modulation.1.weight", 0), ("blocks.0.adaLN_modulation.2.weight", 1)),
    "columns_in": (("net.x_embedder.proj.1.weight", 1),),
    "rows_out": (("net.final_layer.linear.weight", 0),),
    "frames": (("net.extra_pos_embedder.pos_emb_t", 0),),
    "rows": (("net.extra_pos_embedder.pos_emb_h", 0),),
    "columns": (("net.extra_pos_embedder.pos_emb_w", 0),),
}
"""Fields of `Variant` to where they can be seen: native name, in any block if it is of one, and dim."""


@dataclass(frozen=True)
class Variant:
    """The size of a network.

    width: of the model. head_dim: of one head. columns_in, rows_out: numbers of one patch, given and predicted.
    rank: of the modulation of one part of a block, and of the last layer.
    frames, rows, columns: patches that the learnt positions reach.
    rope_THW: how far rotary positions are stretched, which no shape tells: by the size, unless a file says.
    """

    num_blocks: int
    width: int
    head_dim: int
    text_width: int
    mlp_width: int
    rank: int
    columns_in: int
    rows_out: int
    frames: int
    rows: int
    columns: int
    rope_THW: tuple[float, float, float] | None = None

    @property
    def num_heads(self) -> int:
        return self.width // self.head_dim

    @property
    def latent_channels(self) -> int:
        return self.rows_out // prod(PATCH_THW)

    @property
    def kind(self) -> Kind | None:
        """What the network makes; None if it is given what none of these networks is."""
        channels, rest = divmod(self.columns_in, prod(PATCH_THW))
        return None if rest else _KINDS.get(channels - self.latent_channels)

    @property
    def size(self) -> str:
        """ "7B", "14B", or width and blocks of what was never published."""
        return _PUBLISHED.get((self.width, self.num_blocks, self.num_heads), f"{self.width}x{self.num_blocks}")

    @property
    def rope(self) -> tuple[float, float, float]:
        """How far rotary positions are stretched along time, height and width."""
        return self.rope_THW or ((2.0, 2.0, 2.0) if self.size == "14B" else (2.0, 1.0, 1.0))

    @property
    def config(self) -> GeneralDiTConfig:
        """The network that takes these weights.

        Raises:
            CheckpointError: there is none.
        """
        if self.kind not in ("text2world", "video2world"):
            raise CheckpointError(
                f"The network is given {self.columns_in} numbers a patch, as only NeMo's own for cameras are.",
                fix="Give the checkpoint of a Text2World or Video2World network.",
            )
        rope_t, rope_h, rope_w = self.rope
        return GeneralDiTConfig(
            model_channels=self.width,
            num_blocks=self.num_blocks,
            num_heads=self.num_heads,
            in_channels=self.latent_channels,
            out_channels=self.latent_channels,
            condition_mask=self.kind == "video2world",
            mlp_ratio=self.mlp_width / self.width,
            crossattn_emb_channels=self.text_width,
            adaln_lora_dim=self.rank,
            max_frames=self.frames * PATCH_THW[0],
            max_img_h=self.rows * PATCH_THW[1],
            max_img_w=self.columns * PATCH_THW[2],
            rope_t_extrapolation_ratio=rope_t,
            rope_h_extrapolation_ratio=rope_h,
            rope_w_extrapolation_ratio=rope_w,
        )

    def with_rank(self, rank: int) -> Variant:
        return replace(self, rank=rank)


class Untold(ValueError):
    """Shapes that tell no size. missing: names without which nothing can be told."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(f"lacks {', '.join(missing)}")
        self.missing = missing


def variant_of(shapes: Mapping[str, Shape]) -> Variant:
    """The size of the network that has these native names and shapes.

    Raises:
        Untold: tensors are missing by which it is told, or have too few dims; whatever else is wrong is not seen here.
    """
    numbers: dict[str, Any] = {}
    missing = []
    num_blocks = num_blocks_in(shapes)
    for field, places in _TELLING.items():
        for name, dim in places:
            named = [name] if name.startswith(NET) else [block_name(block, name) for block in range(num_blocks)]
            shape = next((shapes[own] for own in named if len(shapes.get(own, ())) > dim), None)
            if shape is not None and shape[dim] > 0:
                numbers[field] = shape[dim]
                break
        else:
            name, _ = places[0]
            missing.append(name if name.startswith(NET) else block_name(0, name))
    if missing:
        raise Untold(missing)
    return Variant(num_blocks=num_blocks, **numbers)


def native_shapes(variant: Variant) -> dict[str, Shape]:
    """All native names of a network and their shapes."""
    return {name: _native_shape(variant, name) for name in native_names(variant.num_blocks)}


def _native_shape(variant: Variant, name: str) -> Shape:
    width, rank = variant.width, variant.rank
    place = place_of(name)
    if place is not None:
        return _part_shape(variant, place.row.native[place.part])
    return {
        "net.x_embedder.proj.1.weight": (width, variant.columns_in),
        POSITIONS: (max(variant.frames, variant.rows, variant.columns),),
        "net.extra_pos_embedder.pos_emb_h": (variant.rows, width),
        "net.extra_pos_embedder.pos_emb_w": (variant.columns, width),
        "net.extra_pos_embedder.pos_emb_t": (variant.frames, width),
        "net.t_embedder.1.linear_1.weight": (width, width),
        "net.t_embedder.1.linear_2.weight": (3 * width, width),
        "net.final_layer.linear.weight": (variant.rows_out, width),
        "net.final_layer.adaLN_modulation.1.weight": (rank, width),
        "net.final_layer.adaLN_modulation.2.weight": (2 * width, rank),
        "net.affline_norm.weight": (width,),
        HEAD[0]: (HEAD_CHANNELS,),
        HEAD[1]: (HEAD_CHANNELS,),
        HEAD[2]: (1, HEAD_CHANNELS),
    }[name]


def _part_shape(variant: Variant, name: str) -> Shape:
    """Of a block's tensor, by its name inside of the block."""
    width = variant.width
    if name.endswith((".to_q.1.weight", ".to_k.1.weight")):
        return (variant.head_dim,)
    if name.endswith("adaLN_modulation.1.weight"):
        return (variant.rank, width)
    if name.endswith("adaLN_modulation.2.weight"):
        return (3 * width, variant.rank)
    if name.endswith("layer1.weight"):
        return (variant.mlp_width, width)
    if name.endswith("layer2.weight"):
        return (width, variant.mlp_width)
    reads_text = name.startswith("blocks.1.") and name.endswith((".to_k.0.weight", ".to_v.0.weight"))
    return (width, variant.text_width) if reads_text else (width, width)


def nemo_shapes(variant: Variant, *, is_dense: bool = False) -> dict[str, Shape]:
    """All names of NeMo and their shapes, with the stacked axis.

    Args:
        is_dense: the network has the form that NeMo's training gives, in which the parts of a block share one
            modulation: its rank is the sum of theirs.
    """
    outer = variant.with_rank(variant.rank // NUM_PARTS) if is_dense else variant
    shapes = {outside_in_nemo(entry.native): _native_shape(outer, entry.native) for entry in OUTSIDE}
    for row in IN_BLOCK:
        shapes[f"{LAYERS}{row.nemo}"] = (variant.num_blocks, *_row_shape(outer, row))
    return shapes


def _row_shape(variant: Variant, row: InBlock) -> Shape:
    """Of NeMo's tensor of one block."""
    first, *rest = _part_shape(variant, row.native[0])
    count = len(row.native)
    if row.rule is Rule.DIAGONAL:
        return (count * first, count * rest[0])
    return (count * first, *rest)


def as_native_shapes(stacked: Mapping[str, Shape]) -> dict[str, Shape]:
    """Native names and shapes of what NeMo's names and shapes hold, as far as they are of such a network."""
    shapes = {entry.native: stacked[name] for entry in OUTSIDE if (name := outside_in_nemo(entry.native)) in stacked}
    for row in IN_BLOCK:
        num_blocks, *shape = stacked.get(f"{LAYERS}{row.nemo}", (0,))
        count = len(row.native)
        divided = shape[:2] if row.rule is Rule.DIAGONAL else shape[:1]
        part = (*(size // count for size in divided), *shape[len(divided) :])
        for block in range(min(num_blocks, _MAX_BLOCKS)):
            shapes |= {block_name(block, name): part for name in row.native}
    return shapes


_MAX_BLOCKS = 1000
"""More than any network has, whatever a file says."""
