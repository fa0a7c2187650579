"""The nearest network of the published rank to one that NeMo has trained, for programs that know no other rank.

NeMo's training lets the three parts of a block share one modulation of three times the rank, which no network of the
published rank is; each part's product of matrices is replaced by the nearest one of that rank.
"""

# D model width, R published rank

from __future__ import annotations

import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.checkpoints.checkpoint import TensorSpec
from cosmos_cli.errors import CheckpointError
from cosmos_plugins.nemo_bridge.convert.keys import IN_BLOCK, NUM_PARTS, Rule, block_name
from cosmos_plugins.nemo_bridge.convert.shapes import native_shapes
from cosmos_plugins.nemo_bridge.convert.sources import HEAD_IN, HEAD_OUT, Source

_FIRST = next(row for row in IN_BLOCK if row.rule is Rule.ROWS)
_SECOND = next(row for row in IN_BLOCK if row.rule is Rule.DIAGONAL)


class Narrowed(Source):
    """A network of a third of the rank.

    Memory: the modulation of all blocks, 0.7 GB of the 7B network and 1.2 GB of the 14B one.

    Args:
        source: with `is_dense`.
    Raises:
        CheckpointError: the source is damaged, or holds numbers that are not finite.

    errors: of each block, how far its modulation is off: the norm of the difference over the norm, of its worst part.
    """

    def __init__(self, source: Source) -> None:
        variant = source.variant.with_rank(source.variant.rank // NUM_PARTS)
        rank = variant.rank
        made = {HEAD_IN: source.tensor(HEAD_IN)[:rank], HEAD_OUT: source.tensor(HEAD_OUT)[:, :rank].contiguous()}
        self.errors: list[float] = []
        with output.progress("Narrowing", variant.num_blocks, "blocks") as advance:
            for block in range(variant.num_blocks):
                worst = 0.0
                for first, second in zip(_FIRST.native, _SECOND.native, strict=True):
                    names = block_name(block, first), block_name(block, second)
                    first_given, second_given = (source.tensor(name) for name in names)
                    if not (first_given.isfinite().all() and second_given.isfinite().all()):
                        raise CheckpointError(
                            f"the modulation of block {block} holds numbers that are not finite.",
                            where=str(source.path),
                            fix="Take an earlier checkpoint, or leave out --lossy.",
                        )
                    down, up, error = nearest(first_given, second_given, rank)
                    made |= {names[0]: down, names[1]: up}
                    worst = max(worst, error)
                self.errors.append(worst)
                advance()
        self.format = source.format
        shapes = native_shapes(variant)
        specs = {key: TensorSpec(torch.Size(shapes[key]), source.dtype(key)) for key in source}
        super().__init__(source.path, source, specs, variant, made)

    def _weight(self, key: str) -> Tensor:
        return self._inner.tensor(key)


def nearest(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The pair of matrices of a rank whose product is nearest to `up @ down`, and how far that is off.

    Args:
        down: (3R, D). up: (3D, 3R).
    Returns:
        (R, D) and (3D, R) in the given types, and the norm of the difference over the norm.
    """
    q_down, r_down = torch.linalg.qr(down.float().T)
    q_up, r_up = torch.linalg.qr(up.float())
    left, values, right = torch.linalg.svd(r_up @ r_down.T)
    root = values[:rank].sqrt()
    norm = values.norm()
    error = float(values[rank:].norm() / norm) if norm > 0 else 0.0
    new_down = root[:, None] * (right[:rank] @ q_down.T)
    new_up = q_up @ (left[:, :rank] * root)
    return new_down.to(down.dtype), new_up.to(up.dtype), error
