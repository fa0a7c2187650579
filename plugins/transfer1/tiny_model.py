"""Makes the tiny model that ships with the package: `python -m cosmos_plugins.transfer1.tiny_model [FOLDER]`.

Same networks, same file layout, same readers as the published models, with random weights. Its size stands in
`variants.VARIANTS["tiny"]`; the files follow from that and from the seed. `cosmos_cli.generation.tiny_helpers` writes
the tokenizer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import torch

from cosmos_cli import registry
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.tiny import random_weights
from cosmos_plugins.transfer1.checkpoints import base_file, control_file, distilled_file
from cosmos_plugins.transfer1.multiview import variants as multiview_variants
from cosmos_plugins.transfer1.variants import VARIANTS

SEED = 20260102
LEARNT = ("vis", "edge", "depth", "seg")
"""Controls whose branches are trained; all others change nothing."""


def make(root: Path) -> None:
    """Write all base models and control branches under the checkpoint folder `root`."""
    variant = VARIANTS["tiny"]
    ours = [control for control in registry.current().controls.values() if control.plugin == "transfer1"]
    torch.manual_seed(SEED)
    base = random_weights(GeneralDiT(variant.base(driving=False)))
    _save(_prefixed("base_model.net.", base), root / base_file(variant, driving=False))
    for control in ours:
        if not control.driving:
            branch = _branch(driving=False, learnt=control.name in LEARNT)
            _save(_prefixed("net.", branch), root / control_file(control.name))
    for control in ours:
        if control.distilled is not None:
            _save_distilled(root / distilled_file(control.name))
    driving = random_weights(GeneralDiT(variant.base(driving=True)))
    _save(_prefixed("net.", driving), root / base_file(variant, driving=True))
    for control in ours:
        if control.driving:
            _save(_prefixed("net.", _branch(driving=True, learnt=False)), root / control_file(control.name))
    make_multiview(root)


def make_multiview(root: Path) -> None:
    """Write both base models for several cameras and the control branches of each, which take the same tokenizer."""
    variant, kinds = multiview_variants.MULTIVIEW_VARIANTS["tiny"], get_args(multiview_variants.Kind)
    torch.manual_seed(SEED)
    for kind in kinds:
        base = random_weights(MultiViewDiT(variant.base(len(CAMERAS))))
        _save(_prefixed("net.", base), root / multiview_variants.base_file(kind))
        for name in multiview_variants.CONTROLS:
            branch = random_weights(MultiViewControlBranch(variant.branch(len(CAMERAS))))
            path = root / multiview_variants.control_file(kind, name, waymo_example=False)
            _save(_prefixed("net.", branch), path)


def _save_distilled(path: Path) -> None:
    """A network of its own, and a branch of it, in one file."""
    variant = VARIANTS["tiny"]
    with torch.random.fork_rng():  # the files that follow do not depend on its size
        torch.manual_seed(SEED)
        base = random_weights(GeneralDiT(variant.base(driving=False, distilled=True)))
        branch = _silent(random_weights(ControlBranch(variant.branch(driving=False, distilled=True))))
    _save({"model": _prefixed("net.base_model.net.", base) | _prefixed("net.net_ctrl.", branch)}, path)


def _branch(*, driving: bool, learnt: bool) -> dict[str, torch.Tensor]:
    weights = random_weights(ControlBranch(VARIANTS["tiny"].branch(driving=driving)))
    return weights if learnt else _silent(weights)


def _silent(branch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A branch that changes nothing, as before the first step of its training."""
    return {n: torch.zeros_like(weight) if n.startswith("zero_blocks.") else weight for n, weight in branch.items()}


def _prefixed(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under the names that a file gives them, in bfloat16 as published files are."""
    return {f"{prefix}{name}": weight.bfloat16() for name, weight in weights.items()}


def _save(content: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_ROOT)
