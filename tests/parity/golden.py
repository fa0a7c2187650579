"""Golden files: reading them, and judging how close an output comes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor


@dataclass(frozen=True)
class Golden:
    """One golden file.

    inputs, outputs: without their "in." and "out." prefixes. A checksum in the metadata is one more output.
    kind: "family/case", which names the adapter.
    """

    path: Path
    kind: str
    config: dict[str, Any]
    source: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def read_golden(path: Path) -> Golden:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        inputs = {key[3:]: file.get_tensor(key) for key in file.keys() if key.startswith("in.")}  # noqa: SIM118
        outputs = {key[4:]: file.get_tensor(key) for key in file.keys() if key.startswith("out.")}  # noqa: SIM118
    for name, digest in json.loads(metadata.get("sha256", "{}")).items():
        outputs[f"sha256.{name}"] = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)
    return Golden(
        path=path,
        kind=f"{path.absolute().parent.name}/{path.stem}",
        config=json.loads(metadata.get("config", "{}")),
        source=metadata.get("source", ""),
        inputs=inputs,
        outputs=outputs,
    )


@dataclass(frozen=True)
class Comparison:
    """How far one output is from the golden one.

    max_abs: largest absolute difference; relative: that over max(1, std) of the golden output.
    limit: on `relative`, or on the relative difference element by element for float64.
    """

    name: str
    max_abs: float
    relative: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return not self.note and self.relative <= self.limit


def compare(name: str, ours: Tensor | None, golden: Tensor, *, whole_loop: bool) -> Comparison:
    """Judge one output by the tolerances of the golden data.

    Args:
        whole_loop: the output went through a sampling loop, where rounding accumulates.
    """
    if ours is None:
        return Comparison(name, float("inf"), float("inf"), 0.0, "not computed")
    if ours.shape != golden.shape:
        return Comparison(
            name, float("inf"), float("inf"), 0.0, f"shape {tuple(ours.shape)}, not {tuple(golden.shape)}"
        )
    if not ours.isfinite().all():
        return Comparison(name, float("inf"), float("inf"), 0.0, "not finite")
    reference = golden.double()
    difference = (ours.double() - reference).abs()
    max_abs = difference.max().item()
    if not golden.is_floating_point():
        return Comparison(name, max_abs, max_abs, 0.0)
    if golden.dtype == torch.float64:
        scale = reference.abs().max().clamp(min=1e-300).item()
        return Comparison(name, max_abs, max_abs / scale, 1e-10)
    std = reference.std().item() if reference.numel() > 1 else 0.0
    if golden.dtype == torch.bfloat16 or "bf16" in name:
        spread = std or reference.abs().max().item() or 1.0  # a constant has no spread
        return Comparison(name, max_abs, max_abs / spread, 3e-2)
    if reference.numel() == 1:
        # a loss in the thousands has no spread, and float32 cannot hold it to 1e-4: relative to its size, but closer
        return Comparison(name, max_abs, max_abs / max(1.0, reference.abs().item()), 1e-5)
    return Comparison(name, max_abs, max_abs / max(1.0, std), 1e-3 if whole_loop else 1e-4)
