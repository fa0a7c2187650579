"""What every opened checkpoint offers: names, shapes and dtypes at once, each tensor when it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, KeysView, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorSpec:
    """What is known of a tensor before it is read."""

    shape: torch.Size
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class Checkpoint(ABC):
    """A read-only set of named tensors on disk. Use it as a context manager; get one from `open_checkpoint`.

    Tensors that were handed out stay valid after closing. They may be views of the file, so the file must
    not be changed in place while they are in use (replacing it by renaming another over it is safe).

    wrapper: the dict in the file that the tensors were in, None if they were in none.
    """

    def __init__(self, path: Path, specs: Mapping[str, TensorSpec], wrapper: str | None = None) -> None:
        self.path = path
        self.wrapper = wrapper
        self._specs = dict(specs)
        self._is_open = True

    def keys(self) -> KeysView[str]:
        """Names of the tensors, in the order of the file."""
        return self._specs.keys()

    def shape(self, key: str) -> torch.Size:
        return self._specs[key].shape

    def dtype(self, key: str) -> torch.dtype:
        return self._specs[key].dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors together, as stored."""
        return sum(spec.num_bytes for spec in self._specs.values())

    def tensor(self, key: str) -> Tensor:
        """The tensor as stored, on the CPU; a view of the file where the format allows, so nothing is copied yet.

        Raises:
            KeyError: there is no such key.
            ValueError: the checkpoint is closed.
            CheckpointError: the tensor's bytes are damaged.
        """
        self._check_open(key)
        return self._read(key)

    def part(self, key: str, index: int) -> Tensor:
        """What a tensor has at an index of its first dim; no more of it is read where the format allows.

        Raises: as `tensor`.
        """
        return self.tensor(key)[index]

    def _check_open(self, key: str) -> None:
        if not self._is_open:
            raise ValueError(f"{self.path} is closed; read its tensors inside the `with` block.")
        if key not in self._specs:
            raise KeyError(key)

    @abstractmethod
    def _read(self, key: str) -> Tensor:
        """The tensor under `key`, which is known to exist."""

    def close(self) -> None:
        """Let go of the file. Memory-mapped pages are returned once no tensor uses them."""
        self._is_open = False

    def __contains__(self, key: object) -> bool:
        return key in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
