"""Tensors that are made on the host and read on a device again and again: made and copied once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Constants(Generic[T]):
    """The latest few results of calls that copy to a device: each copy would make the host wait for it.

    They belong to whoever holds this object, and go with it.

    Args:
        maxsize: results that are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, maxsize: int = 8) -> None:
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._maxsize = maxsize

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave for this key, which must name all that it depends on, the device included."""
        if key not in self._kept:
            # whoever asks first may be in inference mode, and whoever asks next may want gradients
            with torch.inference_mode(False), torch.no_grad():
                self._kept[key] = make()
            if len(self._kept) > self._maxsize:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def clear(self) -> None:
        """Let go of all of them."""
        self._kept.clear()


_forgets: list[Callable[[], None]] = []


def forget_with_memory(forget: Callable[[], None]) -> None:
    """Have `forget_constants` call this, for what a module keeps on a device on behalf of all networks."""
    _forgets.append(forget)


def forget_constants() -> None:
    """Let go of what modules keep, so that its memory can be given back."""
    for forget in _forgets:
        forget()
