"""Fetches published files: in parallel, resuming, verified, and under their final names only when they are right.

What the Hub's cache has is linked. What lies in the Hub's store of chunks comes by the Hub's own client of that store.
The rest comes by HTTP: the Hub's own download into a folder drops the half of a file that a cut line leaves, removes
the old file before the new one is whole, and compares sizes alone.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session

from cosmos_cli import output
from cosmos_cli.checkpoints.answers import bounded, raise_for_status, request_headers, transport_errors
from cosmos_cli.checkpoints.hub import RemoteFile, is_offline, refusal
from cosmos_cli.checkpoints.hub_cache import blob
from cosmos_cli.checkpoints.xet import can_stream
from cosmos_cli.checkpoints.xet import stream as xet_stream
from cosmos_cli.errors import CheckpointError, CosmosError, DiskFull, Problem
from cosmos_cli.files.failures import FULL
from cosmos_cli.files.locks import try_lock

CHUNK_BYTES = 1 << 20
MAX_ATTEMPTS = 5
"""Failures in a row, without a new byte in between, before a file is given up."""
MAX_WAIT_S = 60.0
LOCK_POLL_S = 0.2


class _Stopped(Exception):
    """The user pressed Ctrl-C."""


class _GaveUp(CosmosError):
    """A file could not be fetched, however often it was tried."""


class _Incomplete(Exception):
    """The connection ended early, or the Hub asked to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def pending(files: Iterable[RemoteFile], root: Path) -> list[RemoteFile]:
    """The files that are not under the checkpoint folder in the size that the Hub gives."""
    return [file for file in files if not _has_size(root / file.local_path, file.num_bytes)]


def missing_bytes(files: Iterable[RemoteFile], root: Path) -> int:
    """What is still to be fetched of these files; parts of earlier attempts count as there, and what can be linked."""
    return sum(
        file.num_bytes - min(file.num_bytes, _size(_part(root / file.local_path, file)))
        for file in files
        if _cached(file) is None
    )


def _cached(file: RemoteFile) -> Path | None:
    return blob(file.repository, file.digest, file.num_bytes)


def download(
    files: Sequence[RemoteFile],
    root: Path,
    *,
    max_workers: int,
    show: Callable[[RemoteFile], contextlib.AbstractContextManager[Callable[[int], None]]],
    on_file: Callable[[RemoteFile, bool], None],
) -> list[tuple[RemoteFile, Problem]]:
    """Fetch files into the checkpoint folder. What was fetched stays, whatever happens.

    Args:
        files: as `look_up` found them.
        max_workers: files at a time.
        show: a context for the time that a file is at work, from several threads. It yields what is told of its bytes
            that are on the disk, those of earlier attempts too; negative where they proved wrong.
        on_file: told of each file that is complete and verified, and whether it was in the Hub's cache, from several
            threads.
    Returns:
        The optional files that could not be fetched, and why.
    Raises:
        CheckpointError: what arrives is not what the Hub says that it is, or it is refused.
        CosmosError: the connection failed too often, or the disk is full. All other files are complete then.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(max_workers, thread_name_prefix="download")
    left_out: list[tuple[RemoteFile, Problem]] = []

    def one(file: RemoteFile) -> None:
        try:
            with show(file) as on_bytes:
                is_from_cache = _fetch(file, root / file.local_path, stop, on_bytes)
        except (CheckpointError, _GaveUp) as error:
            if not file.is_optional:
                raise
            left_out.append((file, error.problems[0]))
        else:
            on_file(file, is_from_cache)

    try:
        # large files first, so that none is left over at the end with the line to itself
        jobs = [pool.submit(one, file) for file in sorted(files, key=lambda file: -file.num_bytes)]
        wait(jobs)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    _raise_failures(jobs)
    return left_out


def verify(file: RemoteFile, root: Path, on_bytes: Callable[[int], None]) -> Problem | None:
    """What is wrong with a file of the checkpoint folder, whose whole content is read; None if nothing is."""
    path = root / file.local_path
    if not path.is_file():
        return Problem("is missing.", str(path))
    if _size(path) != file.num_bytes:
        return Problem(f"has {_size(path)} bytes instead of {file.num_bytes}.", str(path))
    if not _is_published(file, path, on_bytes):
        return Problem("is damaged: its content is not the published one.", str(path))
    return None


def _is_published(file: RemoteFile, path: Path, on_bytes: Callable[[int], None]) -> bool:
    content = file.new_hash()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            content.update(chunk)
            on_bytes(len(chunk))
    digest: str = content.hexdigest()
    return digest == file.digest


def _raise_failures(jobs: Iterable[Future[None]]) -> None:
    errors = [job.exception() for job in jobs if job.done() and not job.cancelled()]
    failures = [error for error in errors if isinstance(error, CosmosError)]
    for error in errors:
        if error is not None and not isinstance(error, CosmosError | _Stopped):
            raise error
    if failures:
        first, *others = failures
        first.problems += [problem for other in others for problem in other.problems]
        raise first


def _fetch(file: RemoteFile, target: Path, stop: threading.Event, on_bytes: Callable[[int], None]) -> bool:
    """See that a file is there. Returns whether it came out of the Hub's cache."""
    part = _part(target, file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, stop) as stream:
            if _has_size(target, file.num_bytes):
                # another process was faster
                part.unlink()
                on_bytes(file.num_bytes)
                return False
            cached = _cached(file)
            if cached is not None and not _is_published(file, cached, on_bytes):
                if is_offline():
                    raise CheckpointError(
                        "is damaged: its content is not the published one.",
                        where=str(cached),
                        fix="Remove it, and unset HF_HUB_OFFLINE to fetch it.",
                    )
                output.notice(f"{cached} is damaged, and {file.local_path} is fetched instead")
                on_bytes(-file.num_bytes)
                cached = None
            if cached is not None and _link(cached, part, target):
                _remove_other_parts(target, part)
                part.unlink()
                return True
            for _ in range(2):
                if _fill(file, stream, stop, on_bytes, cached):
                    os.fsync(stream.fileno())
                    part.replace(target)
                    _remove_other_parts(target, part)
                    return cached is not None
                on_bytes(-stream.tell())
                stream.truncate(0)
            part.unlink()
    except OSError as error:
        raise _not_written(file, part, error) from error
    raise CheckpointError(
        "what the Hub sent twice is not what it says that it publishes, so it was not kept.",
        where=str(target),
        fix="Try again later; if HF_ENDPOINT names a mirror, try without.",
    )


def _not_written(file: RemoteFile, part: Path, error: OSError) -> CosmosError:
    """What the system's refusal means; only where there is no room does making some help."""
    if error.errno not in FULL:
        return CosmosError(
            f"cannot be written: {error.strerror or error}.",
            where=str(part),
            fix="Choose another --checkpoint-dir, or make this one writable, then run the same command again.",
        )
    there = min(file.num_bytes, _size(part))
    return DiskFull(
        f"does not fit on the disk: {there:,} of its {file.num_bytes:,} bytes are there, and "
        f"{file.num_bytes - there:,} more are needed ({error.strerror}).",
        where=str(part),
        fix="Make room or choose another --checkpoint-dir, then run the same command again: it goes on from here.",
    )


def _link(cached: Path, part: Path, target: Path) -> bool:
    """Let a file stand under its final name too, where links work; a hard one outlives the cache."""
    temporary = part.with_suffix(".link.part")
    temporary.unlink(missing_ok=True)
    for link in (os.link, os.symlink):
        with contextlib.suppress(OSError):
            link(cached.resolve(), temporary)
            temporary.replace(target)
            return True
    return False


def _fill(
    file: RemoteFile,
    stream: BinaryIO,
    stop: threading.Event,
    on_bytes: Callable[[int], None],
    cached: Path | None = None,
) -> bool:
    """Complete a part, out of the cache if a place in it is given. Returns whether the content is the published one."""
    content = file.new_hash()
    stream.seek(0)
    if os.fstat(stream.fileno()).st_size > file.num_bytes:
        return False
    while earlier := stream.read(CHUNK_BYTES):
        content.update(earlier)
        on_bytes(len(earlier))
    attempts, furthest = 0, stream.tell()
    while (begin := stream.tell()) < file.num_bytes:
        _check(stop)
        try:
            for chunk in _chunks(file, begin, cached, by_xet=attempts == 0 and can_stream(file)):
                if chunk is None:
                    stream.seek(0)
                    stream.truncate()
                    content = file.new_hash()
                    on_bytes(-begin)
                    continue
                stream.write(chunk)
                content.update(chunk)
                on_bytes(len(chunk))
                if stream.tell() > furthest:
                    attempts, furthest = 0, stream.tell()
                if stream.tell() > file.num_bytes:
                    return False
                _check(stop)
            if stream.tell() < file.num_bytes:
                raise _Incomplete("it ended early")
        except _Incomplete as error:
            attempts += 1
            if attempts == MAX_ATTEMPTS:
                raise _GaveUp(
                    f"could not be fetched: {error}.",
                    where=str(file.local_path),
                    fix="Run the same command again later: it goes on where it stopped.",
                ) from error
            # a line that was cut while data flowed is taken up again at once
            usual = 0 if attempts == 1 else 2 ** (attempts - 2)
            stop.wait(usual if error.wait_s is None else error.wait_s)
        finally:
            stream.flush()
    digest: str = content.hexdigest()
    return digest == file.digest


def _chunks(file: RemoteFile, begin: int, cached: Path | None, *, by_xet: bool) -> Iterator[bytes | None]:
    """Content from byte `begin` on; None first if the server sends everything from byte 0 instead."""
    if cached is not None:
        with cached.open("rb") as stored:
            stored.seek(begin)
            while chunk := stored.read(CHUNK_BYTES):
                yield chunk
    elif by_xet:
        try:
            yield from xet_stream(file, begin)
        except Exception as error:  # the client has kinds of its own, and next HTTP is tried
            raise _Incomplete(f"the connection failed ({str(error) or type(error).__name__})") from error
    else:
        yield from _by_http(file, begin)


def _by_http(file: RemoteFile, begin: int) -> Iterator[bytes | None]:
    headers = request_headers()
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        with get_session().stream(
            "GET", file.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
        ) as answer:
            if answer.status_code == 429 or answer.status_code >= 500:
                raise _Incomplete(f"the Hub answered with status {answer.status_code}", _retry_after(answer.headers))
            if answer.status_code >= 400:
                raise_for_status(bounded(answer))  # the reason is in it
            raise_for_status(answer)
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise CheckpointError(
                    "the server compresses files although it was asked not to, so they could not be counted.",
                    where=file.name,
                    fix="If HF_ENDPOINT names a mirror, try without.",
                )
            if answer.status_code == 206:
                if not answer.headers.get("content-range", "").startswith(f"bytes {begin}-"):
                    raise _Incomplete("the server sends another part of it than it was asked for")
            elif begin:
                yield None
            # as they arrive: pieces of a size of one's own would be lost in their buffer when the line is cut
            yield from answer.iter_raw()
    except transport_errors() as error:
        raise _Incomplete(f"the connection failed ({str(error) or type(error).__name__})") from error
    except HfHubHTTPError as error:
        raise CheckpointError.from_problems([refusal(error, file.repository)]) from error


def _retry_after(headers: object) -> float | None:
    text = dict(headers).get("retry-after", "")  # type: ignore[call-overload]
    return min(float(text), MAX_WAIT_S) if text.isascii() and text.isdigit() else None


@contextlib.contextmanager
def _locked(part: Path, stop: threading.Event) -> Iterator[BinaryIO]:
    """The part, open for reading and appending, and no other process's meanwhile."""
    while True:
        with _open(part) as stream:
            while (lock := try_lock(part)) is None:
                _check(stop)
                stop.wait(LOCK_POLL_S)
            if not lock.is_real:
                output.notice(f"{part.parent} knows no locks: take care that no other cosmos downloads to it")
            try:
                # whoever held it may have renamed it to its final name, and then this is not the part any more
                if _inode(part) == os.fstat(stream.fileno()).st_ino:
                    yield stream
                    return
            finally:
                lock.release()


def _open(part: Path) -> BinaryIO:
    """The part itself: a link or a pipe under its name, which no download leaves there, is removed and not followed."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            status = part.lstat()
            # a file with another name is somebody's
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                part.unlink()
        try:
            descriptor = os.open(part, flags, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                continue
            raise
        if os.fstat(descriptor).st_nlink <= 1:
            return os.fdopen(descriptor, "a+b")
        os.close(descriptor)
    raise OSError(errno.ELOOP, "something puts links in the place of this file", str(part))


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped


def _part(target: Path, file: RemoteFile) -> Path:
    # named after the content, so that what is left of another version is not taken up
    return target.with_name(f".{target.name}.{file.digest[:12]}.part")


def _remove_other_parts(target: Path, part: Path) -> None:
    """Remove what is left of versions that were published before."""
    for other in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if other != part:  # another process may wait on its lock
            other.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # also a loop of links, and a folder that is not to be seen
        return 0


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.is_file() and _size(path) == num_bytes
    except OSError:
        return False
