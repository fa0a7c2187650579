"""Writing a folder of torch.distributed.checkpoint from one process, a piece of a tensor at a time.

torch's own writer wants all tensors at once. Source: as for `cosmos_cli.checkpoints.distributed`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA
from cosmos_cli.checkpoints.tensor_files import new_file

_PIECES = "__0_0.distcp"


class PieceWriter:
    """Takes the pieces of tensors, in any order; see `writing_pieces`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.metadata = Metadata({}, storage_meta=StorageMeta(), storage_data={})

    def add(self, key: str, shape: Sequence[int], offsets: Sequence[int], piece: Tensor) -> None:
        """Write a box of a tensor.

        Args:
            shape: of the whole tensor. offsets: where in it the piece begins.
        """
        whole = piece.detach()
        if not whole.is_contiguous() or whole.untyped_storage().nbytes() != whole.nbytes:
            whole = whole.clone(memory_format=torch.contiguous_format)  # else all that it is a part of would be written
        begin = self._file.tell()
        torch.save(whole, self._file)
        box = ChunkStorageMetadata(torch.Size(offsets), whole.shape)
        info = _StorageInfo(_PIECES, begin, self._file.tell() - begin)
        self.metadata.storage_data[MetadataIndex(key, box.offsets)] = info
        entries = self.metadata.state_dict_metadata
        entry = entries.setdefault(
            key, TensorStorageMetadata(TensorProperties(dtype=whole.dtype), torch.Size(shape), chunks=[])
        )
        assert isinstance(entry, TensorStorageMetadata)
        entry.chunks.append(box)


@contextmanager
def writing_pieces(folder: Path) -> Iterator[PieceWriter]:
    """A block that writes a checkpoint into a folder, which nobody reads before it ends.

    Raises:
        DiskFull, CosmosError: it cannot be written.
    """
    with new_file(folder / _PIECES) as file:
        writer = PieceWriter(file)
        yield writer
    with new_file(folder / DISTRIBUTED_METADATA) as file:
        pickle.dump(writer.metadata, file)
