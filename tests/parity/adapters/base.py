"""What all adapters share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from tests.parity.golden import Comparison, Golden

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Adapter:
    """How one kind of file is computed.

    run: golden to our outputs. whole_loop: they went through a sampling loop. sources: how the symbol in the file's
    "source" begins, for files whose name tells nothing.
    judge: how far an output may be, given its name, ours and theirs; None is as for networks and samplers. It comes
    with what computes gradients.
    """

    run: Callable[[Golden], Outputs]
    whole_loop: bool = False
    sources: tuple[str, ...] = ()
    judge: Callable[[str, Tensor | None, Tensor], Comparison] | None = None


def network_from(golden: Golden, build: Callable[[], nn.Module], part: str = "", ignored: tuple[str, ...] = ()) -> Any:
    """A network filled from the file through the production loader."""
    return load_network(build, golden.path, naming=Naming((f"weights.{part}",), unlearnt=ignored))
