"""Small networks in every layout, NeMo's written by its rules, row by row, without the code under test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from cosmos_plugins.nemo_bridge.convert.shapes import Variant, native_shapes

Weights = dict[str, Tensor]

TEXT2WORLD = Variant(
    num_blocks=3,
    width=48,
    head_dim=12,
    text_width=20,
    mlp_width=192,
    rank=8,
    columns_in=68,
    rows_out=64,
    frames=6,
    rows=5,
    columns=7,
)
VIDEO2WORLD = Variant(
    num_blocks=2,
    width=72,
    head_dim=24,
    text_width=16,
    mlp_width=144,
    rank=4,
    columns_in=72,
    rows_out=64,
    frames=3,
    rows=4,
    columns=4,
)

SPLIT = {
    "full_self_attention.linear_qkv.weight": 0,
    "full_self_attention.linear_proj.weight": 1,
    "cross_attention.linear_q.weight": 0,
    "cross_attention.linear_kv.weight": 0,
    "cross_attention.linear_proj.weight": 1,
    "mlp.linear_fc1.weight": 0,
    "mlp.linear_fc2.weight": 1,
}
"""Dims that tensor parallelism divides, as the recipes' layers do."""

BACKEND = {"sharded_backend_version": 1, "common_backend": "torch", "common_backend_version": 1}


def native_weights(variant: Variant, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Weights:
    """Random weights under native names."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: (torch.randn(shape, generator=generator) * max(shape[-1], 1) ** -0.5).to(dtype)
        for name, shape in native_shapes(variant).items()
    }
    weights["net.pos_embedder.seq"] = torch.arange(len(weights["net.pos_embedder.seq"])).to(dtype)
    return weights


def save_native(weights: Weights, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    return path


def stacked(weights: Weights, variant: Variant) -> Weights:
    """NeMo's tensors by their names without `module.`."""
    found = {
        name.removeprefix("net."): tensor for name, tensor in weights.items() if not name.startswith("net.blocks.")
    }
    blocks = [_block(weights, f"net.blocks.block{i}.blocks.", variant) for i in range(variant.num_blocks)]
    return found | {f"decoder.layers.{name}": torch.stack([block[name] for block in blocks]) for name in blocks[0]}


def _block(weights: Weights, start: str, variant: Variant) -> Weights:
    own, cross, mlp = f"{start}0.block.attn.", f"{start}1.block.attn.", f"{start}2.block."
    width, rank = variant.width, variant.rank
    first = [weights[f"{start}{part}.adaLN_modulation.1.weight"] for part in range(3)]
    second = torch.zeros(9 * width, 3 * rank, dtype=first[0].dtype)
    for part in range(3):
        rows, columns = slice(3 * width * part, 3 * width * (part + 1)), slice(rank * part, rank * (part + 1))
        second[rows, columns] = weights[f"{start}{part}.adaLN_modulation.2.weight"]
    return {
        "full_self_attention.linear_qkv.weight": by_heads([weights[f"{own}to_{n}.0.weight"] for n in "qkv"], variant),
        "full_self_attention.q_layernorm.weight": weights[f"{own}to_q.1.weight"],
        "full_self_attention.k_layernorm.weight": weights[f"{own}to_k.1.weight"],
        "full_self_attention.linear_proj.weight": weights[f"{own}to_out.0.weight"],
        "cross_attention.linear_q.weight": weights[f"{cross}to_q.0.weight"],
        "cross_attention.linear_kv.weight": by_heads([weights[f"{cross}to_{n}.0.weight"] for n in "kv"], variant),
        "cross_attention.q_layernorm.weight": weights[f"{cross}to_q.1.weight"],
        "cross_attention.k_layernorm.weight": weights[f"{cross}to_k.1.weight"],
        "cross_attention.linear_proj.weight": weights[f"{cross}to_out.0.weight"],
        "mlp.linear_fc1.weight": weights[f"{mlp}layer1.weight"],
        "mlp.linear_fc2.weight": weights[f"{mlp}layer2.weight"],
        "adaLN.adaLN_modulation.1.weight": torch.cat(first),
        "adaLN.adaLN_modulation.2.weight": second,
    }


def by_heads(parts: list[Tensor], variant: Variant) -> Tensor:
    """Row (head * n + s) * d + i is row head * d + i of matrix s."""
    size, count = variant.head_dim, len(parts)
    fused = torch.empty(count * variant.width, parts[0].shape[1], dtype=parts[0].dtype)
    for head, s, i in product(range(variant.width // size), range(count), range(size)):
        fused[(head * count + s) * size + i] = parts[s][head * size + i]
    return fused


def train_in_nemo(store: Weights, seed: int = 1) -> Weights:
    """The store after steps that fill what was zero in the modulation."""
    name = "decoder.layers.adaLN.adaLN_modulation.2.weight"
    noise = torch.randn(store[name].shape, generator=torch.Generator().manual_seed(seed)) * 0.01
    return store | {name: (store[name].float() + noise).to(store[name].dtype)}


def save_zarr(store: Mapping[str, Tensor], folder: Path, tp: int = 1) -> Path:
    """A store as so many tensor-parallel ranks write it, with what else NeMo leaves there."""
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": "zarr", **BACKEND}))
    (folder / "common.pt").write_bytes(b"never read")
    state = folder / "module.decoder.layers.full_self_attention.core_attention._extra_state"
    state.mkdir()
    (state / "shard_0_3.pt").write_bytes(b"never read")
    for name, tensor in store.items():
        is_stacked = name.startswith("decoder.layers.")
        chunks = list(tensor.shape)
        if is_stacked:
            chunks[0] = 1
            if (dim := SPLIT.get(name.removeprefix("decoder.layers."))) is not None:
                chunks[dim + 1] //= tp
        save_array(folder / f"module.{name}", tensor, chunks)
    return folder


def save_array(folder: Path, tensor: Tensor, chunks: list[int], header: Mapping[str, object] | None = None) -> None:
    """One tensor. Chunks at the edges are filled up. header: other fields than those that it has."""
    folder.mkdir()
    dtype = {torch.bfloat16: "bfloat16", torch.float32: "<f4"}[tensor.dtype]
    grid = [range(-(-size // step)) for size, step in zip(tensor.shape, chunks, strict=True)]
    for index in product(*grid):
        place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, chunks, strict=True))
        full = torch.zeros(chunks, dtype=tensor.dtype)
        part = tensor[place]
        full[tuple(slice(0, size) for size in part.shape)] = part
        (folder / ".".join(map(str, index))).write_bytes(full.view(torch.uint8).numpy().tobytes())
    fields = {
        "chunks": chunks,
        "compressor": None,
        "dtype": dtype,
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": list(tensor.shape),
        "zarr_format": 2,
    }
    (folder / ".zarray").write_text(json.dumps({**fields, **(header or {})}))


def save_torch_dist(store: Mapping[str, Tensor], folder: Path) -> Path:
    """A store as torch itself writes it, with an optimizer and states that are no weights."""
    folder.mkdir(parents=True)
    content: dict[str, object] = {f"module.{name}": tensor for name, tensor in store.items()}
    content |= {f"optimizer.state.exp_avg.module.{name}": torch.zeros(3) for name in list(store)[:3]}
    content["module.decoder.layers.full_self_attention.core_attention._extra_state/shard_0_3"] = {"fp8": 1}
    dcp.save(content, checkpoint_id=folder, no_dist=True)
    (folder / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist", **BACKEND}))
    return folder


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Bit by bit, names and types too."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )
