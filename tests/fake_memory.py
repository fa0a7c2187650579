"""What networks of full size would allocate, found out without allocating it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

N = TypeVar("N", bound=nn.Module)


class PeakBytes(TorchDispatchMode):
    """Live and peak bytes of all storages that operations give, but for those of `networks`; in a FakeTensorMode."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.live = self.peak = 0
        weights = [tensor for net in networks for tensor in (*net.parameters(), *net.buffers())]
        self._seen = {tensor.untyped_storage()._cdata for tensor in weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(given):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return given

    def _count(self, storage: Any) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += num_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, num_bytes)

    def _freed(self, key: int, num_bytes: int) -> None:
        self._seen.discard(key)
        self.live -= num_bytes


def unfilled(build: Callable[[], N], dtype: torch.dtype) -> N:
    """A network whose weights are fake tensors; to be called in a FakeTensorMode."""
    with torch.device("meta"):
        net = build()
    for module in net.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(weight.shape, dtype=dtype), requires_grad=False))
        for name, weight in list(module.named_buffers(recurse=False)):
            kept = dtype if weight.is_floating_point() else weight.dtype
            setattr(module, name, torch.empty(weight.shape, dtype=kept))
    return net.eval()
