"""The names of one network in three layouts: NVIDIA's own files, NeMo's stores and Diffusers' folders. Data, no torch.

Native names are those of `cosmos_cli.models.general_dit`, with `net.` in front, and beside them the head `logvar.`.
NeMo stacks all blocks on a leading axis under `decoder.layers.`, so that its names have no number of a block, and puts
together what one multiplication computes; Diffusers only names differently. No layout transposes a matrix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

NET = "net."
"""In front of the network's names in native files."""
LAYERS = "decoder.layers."
"""In front of what NeMo stacks."""
STORED = "module."
"""In front of all names of weights in NeMo's stores."""

POSITIONS = "net.pos_embedder.seq"
"""0, 1, 2 and so on: a constant that native files hold."""
HEAD = ("logvar.0.freqs", "logvar.0.phases", "logvar.1.weight")
"""What predicts the uncertainty of the training loss; no network that makes videos has it."""

NUM_PARTS = 3
"""Of a block: self-attention, cross-attention, MLP."""


class Rule(Enum):
    """How NeMo's tensor of a block comes of the native ones."""

    COPY = auto()
    """It is the native one."""
    HEADS = auto()
    """Rows of the native ones, taken in turn for each head: all of the first head come before any of the second."""
    ROWS = auto()
    """The native ones below each other."""
    DIAGONAL = auto()
    """The native ones along a diagonal, with zeros around them; training in NeMo fills these."""


@dataclass(frozen=True)
class Outside:
    """A tensor outside of the blocks, of which NeMo's name is the native one. diffusers: None where it has none."""

    native: str
    diffusers: str | None


@dataclass(frozen=True)
class InBlock:
    """A tensor of NeMo's stacked blocks. native and diffusers: what it is made of, by names inside of a block."""

    nemo: str
    native: tuple[str, ...]
    diffusers: tuple[str, ...]
    rule: Rule = Rule.COPY


OUTSIDE = (
    Outside("net.x_embedder.proj.1.weight", "patch_embed.proj.weight"),
    Outside(POSITIONS, None),
    Outside("net.extra_pos_embedder.pos_emb_h", "learnable_pos_embed.pos_emb_h"),
    Outside("net.extra_pos_embedder.pos_emb_w", "learnable_pos_embed.pos_emb_w"),
    Outside("net.extra_pos_embedder.pos_emb_t", "learnable_pos_embed.pos_emb_t"),
    Outside("net.t_embedder.1.linear_1.weight", "time_embed.t_embedder.linear_1.weight"),
    Outside("net.t_embedder.1.linear_2.weight", "time_embed.t_embedder.linear_2.weight"),
    Outside("net.final_layer.linear.weight", "proj_out.weight"),
    Outside("net.final_layer.adaLN_modulation.1.weight", "norm_out.linear_1.weight"),
    Outside("net.final_layer.adaLN_modulation.2.weight", "norm_out.linear_2.weight"),
    Outside("net.affline_norm.weight", "time_embed.norm.weight"),
    *(Outside(name, None) for name in HEAD),
)

_SELF, _CROSS, _MLP = "blocks.0.block.attn.", "blocks.1.block.attn.", "blocks.2.block."

IN_BLOCK = (
    InBlock(
        "full_self_attention.linear_qkv.weight",
        (f"{_SELF}to_q.0.weight", f"{_SELF}to_k.0.weight", f"{_SELF}to_v.0.weight"),
        ("attn1.to_q.weight", "attn1.to_k.weight", "attn1.to_v.weight"),
        Rule.HEADS,
    ),
    InBlock("full_self_attention.q_layernorm.weight", (f"{_SELF}to_q.1.weight",), ("attn1.norm_q.weight",)),
    InBlock("full_self_attention.k_layernorm.weight", (f"{_SELF}to_k.1.weight",), ("attn1.norm_k.weight",)),
    InBlock("full_self_attention.linear_proj.weight", (f"{_SELF}to_out.0.weight",), ("attn1.to_out.0.weight",)),
    InBlock("cross_attention.linear_q.weight", (f"{_CROSS}to_q.0.weight",), ("attn2.to_q.weight",)),
    InBlock(
        "cross_attention.linear_kv.weight",
        (f"{_CROSS}to_k.0.weight", f"{_CROSS}to_v.0.weight"),
        ("attn2.to_k.weight", "attn2.to_v.weight"),
        Rule.HEADS,
    ),
    InBlock("cross_attention.q_layernorm.weight", (f"{_CROSS}to_q.1.weight",), ("attn2.norm_q.weight",)),
    InBlock("cross_attention.k_layernorm.weight", (f"{_CROSS}to_k.1.weight",), ("attn2.norm_k.weight",)),
    InBlock("cross_attention.linear_proj.weight", (f"{_CROSS}to_out.0.weight",), ("attn2.to_out.0.weight",)),
    InBlock("mlp.linear_fc1.weight", (f"{_MLP}layer1.weight",), ("ff.net.0.proj.weight",)),
    InBlock("mlp.linear_fc2.weight", (f"{_MLP}layer2.weight",), ("ff.net.2.weight",)),
    InBlock(
        "adaLN.adaLN_modulation.1.weight",
        tuple(f"blocks.{part}.adaLN_modulation.1.weight" for part in range(NUM_PARTS)),
        tuple(f"norm{part + 1}.linear_1.weight" for part in range(NUM_PARTS)),
        Rule.ROWS,
    ),
    InBlock(
        "adaLN.adaLN_modulation.2.weight",
        tuple(f"blocks.{part}.adaLN_modulation.2.weight" for part in range(NUM_PARTS)),
        tuple(f"norm{part + 1}.linear_2.weight" for part in range(NUM_PARTS)),
        Rule.DIAGONAL,
    ),
)


@dataclass(frozen=True)
class Place:
    """Where NeMo keeps a native tensor: in which stack, in which block of it, as which of its parts."""

    row: InBlock
    block: int
    part: int


_BLOCK = re.compile(r"net\.blocks\.block(\d{1,4})\.(.+)")
_PART_OF = {name: (row, part) for row in IN_BLOCK for part, name in enumerate(row.native)}
_DIFFUSERS_BLOCK = re.compile(r"transformer_blocks\.(\d{1,4})\.(.+)")
_NATIVE_OF = {theirs: name for row in IN_BLOCK for theirs, name in zip(row.diffusers, row.native, strict=True)}
_THEIRS_OF = {name: theirs for theirs, name in _NATIVE_OF.items()}
_OUTSIDE_THEIRS_OF = {entry.native: entry.diffusers for entry in OUTSIDE}
_OUTSIDE_NATIVE_OF = {theirs: native for native, theirs in _OUTSIDE_THEIRS_OF.items() if theirs}

UNTOLD = frozenset(native for native, theirs in _OUTSIDE_THEIRS_OF.items() if theirs is None)
"""Native names of what Diffusers has no place for: a constant, and the head of the loss."""
NOT_NEEDED = UNTOLD
"""Native names without which a network makes the same videos."""


def block_name(block: int, name: str) -> str:
    """The native name of a block's tensor."""
    return f"net.blocks.block{block}.{name}"


def native_names(num_blocks: int) -> Iterator[str]:
    """All native names, block after block."""
    yield from (entry.native for entry in OUTSIDE)
    for block in range(num_blocks):
        yield from (block_name(block, name) for row in IN_BLOCK for name in row.native)


def nemo_names() -> Iterator[str]:
    """All names in NeMo's stores, without `module.`."""
    yield from (outside_in_nemo(entry.native) for entry in OUTSIDE)
    yield from (f"{LAYERS}{row.nemo}" for row in IN_BLOCK)


def outside_in_nemo(native: str) -> str:
    """NeMo's name of what is outside of the blocks."""
    return native.removeprefix(NET)


def place_of(native: str) -> Place | None:
    """Where NeMo stacks a native tensor; None for what is outside of the blocks."""
    found = _BLOCK.fullmatch(native)
    if found is None:
        return None
    row, part = _PART_OF[found[2]]
    return Place(row, int(found[1]), part)


def nemo_name(native: str) -> str:
    """The name of what NeMo keeps a native tensor in."""
    place = place_of(native)
    return outside_in_nemo(native) if place is None else f"{LAYERS}{place.row.nemo}"


def num_blocks_in(natives: Mapping[str, object]) -> int:
    """One more than the highest number of a block that native names have."""
    return max((int(found[1]) + 1 for name in natives if (found := _BLOCK.fullmatch(name))), default=0)


def diffusers_name(native: str) -> str | None:
    """The name in Diffusers' folders; None for what they have no place for."""
    found = _BLOCK.fullmatch(native)
    if found is None:
        return _OUTSIDE_THEIRS_OF[native]
    return f"transformer_blocks.{int(found[1])}.{_THEIRS_OF[found[2]]}"


def native_of_diffusers(name: str) -> str | None:
    """The native name; None for what no such network has."""
    found = _DIFFUSERS_BLOCK.fullmatch(name)
    if found is None:
        return _OUTSIDE_NATIVE_OF.get(name)
    native = _NATIVE_OF.get(found[2])
    return native and block_name(int(found[1]), native)
