"""NeMo's zarr stores: chunks of any shape, and what files of others may claim."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosmos_cli.errors import CheckpointError
from cosmos_plugins.nemo_bridge.convert.zarr_store import ZarrCheckpoint
from tests.plugins.nemo_bridge.convert.stores import save_array

STACK = torch.arange(3 * 5 * 4).to(torch.bfloat16).reshape(3, 5, 4)


def read(folder: Path) -> Tensor:
    with ZarrCheckpoint(folder) as checkpoint:
        (key,) = checkpoint
        parts = [checkpoint.part(key, index) for index in range(checkpoint.shape(key)[0])]
        whole = checkpoint.tensor(key)
        assert torch.equal(torch.stack(parts), whole)
    return whole


@pytest.mark.parametrize("chunks", [[3, 5, 4], [1, 5, 4], [1, 2, 4], [1, 5, 3], [2, 2, 3], [9, 9, 9]])
def test_chunks_of_any_shape_are_put_together(tmp_path: Path, chunks: list[int]) -> None:
    save_array(tmp_path / "module.a", STACK, chunks)
    assert torch.equal(read(tmp_path), STACK)


def test_a_block_that_a_file_holds_is_a_view_of_it(tmp_path: Path) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4])
    with ZarrCheckpoint(tmp_path) as checkpoint:
        part = checkpoint.part("module.a", 1)
    assert part.untyped_storage().nbytes() == 5 * 4 * 2
    part[0, 0] = 7  # a private view: the file stays as it is
    assert torch.equal(read(tmp_path), STACK)


@pytest.mark.parametrize("kind", ["zlib", "gzip"])
def test_compressed_chunks_are_unpacked(tmp_path: Path, kind: str) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4], {"compressor": {"id": kind, "level": 1}})
    pack = zlib.compress if kind == "zlib" else gzip.compress
    for block in range(3):
        path = tmp_path / "module.a" / f"{block}.0.0"
        path.write_bytes(pack(path.read_bytes()))
    assert torch.equal(read(tmp_path), STACK)


def test_chunks_may_lie_in_folders(tmp_path: Path) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4], {"dimension_separator": "/"})
    for block in range(3):
        (tmp_path / "module.a" / str(block) / "0").mkdir(parents=True)
        (tmp_path / "module.a" / f"{block}.0.0").rename(tmp_path / "module.a" / str(block) / "0" / "0")
    assert torch.equal(read(tmp_path), STACK)


def test_the_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    save_array(tmp_path / "store" / "module.a", STACK, [1, 5, 4])
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for path in list((tmp_path / "store" / "module.a").iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(blobs / path.name)
    assert torch.equal(read(tmp_path / "store"), STACK)


def test_all_tensors_with_missing_or_cut_chunks_are_told_together(tmp_path: Path) -> None:
    for name in "abc":
        save_array(tmp_path / f"module.{name}", STACK, [1, 5, 4])
    (tmp_path / "module.a" / "1.0.0").unlink()
    cut = tmp_path / "module.c" / "2.0.0"
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        ZarrCheckpoint(tmp_path)
    text = str(caught.value)
    assert "2 of its 3 tensors" in text
    assert "module.a lacks 1 of its 3 chunks" in text
    assert "2.0.0 has 39 bytes instead of 40" in text


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"zarr_format": 3}, "of zarr 3"),
        ({"dtype": "|O"}, "of type '|O'"),
        ({"dtype": [["a", "<f4"]]}, "of type"),
        ({"compressor": {"id": "blosc"}}, "compressed by 'blosc'"),
        ({"filters": [{"id": "pickle"}]}, "filters"),
        ({"order": "F"}, "order of columns"),
        ({"dimension_separator": "/../../"}, "separated by"),
        ({"shape": [3, 5]}, "another number of dims"),
        ({"chunks": [0, 5, 4]}, "no shape"),
        ({"shape": [-1, 5, 4]}, "no shape"),
        ({"shape": [True, 5, 4]}, "no shape"),
        ({"shape": "3"}, "no shape"),
    ],
)
def test_headers_that_describe_no_tensor_are_refused(tmp_path: Path, header: dict[str, object], words: str) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4], header)
    with pytest.raises(CheckpointError) as caught:
        ZarrCheckpoint(tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"zarr_format": 2}', b"\xff\xfe"])
def test_damaged_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4])
    (tmp_path / "module.a" / ".zarray").write_bytes(content)
    with pytest.raises(CheckpointError):
        ZarrCheckpoint(tmp_path)


_READ = """
import resource, sys
from pathlib import Path
from cosmos_cli.errors import CosmosError
from cosmos_plugins.nemo_bridge.convert.zarr_store import ZarrCheckpoint

with open("/proc/self/statm") as statm:
    taken = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (400 << 20),) * 2)
for folder in sys.argv[1:]:
    try:
        with ZarrCheckpoint(Path(folder)) as checkpoint:
            for key in checkpoint:
                checkpoint.tensor(key)
        print("read")
    except CosmosError as error:
        print(type(error).__name__)
"""


def test_stores_that_claim_to_be_huge_take_no_memory_and_no_time(tmp_path: Path) -> None:
    many, bomb, sparse = tmp_path / "many", tmp_path / "bomb", tmp_path / "sparse"
    for folder in (many, bomb, sparse):
        folder.mkdir()
    save_array(many / "module.a", STACK, [1, 5, 4], {"shape": [1 << 39, 1 << 39, 4], "chunks": [1, 1, 1]})
    save_array(many / "module.b", STACK, [1, 5, 4], {"shape": [1 << 39, 5, 4], "dimension_separator": "/"})
    save_array(
        bomb / "module.a", STACK, [3, 5, 4], {"compressor": {"id": "zlib"}, "shape": [1 << 30], "chunks": [1 << 30]}
    )
    (bomb / "module.a" / "0.0.0").unlink()
    (bomb / "module.a" / "0").write_bytes(zlib.compress(bytes(1 << 20)))
    save_array(sparse / "module.a", STACK, [3, 5, 4], {"shape": [1 << 33], "chunks": [1 << 32]})
    for number in (0, 1):
        with (sparse / "module.a" / str(number)).open("wb") as file:
            os.truncate(file.fileno(), 1 << 33)
    command = [sys.executable, "-c", _READ, *map(str, (many, bomb, sparse))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["CheckpointError", "CheckpointError", "TooLittleMemory"], result.stderr


def test_the_optimizer_and_locks_beside_the_weights_do_not_matter(tmp_path: Path) -> None:
    save_array(tmp_path / "module.a", STACK, [1, 5, 4], {"dtype": "<V2"})
    save_array(tmp_path / "optimizer.state.exp_avg.module.a", STACK, [1, 5, 4], {"shape": [99, 5, 4]})
    (tmp_path / "optimizer.state.exp_avg.module.a.sync").mkdir()
    (tmp_path / "module.a.sync").mkdir()
    assert torch.equal(read(tmp_path), STACK)


def test_nothing_but_numbers_is_read(tmp_path: Path) -> None:
    """Pickles lie beside the tensors; none is opened."""
    save_array(tmp_path / "module.a", STACK, [1, 5, 4])
    (tmp_path / "common.pt").mkdir()
    state = tmp_path / "module.a._extra_state"
    state.mkdir()
    (state / "shard_0_3.pt").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert torch.equal(read(tmp_path), STACK)
    assert json.loads((tmp_path / "module.a" / ".zarray").read_text())["shape"] == [3, 5, 4]
