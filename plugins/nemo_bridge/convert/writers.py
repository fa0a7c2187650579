"""Writing a network in each layout, a tensor at a time. What is written has its place when all of it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import TensorSpec
from cosmos_cli.checkpoints.distributed_writing import writing_pieces
from cosmos_cli.checkpoints.tensor_files import new_file, write_numbers, write_safetensors, write_torch
from cosmos_plugins.nemo_bridge.convert.finding import (
    BACKEND,
    COMMON,
    DIFFUSERS_CLASS,
    DIFFUSERS_CONFIG,
    DIFFUSERS_WEIGHTS,
)
from cosmos_plugins.nemo_bridge.convert.keys import STORED, UNTOLD, diffusers_name
from cosmos_plugins.nemo_bridge.convert.shapes import PATCH_THW, Variant
from cosmos_plugins.nemo_bridge.convert.sources import UNTOLD_FILE, Source
from cosmos_plugins.nemo_bridge.convert.stacks import Stacks, cast
from cosmos_plugins.nemo_bridge.convert.zarr_store import ARRAY, BFLOAT16

Advance = Callable[[], None]

TRANSFORMER = "transformer"
_SHARD_BYTES = 10_000_000_000
"""Of one file of Diffusers' folders, at most; what it writes itself."""
_ZARR_DTYPES = {torch.bfloat16: BFLOAT16, torch.float16: "<f2", torch.float32: "<f4", torch.float64: "<f8"}


def native_specs(source: Source, dtype: torch.dtype | None) -> dict[str, TensorSpec]:
    """Of all native tensors, as they are written."""
    return {name: TensorSpec(source.shape(name), dtype or source.dtype(name)) for name in source}


def write_native(path: Path, source: Source, dtype: torch.dtype | None, advance: Advance) -> None:
    """NVIDIA's own file, by torch.save or, as the name of the file says, safetensors."""
    write = write_safetensors if path.suffix == ".safetensors" else write_torch
    write(path, native_specs(source, dtype), _tensors(source, list(source), dtype, advance))


def _tensors(
    source: Source, names: list[str], dtype: torch.dtype | None, advance: Advance, as_named: Callable[[str], str] = str
) -> Iterator[tuple[str, Tensor]]:
    for name in names:
        tensor = source.tensor(name)
        yield as_named(name), cast(tensor, dtype)
        advance()


def write_diffusers(folder: Path, source: Source, dtype: torch.dtype | None, advance: Advance) -> None:
    """A folder `transformer` that Diffusers loads; beside it what Diffusers has no place for."""
    specs = native_specs(source, dtype)
    shards = _shards({name: spec for name, spec in specs.items() if name not in UNTOLD})
    place = folder / TRANSFORMER
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        part = f"-{number:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
        file = f"{DIFFUSERS_WEIGHTS}{part}.safetensors"
        theirs = {_theirs(name): specs[name] for name in names}
        write_safetensors(place / file, theirs, _tensors(source, names, dtype, advance, _theirs))
        weight_map |= dict.fromkeys(theirs, file)
    if len(shards) > 1:
        total = sum(spec.num_bytes for name, spec in specs.items() if name not in UNTOLD)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        _write_json(place / f"{DIFFUSERS_WEIGHTS}.safetensors.index.json", index)
    _write_json(place / DIFFUSERS_CONFIG, diffusers_config(source.variant))
    kept = [name for name in source if name in UNTOLD]
    if kept:
        write_safetensors(
            folder / UNTOLD_FILE, {name: specs[name] for name in kept}, _tensors(source, kept, dtype, advance)
        )


def _theirs(name: str) -> str:
    theirs = diffusers_name(name)
    assert theirs is not None
    return theirs


def _shards(specs: Mapping[str, TensorSpec]) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for name, spec in specs.items():
        if shards[-1] and size + spec.num_bytes > _SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += spec.num_bytes
    return shards


def diffusers_config(variant: Variant) -> dict[str, Any]:
    """What Diffusers builds the network from."""
    config = variant.config
    return {
        "_class_name": DIFFUSERS_CLASS,
        "_diffusers_version": "0.36.0",
        "in_channels": variant.latent_channels + config.condition_mask,
        "out_channels": variant.latent_channels,
        "num_attention_heads": variant.num_heads,
        "attention_head_dim": variant.head_dim,
        "num_layers": variant.num_blocks,
        "mlp_ratio": config.mlp_ratio,
        "text_embed_dim": variant.text_width,
        "adaln_lora_dim": variant.rank,
        "max_size": [config.max_frames, config.max_img_h, config.max_img_w],
        "patch_size": list(PATCH_THW),
        "rope_scale": list(variant.rope),
        "concat_padding_mask": True,
        "extra_pos_embed_type": "learnable",
    }


def write_zarr(folder: Path, stacks: Stacks, advance: Advance) -> None:
    """A store that NeMo's recipes and scripts read: each block of a stack is a file."""
    _write_common(folder, "zarr")
    for stack in stacks.tensors.values():
        place = folder / f"{STORED}{stack.name}"
        for block in range(stack.num_pieces):
            piece = stacks.piece(stack, block)
            rest = [0] * piece.ndim
            index = rest if stack.row is None else [block, *rest]
            with new_file(place / ".".join(map(str, index))) as file:
                write_numbers(file, piece)
            advance()
        header = {
            "chunks": list(stack.shape) if stack.row is None else [1, *stack.shape[1:]],
            "compressor": None,
            "dtype": _ZARR_DTYPES[stack.dtype],
            "fill_value": None,
            "filters": None,
            "order": "C",
            "shape": list(stack.shape),
            "zarr_format": 2,
        }
        _write_json(place / ARRAY, header)  # last: a folder without it is no tensor


def write_torch_dist(folder: Path, stacks: Stacks, advance: Advance) -> None:
    """A folder of torch.distributed.checkpoint, as NeMo names things in it: each block of a stack is a piece."""
    _write_common(folder, "torch_dist")
    with writing_pieces(folder) as writer:
        for stack in stacks.tensors.values():
            for block in range(stack.num_pieces):
                piece = stacks.piece(stack, block)
                offsets = [0] * len(stack.shape)
                if stack.row is not None:
                    offsets[0], piece = block, piece[None]
                writer.add(f"{STORED}{stack.name}", stack.shape, offsets, piece)
                advance()


def _write_common(folder: Path, backend: str) -> None:
    document = {
        "sharded_backend": backend,
        "sharded_backend_version": 1,
        "common_backend": "torch",
        "common_backend_version": 1,
    }
    _write_json(folder / BACKEND, document)
    with new_file(folder / COMMON) as file:
        torch.save({}, file)


def _write_json(path: Path, document: Any) -> None:
    with new_file(path) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")
