"""Checkpoints of Cosmos-1.0 diffusion networks in any layout, read under the native names, one tensor at a time.

A `Source` is a checkpoint as `cosmos_cli.checkpoints.loading.load_network` takes it, by `PUBLISHED`. No NeMo, no
Megatron and no zarr is needed, and nothing in a file is run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.distributed import DistributedCheckpoint
from cosmos_cli.checkpoints.keys import PUBLISHED, without_shells
from cosmos_cli.checkpoints.readers import open_checkpoint as open_tensors
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json
from cosmos_plugins.nemo_bridge.convert.checking import FLOATS, check_tensors, specs_of, told_variant
from cosmos_plugins.nemo_bridge.convert.finding import DIFFUSERS_CONFIG, find_checkpoint
from cosmos_plugins.nemo_bridge.convert.fusing import is_diagonal, pad_head_in, pad_head_out, part_of
from cosmos_plugins.nemo_bridge.convert.keys import (
    LAYERS,
    NET,
    NOT_NEEDED,
    NUM_PARTS,
    POSITIONS,
    STORED,
    UNTOLD,
    diffusers_name,
    native_names,
    native_of_diffusers,
    nemo_name,
    nemo_names,
    num_blocks_in,
    outside_in_nemo,
    place_of,
)
from cosmos_plugins.nemo_bridge.convert.shapes import (
    Variant,
    as_native_shapes,
    native_shapes,
    nemo_shapes,
)
from cosmos_plugins.nemo_bridge.convert.zarr_store import ZarrCheckpoint

Format = Literal["native", "nemo-zarr", "nemo-torch-dist", "diffusers"]

UNTOLD_FILE = "cosmos/native.safetensors"
"""Beside the folder of Diffusers' network: tensors of the native file that it has no place for."""

HEAD_IN, HEAD_OUT = "net.final_layer.adaLN_modulation.1.weight", "net.final_layer.adaLN_modulation.2.weight"
_ADALN = "adaLN.adaLN_modulation.2.weight"
_NOT_WEIGHTS = ("_extra_state", "optimizer.", "rng_state", "rerun_state_machine")


class Source(Checkpoint):
    """A network's weights under native names, whatever they are in; also the constant that some files leave out.

    path: of the file or folder that was found. format: what that is.
    variant: the size of the network, told by the shapes. How it was told says nothing of the path.
    is_dense: NeMo has trained it, by which the three parts of a block share one modulation. The network that is
        exactly that has three times the rank, `variant.rank`.
    """

    format: Format
    variant: Variant
    is_dense: bool = False

    def __init__(
        self,
        path: Path,
        inner: Checkpoint,
        specs: Mapping[str, TensorSpec],
        variant: Variant,
        beside: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._beside = {**({} if POSITIONS in specs else {POSITIONS: _positions(variant)}), **(beside or {})}
        others = {name: TensorSpec(tensor.shape, tensor.dtype) for name, tensor in self._beside.items()}
        super().__init__(path, {**specs, **others})
        self._inner = inner
        self.variant = variant

    def _read(self, key: str) -> Tensor:
        return self._beside[key] if key in self._beside else self._weight(key)

    @abstractmethod
    def _weight(self, key: str) -> Tensor:
        """A tensor of the file, under its native name."""

    def close(self) -> None:
        super().close()
        self._inner.close()

    def __enter__(self) -> Source:
        return self


def open_checkpoint(path: str | Path) -> Source:
    """Open a checkpoint of a Cosmos-1.0 diffusion network.

    Args:
        path: see `find_checkpoint`.
    Raises:
        CheckpointError: there is none, or it is damaged, half-written, hostile, or of another network; all tensors that
            are missing, foreign or misshapen are named together.
    """
    found = find_checkpoint(Path(path))
    if found.layout == "nemo-zarr":
        return _closing(ZarrCheckpoint(found.path), lambda inner: NemoSource(found.path, inner, "nemo-zarr"))
    if found.layout in ("nemo-torch-dist", "distributed"):
        return _closing(DistributedCheckpoint(found.path), lambda inner: _of_distributed(found.path, inner))
    return _closing(open_tensors(found.path, PUBLISHED.wrappers), lambda inner: _of_tensors(found.path, inner))


def _closing(inner: Checkpoint, view: Any) -> Source:
    try:
        source: Source = view(inner)
    except BaseException:
        inner.close()
        raise
    return source


def _of_distributed(path: Path, inner: Checkpoint) -> Source:
    if any(_bare(key).startswith(LAYERS) for key in inner):
        return NemoSource(path, inner, "nemo-torch-dist")
    return NativeSource(path, inner)


def _of_tensors(path: Path, inner: Checkpoint) -> Source:
    if any(key.startswith("transformer_blocks.") for key in inner):
        return DiffusersSource(path, inner)
    return NativeSource(path, inner)


class NativeSource(Source):
    """NVIDIA's own file, or what a post-training left, in any container that cosmos reads."""

    format = "native"

    def __init__(self, path: Path, inner: Checkpoint) -> None:
        key_of, outside = _native_keys(inner)
        shapes = {name: tuple(inner.shape(key)) for name, key in key_of.items()}
        variant = told_variant(path, inner, shapes)
        check_tensors(path, native_shapes(variant), shapes, [*outside], optional=NOT_NEEDED)
        super().__init__(path, inner, specs_of(inner, key_of, path), variant)
        self._key_of = key_of

    def _weight(self, key: str) -> Tensor:
        return self._inner.tensor(self._key_of[key])


def _native_keys(inner: Checkpoint) -> tuple[dict[str, str], list[str]]:
    """Native names to the keys of a file, in its order; and what is inside of the network that these have not."""
    keys = list(inner)
    bare = [name.removeprefix(NET) for name in native_names(0) if name.startswith(NET)]
    strip = without_shells(bare, keys)
    full = {key: strip(key) for key in keys}
    guess = {f"{NET}{name.removeprefix(NET)}": key for key, name in full.items()}
    names = [name.removeprefix(NET) for name in native_names(num_blocks_in(guess)) if name.startswith(NET)]
    match = PUBLISHED.match(keys, names, inner.wrapper)
    known = set(names)
    of_network = {f"{NET}{name}": key for name, key in match.key_of.items() if name in known}
    # what loading passes over since nothing is learnt in it, and files hold
    for key, name in full.items():
        native = name if name in UNTOLD else f"{NET}{name}"
        if native in UNTOLD:
            of_network.setdefault(native, key)
    name_of = {key: name for name, key in of_network.items()}
    in_order = {name_of[key]: key for key in keys if key in name_of}
    return in_order, [key for name, key in match.key_of.items() if name not in known]


class DiffusersSource(Source):
    """A folder that Diffusers reads, or one file of it."""

    format = "diffusers"

    def __init__(self, path: Path, inner: Checkpoint) -> None:
        key_of = {native: key for key in inner if (native := native_of_diffusers(key)) is not None}
        shapes = {name: tuple(inner.shape(key)) for name, key in key_of.items()}
        told = told_variant(path, inner, shapes, _shown_theirs)
        variant = _with_rope(told, path if path.is_dir() else path.parent)
        expected = {name: shape for name, shape in native_shapes(variant).items() if name not in UNTOLD}
        foreign = [key for key in inner if native_of_diffusers(key) is None and not _is_no_weight(key)]
        check_tensors(path, expected, shapes, foreign, shown=_shown_theirs)
        beside = _untold_beside(path, native_shapes(variant))
        super().__init__(path, inner, specs_of(inner, key_of, path), variant, beside)
        self._key_of = key_of

    def _weight(self, key: str) -> Tensor:
        return self._inner.tensor(self._key_of[key])


def _shown_theirs(native: str) -> str:
    return diffusers_name(native) or native


def _with_rope(variant: Variant, folder: Path) -> Variant:
    """With what the folder's configuration says of rotary positions, which no shape tells."""
    path = folder / DIFFUSERS_CONFIG
    if not path.is_file():
        return variant
    document = read_json(path, kind=CheckpointError, fix="Download it again.")
    scale = document.get("rope_scale") if isinstance(document, dict) else None
    if scale is None:
        return variant
    if not (isinstance(scale, list) and len(scale) == 3 and all(isinstance(n, int | float) and n > 0 for n in scale)):
        raise CheckpointError(
            f"says rope_scale {str(scale)[:60]}, which are no three numbers.",
            where=str(path),
            fix="Download it again.",
        )
    rope = (float(scale[0]), float(scale[1]), float(scale[2]))
    return variant if rope == variant.rope else replace(variant, rope_THW=rope)


def _untold_beside(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """What a conversion of cosmos has kept beside Diffusers' folder, if it did."""
    folder = path if path.is_dir() else path.parent
    file = folder.parent / UNTOLD_FILE
    if folder.name != "transformer" or not file.is_file():
        return {}
    with open_tensors(file) as kept:
        return {
            name: kept.tensor(name).clone()
            for name in kept
            if name in UNTOLD and tuple(kept.shape(name)) == shapes[name] and kept.dtype(name) in FLOATS
        }


def _positions(variant: Variant) -> Tensor:
    """The constant that native files hold; bfloat16 has these numbers exactly."""
    return torch.arange(max(variant.frames, variant.rows, variant.columns), dtype=torch.bfloat16)


class NemoSource(Source):
    """A store of NeMo, whoever wrote it and by how many ranks."""

    def __init__(self, path: Path, inner: Checkpoint, format: Format) -> None:
        self.format = format
        keys = {_bare(key): key for key in inner if not _is_no_weight(_bare(key))}
        found = {name: tuple(inner.shape(key)) for name, key in keys.items()}
        outer = told_variant(path, inner, as_native_shapes(found), nemo_name)
        stacked = set(nemo_names())
        foreign = [key for name, key in keys.items() if name not in stacked]
        optional = frozenset(outside_in_nemo(name) for name in NOT_NEEDED)
        check_tensors(path, nemo_shapes(outer), found, foreign, optional=optional, known=stacked)
        self._keys = {name: keys[name] for name in keys if name in stacked}
        specs = specs_of(inner, self._keys, path)
        self._cached: tuple[str, int, Tensor] | None = None
        self._inner = inner
        second = self._keys[f"{LAYERS}{_ADALN}"]
        self.is_dense = not all(is_diagonal(inner.part(second, block)) for block in range(outer.num_blocks))
        variant = outer.with_rank(NUM_PARTS * outer.rank) if self.is_dense else outer
        super().__init__(path, inner, _native_specs(variant, specs), variant)

    def _weight(self, key: str) -> Tensor:
        place = place_of(key)
        if place is None:
            weight = self._inner.tensor(self._keys[outside_in_nemo(key)])
            if self.is_dense and key == HEAD_IN:
                return pad_head_in(weight, self.variant.rank)
            if self.is_dense and key == HEAD_OUT:
                return pad_head_out(weight, self.variant.rank)
            return weight
        row = place.row
        fused = self._block(f"{LAYERS}{row.nemo}", place.block)
        return part_of(
            row.rule, fused, place.part, len(row.native), self.variant.num_heads, is_dense=self.is_dense
        ).contiguous()

    def _block(self, name: str, block: int) -> Tensor:
        """NeMo's tensor of one block; the last is kept, since several native ones come of it."""
        if self._cached is None or self._cached[:2] != (name, block):
            self._cached = (name, block, self._inner.part(self._keys[name], block))
        return self._cached[2]

    def close(self) -> None:
        super().close()
        self._cached = None


def _bare(key: str) -> str:
    """NeMo's name without what training keeps around it."""
    while key.startswith(STORED):
        key = key.removeprefix(STORED)
    return key


def _is_no_weight(name: str) -> bool:
    return "_extra_state" in name or name.startswith(_NOT_WEIGHTS)


def _native_specs(variant: Variant, stored: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Of all native tensors that a store of NeMo gives."""
    specs = {}
    for name, shape in native_shapes(variant).items():
        own = nemo_name(name)
        if own in stored:
            specs[name] = TensorSpec(torch.Size(shape), stored[own].dtype)
    return specs
