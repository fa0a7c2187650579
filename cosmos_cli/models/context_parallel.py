"""Context parallelism: several processes hold the tokens of one video together, in every network alike.

Each frame's patches are cut into as many parts as there are ranks, and every rank holds the same part of every frame.
So what is set for a frame (its noise level, its view's text) stays where its tokens are, and all ranks have equally
many tokens. Where the ranks do not divide the patches, the last parts end with zeros, which take part in no attention.
Only self-attention needs the other ranks: there every rank gets all tokens of some heads in exchange for its tokens of
the others, and gives the result back the same way. At the end the output patches, which are small, go to all ranks.

Gradients find their way back. Where every rank computes a loss of the whole prediction, the gradients of a parameter on
the ranks have the mean that one process alone would have, whether the parameter is applied to a rank's share of the
tokens, to all of them before they are shared, or beside the network.
"""

# N ranks; B batch, T latent frames, H and W height and width in patches, n patches of a frame that one rank holds
# D model width, or head width; L tokens that one rank holds, T * n; P numbers of an output patch

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cosmos_cli.models.configs import DiTConfig, GridTHW
from cosmos_cli.models.dit_layers import Cut, SelfAttentionOperator, ShardableAttention
from cosmos_cli.models.rope import RotaryTable


class ContextParallel:
    """Which part of a video's tokens this rank holds.

    Args:
        group: the ranks that hold the tokens together; None for one rank, whose share is everything, as it is.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank, self.num_ranks = (0, 1) if group is None else (group.rank(), group.size())

    def share_grid(self, grid_THW: GridTHW) -> GridTHW:
        """The share of a grid as a grid: (T, 1, n), the whole one for one rank."""
        T, H, W = grid_THW
        return grid_THW if self.num_ranks == 1 else (T, 1, math.ceil(H * W / self.num_ranks))

    def share(self, x: Tensor, dim: int) -> Tensor:
        """This rank's share of something with one entry per token: (..., H, W, ...) to (..., 1, n, ...).

        Args:
            dim: of H; that of W follows.
        """
        if self.num_ranks == 1:
            return x
        patches = x.flatten(dim, dim + 1)
        num_patches = patches.shape[dim]
        n = math.ceil(num_patches / self.num_ranks)
        start = min(self.rank * n, num_patches)
        part = patches.narrow(dim, start, min(n, num_patches - start))
        return _filled(part, dim, n).contiguous().unsqueeze(dim)

    def share_of_tokens(self, x: Tensor, grid_THW: GridTHW, dim: int) -> Tensor:
        """As `share`, where all tokens of the grid stand in one dimension: (..., T * H * W, ...) to (..., L, ...)."""
        if self.num_ranks == 1:
            return x
        return self.share(x.unflatten(dim, grid_THW), dim + 1).flatten(dim, dim + 2)

    def share_of_table(self, table: RotaryTable, grid_THW: GridTHW) -> RotaryTable:
        """This rank's share of a rotary table of the whole grid."""
        if self.num_ranks == 1:
            return table
        cos_LR, sin_LR = (self.share_of_tokens(x, grid_THW, 0) for x in (table.cos_LR, table.sin_LR))
        return RotaryTable(cos_LR, sin_LR, grid_THW)

    def whole(self, x_BT1nP: Tensor, grid_THW: GridTHW) -> Tensor:
        """All tokens out of every rank's share, (B, T, H, W, P), on every rank."""
        if self.num_ranks == 1:
            return x_BT1nP
        _, H, W = grid_THW
        return torch.cat(_Gathered.apply(x_BT1nP, self.group), dim=3).squeeze(2)[:, :, : H * W].unflatten(2, (H, W))

    def all_tokens_of_own_heads(self, x_BLHD: tuple[Tensor, ...], grid_THW: GridTHW) -> tuple[Tensor, ...]:
        """Shares of the tokens with all heads to all tokens, in the order of the grid, with the heads of this rank.

        Args:
            x_BLHD: queries, keys and values, which travel together; H counts heads here.
        """
        T, H, W = grid_THW
        parts = [x.unflatten(2, (self.num_ranks, -1)).movedim(2, 0) for x in x_BLHD]
        received_NKBLhD = self._exchange(torch.stack(parts, dim=1))
        by_frame = received_NKBLhD.unflatten(3, (T, -1)).movedim(0, 3).flatten(3, 4)[:, :, :, : H * W]
        return by_frame.flatten(2, 3).unbind()

    def own_tokens_of_all_heads(self, x_BLhD: Tensor, grid_THW: GridTHW) -> Tensor:
        """The way back: all tokens with the heads of this rank to its share of the tokens with all heads."""
        T, _, n = self.share_grid(grid_THW)
        by_frame = _filled(x_BLhD.unflatten(1, (T, -1)), 2, self.num_ranks * n)
        received_NBTnhD = self._exchange(by_frame.unflatten(2, (self.num_ranks, n)).movedim(2, 0).contiguous())
        return received_NBTnhD.movedim(0, 3).flatten(3, 4).flatten(1, 2)

    def _exchange(self, x_N: Tensor) -> Tensor:
        """Entry r goes to rank r; what rank r gives becomes entry r."""
        received: Tensor = _Exchanged.apply(x_N, self.group)
        return received


class _Exchanged(torch.autograd.Function):
    """Entry r goes to rank r; its gradient comes back from there."""

    @staticmethod
    def forward(ctx: Any, x_N: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        received = torch.empty_like(x_N)
        dist.all_to_all_single(received, x_N, group=group)
        return received

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient_N = gradients[0].contiguous()
        received = torch.empty_like(gradient_N)
        dist.all_to_all_single(received, gradient_N, group=ctx.group)
        return received, None


class _Gathered(torch.autograd.Function):
    """What every rank has, on every rank; the gradient of a rank's own is the sum of those on all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, ...]:
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(group.size())]
        dist.all_gather(parts, x, group=group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total_N = torch.stack(gradients)
        dist.all_reduce(total_N, group=ctx.group)  # to send each rank its own alone has another name in every PyTorch
        return total_N[ctx.group.rank()], None


ALONE = ContextParallel()
"""One rank, which holds everything."""


class ParallelNetwork(nn.Module):
    """A network that can compute together with the same network on other ranks."""

    config: DiTConfig
    context: ContextParallel = ALONE
    """Which of the tokens are here, see `parallelise`: tables, hints and blocks hold this rank's share of them."""
    tensor_plan: ClassVar[Mapping[str, Cut]] = {}
    """How layers are cut where ranks share every layer, see `tensor_parallel.py`: by the ends of their names."""
    compute_dtype: torch.dtype | None = None
    """Of the arithmetic, where the parameters are its masters and wider; None is that of the parameters."""

    def dtype_beside(self, weight: Tensor) -> torch.dtype:
        """What tables are rounded to that go along with a weight."""
        return self.compute_dtype or weight.dtype


class ContextParallelAttention:
    """Self-attention among the tokens of all ranks, a `SelfAttentionOperator` for the share of one.

    Args:
        operator: computes attention among all tokens, here for 1/N of the heads.
    Source: Jacobs et al. 2023, arXiv:2309.14509.
    """

    def __init__(self, context: ContextParallel, operator: SelfAttentionOperator) -> None:
        self.context, self.operator = context, operator

    def __call__(self, q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, grid_THW: GridTHW) -> Tensor:
        q, k, v = self.context.all_tokens_of_own_heads((q_BLHD, k_BLHD, v_BLHD), grid_THW)
        return self.context.own_tokens_of_all_heads(self.operator(q, k, v, grid_THW), grid_THW)


def parallelise(network: ParallelNetwork, group: dist.ProcessGroup | None) -> None:
    """Has a network compute on its tokens together with the same network on the other ranks.

    It still takes whole latents and gives whole latents, which must be the same on every rank. What it computes once
    (rotary table, position embedding, an encoded hint) and the residuals of a control branch are this rank's share
    from now on. Networks that work together must be made parallel over the same group.

    Args:
        group: None leaves the network as it is.
    Raises:
        ValueError: the ranks do not divide the network's heads.
    """
    if group is None:
        return
    if network.config.num_heads % group.size():
        raise ValueError(f"{group.size()} ranks do not divide {network.config.num_heads} heads")
    network.context = ContextParallel(group)
    for module in network.modules():
        if isinstance(module, ShardableAttention):
            module.operator = ContextParallelAttention(network.context, module.operator)


def _filled(x: Tensor, dim: int, size: int) -> Tensor:
    """Zeros added at the end of a dimension, up to a size."""
    missing = size - x.shape[dim]
    if not missing:
        return x
    return torch.cat([x, x.new_zeros(*x.shape[:dim], missing, *x.shape[dim + 1 :])], dim)
