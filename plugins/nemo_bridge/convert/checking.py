"""What is wrong with the tensors of a checkpoint, all of it told together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from math import prod
from pathlib import Path

import torch

from cosmos_cli.checkpoints.checkpoint import Checkpoint, TensorSpec
from cosmos_cli.checkpoints.keys import compare_keys, list_names, printable
from cosmos_cli.errors import CheckpointError, Problem
from cosmos_plugins.nemo_bridge.convert.keys import UNTOLD
from cosmos_plugins.nemo_bridge.convert.shapes import PATCH_THW, Shape, Untold, Variant, variant_of

FLOATS = frozenset({torch.bfloat16, torch.float16, torch.float32, torch.float64})

_MAX_LINES = 200
_MOST_POSITIONS = 1 << 16
_FOREIGN = {
    "action_mlp": "Its network is NeMo's own for actions of robots, of which there is no other form.",
    "view_embeddings": "Its network is NeMo's own for several cameras, of which there is no other form.",
    "augment_sigma_embedder": "Its network is told how noisy given frames are; those of NeMo and Diffusers are not.",
}
"""Parts of names to what has them."""


def told_variant(
    path: Path, inner: Checkpoint, shapes: Mapping[str, Shape], shown: Callable[[str], str] = str
) -> Variant:
    """Raises CheckpointError: there is no such network in it, or too little of one."""
    known = [name for name in shapes if name not in UNTOLD]
    if not known:
        counts = Counter(f"{key.partition('.')[0]}.*" if "." in key else key for key in inner)
        groups = ", ".join(f"{count} {printable(name)}" for name, count in counts.most_common(8))
        raise CheckpointError(
            f"{path.name} holds no diffusion network of Cosmos-1.0. It holds: {groups}.",
            where=str(path),
            fix="Give the checkpoint of a Text2World or Video2World network.",
        )
    try:
        variant = variant_of(shapes)
    except Untold as error:
        raise CheckpointError(
            f"{path.name} is not whole, or of another network: it lacks tensors by which its size is told.",
            where=str(path),
            fix="Download it again, or give the checkpoint of a Cosmos-1.0 diffusion network.",
            others=[list_names("missing, or of too few dims", [shown(name) for name in error.missing])],
        ) from error
    odd = []
    if variant.width % variant.head_dim:
        odd.append(f"heads of {variant.head_dim} do not divide a width of {variant.width}")
    if variant.rows_out % prod(PATCH_THW):
        odd.append(f"patches of {variant.rows_out} numbers are not of 2 x 2 latents")
    if (most := max(variant.frames, variant.rows, variant.columns)) > _MOST_POSITIONS:
        odd.append(f"it has {most:,} positions along one axis")
    if odd:
        raise CheckpointError(
            f"{path.name} is of another network: {'; '.join(odd)}.",
            where=str(path),
            fix="Give the checkpoint of a Cosmos-1.0 diffusion network.",
        )
    return variant


def check_tensors(
    path: Path,
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    foreign: Collection[str],
    *,
    optional: Collection[str] = (),
    known: Collection[str] | None = None,
    shown: Callable[[str], str] = str,
) -> None:
    """Raises CheckpointError: tensors are missing, foreign, or have another shape; all are named."""
    wanted = {name: shape for name, shape in expected.items() if name in found or name not in optional}
    own = {name: shape for name, shape in found.items() if known is None or name in known}
    report = compare_keys({shown(n): s for n, s in wanted.items()}, {shown(n): s for n, s in own.items()})
    problems = []
    if report.missing:
        problems.append(Problem(f"{len(report.missing)} missing:{_lines(report.missing)}"))
    strangers = [*report.unexpected, *foreign]
    if strangers:
        reason = next((why for part, why in _FOREIGN.items() if any(part in name for name in strangers)), "")
        problems.append(Problem(f"{len(strangers)} that no such network has:{_lines(strangers)}", fix=reason or None))
    if report.misshapen:
        lines = [f"{name}: {list(other)}, should be {list(want)}" for name, want, other in report.misshapen]
        problems.append(Problem(f"{len(lines)} misshapen:{_lines(lines)}"))
    if problems:
        raise CheckpointError(
            f"{path.name} is not whole, or of another network.",
            where=str(path),
            fix="Download or save it again, or give the checkpoint of a Cosmos-1.0 diffusion network.",
            others=problems,
        )


def _lines(names: Iterable[str]) -> str:
    """Every name on a line of its own; of a number that nobody reads, the rest is counted."""
    all_names = list(names)
    rest = f"\n  ... and {len(all_names) - _MAX_LINES} more" if len(all_names) > _MAX_LINES else ""
    return "".join(f"\n  {printable(name)}" for name in all_names[:_MAX_LINES]) + rest


def specs_of(inner: Checkpoint, key_of: Mapping[str, str], path: Path) -> dict[str, TensorSpec]:
    """Raises CheckpointError: numbers are of another kind."""
    specs = {name: TensorSpec(inner.shape(key), inner.dtype(key)) for name, key in key_of.items()}
    unlike = [f"{name}: {str(spec.dtype).removeprefix('torch.')}" for name, spec in specs.items() if _is_odd(spec)]
    if unlike:
        raise CheckpointError(
            f"{path.name} holds numbers of another type than bfloat16, float16, float32 or float64.",
            where=str(path),
            fix="Save it in bfloat16.",
            others=[Problem(f"{len(unlike)} of another type:{_lines(unlike)}")],
        )
    return specs


def _is_odd(spec: TensorSpec) -> bool:
    return spec.dtype not in FLOATS and prod(spec.shape) > 0
