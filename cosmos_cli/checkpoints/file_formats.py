"""What a file really is, told by its content: names lie, and a failed download often leaves something else behind."""

from __future__ import annotations

import zipfile
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json
from cosmos_cli.runtime.memory.host import raise_if_too_little

DOWNLOAD_AGAIN = "Download it again."

_HEAD_BYTES = 512
_MAX_HEADER_BYTES = 16 << 20
"""Of a safetensors header: more than 100,000 tensors. It takes some thirty times that in memory."""
MAX_PICKLE_BYTES = 16 << 20
"""Of what describes the tensors of an archive: as many of them. It takes up to fifty times that in memory."""

TORCH_PROTOCOL = 3
"""The latest protocol of pickle that PyTorch reads without letting the file run code."""
_SAVE_AGAIN = (
    "Where you trust the file, load it there and save it again: torch.save(weights, path) without pickle_protocol, "
    "or safetensors.torch.save_file(weights, path)."
)

_MAX_TABLE_BYTES = 16 << 20
"""Of a zip archive: more than 100,000 tensors. It takes some ten times that in memory."""
_END_BYTES = 22 + 0xFFFF + 20
"""In which the end of a zip archive stands, with the longest comment and what points to larger sizes."""
_MAX_UNPACKED = 4
"""Times that the members of an archive may be larger than the file; weights are shortened by a third at most."""
_SMALL_BYTES = 64 << 20
"""What an archive may take whatever its size is, such as one of zeros for a test."""

_PLAIN_PICKLE = (
    "a plain Python pickle, or was saved by torch.save with a pickle_protocol of 4 or more; it could run any code "
    "(nothing in it was run)"
)
_FOREIGN_FORMATS = (
    (b"\x80\x04", _PLAIN_PICKLE, _SAVE_AGAIN),
    (b"\x80\x05", _PLAIN_PICKLE, _SAVE_AGAIN),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and give the file inside."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it and give the file inside."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it and give the file inside."),
    (b"GGUF", "a GGUF file", "Give the original .pt or .safetensors file."),
    (b"\x89HDF", "an HDF5 file", "Give the original .pt or .safetensors file."),
    (b"\x93NUMPY", "a NumPy array", "Give the original .pt or .safetensors file."),
)


class FileFormat(Enum):
    """The kinds of file that hold tensors or point to files that do."""

    SAFETENSORS = auto()
    TORCH_ZIP = auto()
    """Written by torch.save since PyTorch 1.6, every member stored as it is: can be memory-mapped."""
    TORCH_STREAM = auto()
    """A torch.save file that has to be read through: the older format without zip, or one with compressed members."""
    SHARD_INDEX = auto()
    """JSON that says which tensor is in which file."""


def identify(path: Path) -> FileFormat:
    """The format of a file.

    Raises:
        CheckpointError: the file is missing, unreadable, or no checkpoint; says what it is instead.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist"
            raise CheckpointError(
                f"{path.name} {what}.", where=str(path), fix="Check the path, or download the checkpoint."
            )
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error}.", where=str(path), fix="Check its permissions."
        ) from error

    if num_bytes == 0:
        raise CheckpointError(
            f"{path.name} is empty: its download did not finish.", where=str(path), fix=DOWNLOAD_AGAIN
        )
    if _looks_like_safetensors(head):
        header_bytes = int.from_bytes(head[:8], "little")
        if header_bytes > _MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path.name} has a safetensors header of {header_bytes:,} bytes, more than any checkpoint.",
                where=str(path),
                fix=DOWNLOAD_AGAIN,
            )
        if 8 + header_bytes > num_bytes:
            raise CheckpointError(
                f"{path.name} is a truncated safetensors file: {num_bytes:,} bytes, but its header alone takes "
                f"{8 + header_bytes:,}.",
                where=str(path),
                fix=DOWNLOAD_AGAIN,
            )
        return FileFormat.SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path, num_bytes)
    # torch.save's own pickle protocol is 2; later ones come from elsewhere
    if head.startswith((b"\x80\x02", b"\x80\x03")):
        return FileFormat.TORCH_STREAM
    if head.lstrip().startswith(b"{") and _is_shard_index(path):
        return FileFormat.SHARD_INDEX
    what, fix = _describe_foreign(head, num_bytes)
    raise CheckpointError(f"{path.name} is {what}, not a checkpoint.", where=str(path), fix=fix)


def _looks_like_safetensors(head: bytes) -> bool:
    # eight bytes of header length, then the header, a JSON object
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


def _identify_zip(path: Path, num_bytes: int) -> FileFormat:
    try:
        with path.open("rb") as file:
            members = list_members(file, num_bytes)
    except Exception as error:  # zipfile raises many kinds over damaged directories; all mean that the file is bad
        raise_if_too_little(error, path)
        raise CheckpointError(
            f"{path.name} is truncated or damaged: it begins like a torch.save file (a zip archive), but the table of "
            f"contents at the end of its {num_bytes:,} bytes cannot be used ({error}).",
            where=str(path),
            fix=DOWNLOAD_AGAIN,
        ) from error
    # torch.save and torch.jit.save put everything into one top folder whose name is free
    names = {member.filename.partition("/")[2] for member in members}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path.name} is a TorchScript archive: it carries program code, which is never run here.",
            where=str(path),
            fix="Give the plain weights instead: a file written by torch.save(model.state_dict()), or safetensors.",
        )
    if "data.pkl" not in names:
        raise CheckpointError(
            f"{path.name} is a zip archive that torch.save did not write.",
            where=str(path),
            fix="Unpack it and give the checkpoint inside.",
        )
    protocol = _pickle_protocol(path, next(m for m in members if m.filename.partition("/")[2] == "data.pkl"))
    if protocol > TORCH_PROTOCOL:
        raise CheckpointError(
            f"{path.name} was saved with torch.save(..., pickle_protocol={protocol}), which PyTorch reads only where "
            "the file may run code (nothing in it was run).",
            where=str(path),
            fix=_SAVE_AGAIN,
        )
    if all(member.compress_type == zipfile.ZIP_STORED for member in members):
        return FileFormat.TORCH_ZIP
    return FileFormat.TORCH_STREAM


def list_members(file: BinaryIO, num_bytes: int) -> list[zipfile.ZipInfo]:
    """The members of a zip archive, without reading them.

    Raises:
        ValueError: the archive is made to take far more memory than its size suggests. Damaged ones raise anything.
    """
    # what reads an archive takes the whole table of contents, an object for each entry, before it can be asked for any
    table_bytes = _table_bytes(file, num_bytes)
    if table_bytes > _MAX_TABLE_BYTES:
        raise ValueError(f"the table takes {table_bytes:,} bytes, more than any checkpoint has")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    largest = max((member.file_size for member in members if member.filename.endswith(".pkl")), default=0)
    if largest > MAX_PICKLE_BYTES:
        raise ValueError(f"what describes its tensors has {largest:,} bytes, more than any checkpoint has")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _MAX_UNPACKED * num_bytes + _SMALL_BYTES:
        raise ValueError(f"its members would take {unpacked:,} bytes; weights do not shrink like that")
    return members


def _table_bytes(file: BinaryIO, num_bytes: int) -> int:
    """Size of the table of contents as the end of a zip archive gives it; 0 if there is no such end."""
    file.seek(max(0, num_bytes - _END_BYTES))
    end = file.read(_END_BYTES)
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) < at + 16:
        return 0
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    locator = end[max(0, at - 20) : at]
    if locator.startswith(b"PK\x06\x07"):  # sizes beyond 32 bits stand in another record
        file.seek(min(int.from_bytes(locator[8:16], "little"), num_bytes))
        size = max(size if size != 0xFFFFFFFF else 0, int.from_bytes(file.read(56)[40:48], "little"))
    return size


def _pickle_protocol(path: Path, member: zipfile.ZipInfo) -> int:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as pickle:
            head = pickle.read(2)
    except Exception as error:  # as above
        raise CheckpointError(
            f"{path.name} is truncated or damaged: {member.filename} in it cannot be read ({error}).",
            where=str(path),
            fix=DOWNLOAD_AGAIN,
        ) from error
    return head[1] if len(head) == 2 and head[0] == 0x80 else 0


def _is_shard_index(path: Path) -> bool:
    try:
        content = read_json(path, kind=CheckpointError)
    except CheckpointError:
        return False
    return isinstance(content, dict) and "weight_map" in content


def _describe_foreign(head: bytes, num_bytes: int) -> tuple[str, str]:
    """What the file is, and what to do about it."""
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return (
            f"a Git LFS pointer of {num_bytes} bytes that only names the real file",
            "Download the real file: run `git lfs pull` in its repository, or fetch it from the hub.",
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml", b"<error")):
        return (
            "a web page (HTML or XML) that was saved in its place",
            "Check that you are logged in and have accepted the licence, then download it again.",
        )
    for magic, what, fix in _FOREIGN_FORMATS:
        if head.startswith(magic):
            return what, fix
    if head[257:262] == b"ustar":
        return "a tar archive", "Unpack it and give the checkpoint inside."
    if not any(head):
        return "a file of zeros, whose space was reserved but never filled", DOWNLOAD_AGAIN
    text = _as_text(head)
    if text:
        return (
            f"a text file that begins with {text!r}",
            "If this is an error message, follow it; then download the checkpoint again.",
        )
    return (
        f"in no known format (it begins with the bytes {head[:8].hex(' ')})",
        "Give a .safetensors file, a file written by torch.save, or a folder of these.",
    )


def _as_text(head: bytes) -> str | None:
    """The first line, or None if the bytes are not text. A character cut in two at the end does no harm."""
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) < len(head) - 3:
        return None
    first_line = text.strip().partition("\n")[0].strip()[:80]
    return first_line if first_line.isprintable() else None
