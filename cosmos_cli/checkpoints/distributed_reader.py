"""torch.distributed.checkpoint's own reader, which reshards, without its unpickling of whatever a folder holds."""

from __future__ import annotations

import pathlib
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, filesystem, metadata

from cosmos_cli.checkpoints.folders import DISTRIBUTED_METADATA
from cosmos_cli.checkpoints.stand_ins import StandInUnpickler

_KINDS: tuple[Any, ...] = (
    *(metadata.Metadata, metadata.TensorStorageMetadata, metadata.BytesStorageMetadata, metadata.ChunkStorageMetadata),
    *(metadata.MetadataIndex, metadata.StorageMeta, metadata.TensorProperties, metadata._MEM_FORMAT_ENCODING),
    *(filesystem._StorageInfo, torch.Size, torch.serialization._get_layout),
)
_KNOWN: dict[str, Any] = {
    **{f"{kind.__module__}.{kind.__qualname__}": kind for kind in _KINDS},
    **{
        f"{module}.{kind}": pathlib.PurePath
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "WindowsPath")
    },
}
"""What metadata are made of: plain records, which do nothing when they are built."""


class RecordsReader(FileSystemReader):
    """Reads a folder whose pieces were checked by `DistributedCheckpoint`; tensors only."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        path = Path(self.path) / DISTRIBUTED_METADATA
        found = StandInUnpickler(path.read_bytes(), path, _KNOWN.get).load()
        found.storage_meta = metadata.StorageMeta(load_id=self.load_id)
        assert isinstance(found, metadata.Metadata)
        return found
