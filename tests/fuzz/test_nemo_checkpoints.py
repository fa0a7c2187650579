"""Folders of NeMo and Diffusers: what describes their tensors says anything."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosmos_cli.errors import CheckpointError
from cosmos_plugins.nemo_bridge.convert.conversion import convert
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from cosmos_plugins.nemo_bridge.convert.zarr_store import ZarrCheckpoint
from tests.fuzz.judge import fuzz, in_bounds
from tests.fuzz.values import changed, dumped, mangled
from tests.plugins.nemo_bridge.convert.stores import (
    TEXT2WORLD,
    native_weights,
    save_array,
    save_native,
    save_zarr,
    stacked,
)

TENSOR = torch.arange(3 * 4 * 2).to(torch.bfloat16).reshape(3, 4, 2)
HEADER: dict[str, Any] = {
    "chunks": [1, 2, 2],
    "compressor": None,
    "dtype": "bfloat16",
    "fill_value": None,
    "filters": None,
    "order": "C",
    "shape": [3, 4, 2],
    "zarr_format": 2,
}
PACKED = {**HEADER, "compressor": {"id": "zlib", "level": 1}, "dimension_separator": "/"}


def documents(*goods: Any) -> st.SearchStrategy[bytes]:
    names = sorted({name for good in goods for name in good})
    return mangled(changed(goods, names).map(lambda document: dumped(document).encode(errors="surrogatepass")))


@fuzz
@given(documents(HEADER, PACKED))
def test_headers_of_zarr(content: bytes) -> None:
    folder = Path("store")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_array(folder / "module.a", TENSOR, [1, 2, 2])
    (folder / "module.a" / ".zarray").write_bytes(content)
    in_bounds(lambda: read_zarr(folder), CheckpointError)


def read_zarr(folder: Path) -> None:
    with ZarrCheckpoint(folder) as checkpoint:
        for key in checkpoint:
            whole = checkpoint.tensor(key)
            for index in range(min(3, len(whole))):
                assert torch.equal(checkpoint.part(key, index).view(torch.uint8), whole[index].view(torch.uint8))


@pytest.fixture
def stores() -> dict[str, Path]:
    weights = native_weights(TEXT2WORLD)
    native = save_native(weights, Path("model.pt"))
    zarr = save_zarr(stacked(weights, TEXT2WORLD), Path("zarr"))
    return {
        "zarr": zarr / "metadata.json",
        "diffusers": convert(ConversionRequest(source=native, target=Path("diffusers"), to="diffusers")).path
        / "transformer"
        / "config.json",
    }


BACKEND = {"sharded_backend": "zarr", "sharded_backend_version": 1, "common_backend": "torch"}


@fuzz
@given(content=documents(BACKEND))
def test_what_tells_a_layout(stores: dict[str, Path], content: bytes) -> None:
    stores["zarr"].write_bytes(content)
    in_bounds(lambda: open_checkpoint(stores["zarr"].parent).close(), CheckpointError)


@fuzz
@given(st.data())
def test_configurations_of_diffusers(stores: dict[str, Path], data: st.DataObject) -> None:
    good = {"_class_name": "CosmosTransformer3DModel", "rope_scale": [2.0, 1.0, 1.0], "num_layers": 3}
    stores["diffusers"].write_bytes(data.draw(documents(good)))
    in_bounds(lambda: read_config(stores["diffusers"].parent), CheckpointError)


def read_config(folder: Path) -> None:
    with open_checkpoint(folder) as source:
        json.dumps(source.variant.rope, allow_nan=False)
        assert source.variant.config.num_blocks == 3
