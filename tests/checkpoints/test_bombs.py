"""Small files that want to become large: refused before they do, under a limit on memory."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CosmosError

_READ = """
import resource, sys
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.checkpoints.torchscript import TorchScriptCheckpoint, is_torchscript
from cosmos_cli.errors import CosmosError

with open("/proc/self/statm") as statm:
    taken = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (400 << 20),) * 2)
for path in sys.argv[1:]:
    is_torchscript(open_checkpoint.__globals__["Path"](path))
    try:
        open_checkpoint(path).close()
    except CosmosError as error:
        print(error.problems[0].what)
"""


def rewrite(path: Path, changes: dict[str, Callable[[zipfile.ZipFile, str], None]], method: int) -> Path:
    """The file of torch.save with other members in place of some, told by how their names end."""
    torch.save({"a": torch.zeros(1)}, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as source, zipfile.ZipFile(path, "w", method) as target:
        for name in source.namelist():
            write = next((write for end, write in changes.items() if name.endswith(end)), None)
            write(target, name) if write else target.writestr(name, source.read(name))
    return path


def zeros(archive: zipfile.ZipFile, name: str) -> None:
    with archive.open(name, "w", force_zip64=True) as member:
        for _ in range(600):
            member.write(bytes(1 << 20))


def nothings(archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, b"\x80\x02" + b"]" * (17 << 20))


def compressed_tensor(path: Path) -> Path:
    return rewrite(path, {"data/0": zeros}, zipfile.ZIP_DEFLATED)


def compressed_pickle(path: Path) -> Path:
    return rewrite(path, {"data.pkl": zeros}, zipfile.ZIP_DEFLATED)


def long_pickle(path: Path) -> Path:
    return rewrite(path, {"data.pkl": nothings}, zipfile.ZIP_STORED)


def many_entries(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}, 2))
        archive.writestr("a/x", b"")
    content = path.read_bytes()
    end, begin = content.rindex(b"PK\x05\x06"), content.index(b"PK\x01\x02")
    last = content.index(b"PK\x01\x02", begin + 4)
    num = 400_000
    table = content[begin:last] + content[last:end] * (num - 1)
    at = begin + len(table)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, num, num, len(table), begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    rest = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(content[:begin] + table + record + locator + rest)
    return path


def safetensors(path: Path, header: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return path


def long_header(path: Path) -> Path:
    entries = ",".join(f'"{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(300_000))
    return safetensors(path, f"{{{entries}}}".encode())


def huge_shape(path: Path) -> Path:
    entry = {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 8]}
    return safetensors(path, json.dumps({"a": entry}).encode())


def overlap(path: Path) -> Path:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return safetensors(path, json.dumps({"a": entry, "b": entry}).encode())


def large_memo(path: Path) -> Path:
    path.mkdir()
    (path / ".metadata").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    return path


def storage_of_terabytes(path: Path) -> Path:
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"K\x04N", b"\x8a\x06\0\0\0\0\0\x01N"))
    return path


def stream_of_nothings(path: Path) -> Path:
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"X\x01\x00\x00\x00a", b"]" * (17 << 20), 1))
    return path


def stream_of_text(path: Path) -> Path:
    torch.save({"a": torch.zeros(1), "text": "a" * (17 << 20)}, path, _use_new_zipfile_serialization=False)
    return path


# a key of two tuples that are one, of two that are one, and so on: Python hashes each as often as it is there
_SHARED = b"\x80\x02})" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60)) + b"K\x01s."


def shared_in_archive(path: Path) -> Path:
    return rewrite(path, {"data.pkl": lambda archive, name: archive.writestr(name, _SHARED)}, zipfile.ZIP_STORED)


def shared_in_stream(path: Path) -> Path:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})  # of torch.save
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + _SHARED + pickle.dumps([], 2))
    return path


def shared_in_folder(path: Path) -> Path:
    path.mkdir()
    (path / ".metadata").write_bytes(_SHARED)
    return path


BOMBS = {
    compressed_tensor: "would take 629,1",
    compressed_pickle: "more than any checkpoint has",
    long_pickle: "more than any checkpoint has",
    many_entries: "the table takes",
    long_header: "safetensors header of",
    huge_shape: "truncated or damaged",
    overlap: "truncated or damaged",
    large_memo: "damaged, or not of torch.distributed",
    storage_of_terabytes: "the system gave no more memory",
    stream_of_nothings: "objects side by side",
    stream_of_text: "has more than 16,777,216 bytes",
    shared_in_archive: "far more time than its size suggests",
    shared_in_stream: "far more time than its size suggests",
    shared_in_folder: "far more time than its size suggests",
}


def test_small_files_do_not_become_large(tmp_path: Path) -> None:
    paths = [make(tmp_path / make.__name__) for make in BOMBS]
    assert all(path.is_dir() or path.stat().st_size < 40 << 20 for path in paths)
    run = subprocess.run([sys.executable, "-c", _READ, *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    for make, said in zip(BOMBS, run.stdout.splitlines(), strict=True):
        assert BOMBS[make] in said, make.__name__


def test_values_that_one_number_stands_for_are_never_spread_out(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 20, 1 << 22)}, tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as checkpoint:
        assert checkpoint.shape("a") == (1 << 20, 1 << 22)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_later_protocol_of_pickle_is_named_and_how_to_save_without(
    protocol: int, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(2)}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CosmosError, match=r"pickle_protocol.*nothing in it was run") as caught:
        open_checkpoint(path)
    assert "load it there and save it again" in (caught.value.problems[0].fix or "")


def nested() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


KINDS = {
    "meta": lambda: torch.empty(2, device="meta"),
    "sparse": lambda: torch.eye(2).to_sparse(),
    "nested": nested,
    "quantized": lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_are_no_plain_arrays_are_named_by_their_kind(kind: str, tmp_path: Path) -> None:
    torch.save({"odd": KINDS[kind]()}, tmp_path / "m")
    with pytest.raises(CosmosError, match=rf"first `odd` \({kind}"):
        open_checkpoint(tmp_path / "m")
