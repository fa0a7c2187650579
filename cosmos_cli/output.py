"""The only module that prints: progress and notices on stderr, results on stdout, `--json`, error panels.

As a library cosmos is silent: `configure` is called by the command line.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from cosmos_cli import bars, text_layout
from cosmos_cli.bars import FileProgress
from cosmos_cli.durations import duration
from cosmos_cli.redaction import hide, hide_in, json_visible, visible

if TYPE_CHECKING:
    from cosmos_cli.errors import CosmosError

T = TypeVar("T")

_speaking = False
_mute = False
_as_json = False
_follower: Callable[[str], None] | None = None
_notices: list[str] = []
"""Everything noticed since the command began, each text once."""


@dataclass(frozen=True)
class _Record:
    """The notices of one item among many, and whether its stages show themselves."""

    notices: list[str]
    in_background: bool


_record: ContextVar[_Record | None] = ContextVar("record", default=None)
"""Threads begin without one."""


class _Lossy(io.FileIO):
    """A descriptor whose other end may go away: what cannot be written is lost, and the work goes on.

    `lost` is the first reason.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.lost is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.lost = error
            else:
                return size if written is None else written  # None: a full pipe that does not wait
        return size


class _Stream(io.TextIOWrapper):
    """Text without secrets, whoever writes it: libraries, warnings and threads that die write to stderr too."""

    def write(self, text: str) -> int:
        super().write(hide(text))
        return len(text)


def lossy(descriptor: int, like: TextIO | None = None) -> TextIO:
    """A text stream on a descriptor that never fails; stdout must tell at the end what it lost, see `lost_stdout`."""
    encoding = getattr(like, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(_Lossy(descriptor, "wb", closefd=False))
    errors = "surrogateescape" if getattr(like, "errors", None) == "surrogateescape" else "backslashreplace"
    return _Stream(buffered, encoding=encoding, errors=errors, line_buffering=True)


def keep_streams() -> None:
    """Have this process go on when a standard stream is closed, full, or gone. To be called first of all.

    Without this the next file to be opened would become the stderr of native libraries.
    """
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest number that is free is this one. Writing to stdout fails as on a closed one, and is told
            os.open(os.devnull, mode)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout, sys.stderr = lossy(1, sys.stdout), lossy(2, sys.stderr)


def lost_stdout() -> OSError | None:
    """Why results could not be written; None if they were, or if who has left was the reader of messages too."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, _Lossy) else None
    if lost is not None and lost.errno == errno.EPIPE and os.path.sameopenfile(1, 2):
        return None  # `2>&1 | head -1`
    return lost


def configure(*, speaking: bool, mute: bool = False) -> None:
    """Begin a command: forget the notices of the last one, return to plain text; silent unless `speaking`.

    Args:
        mute: write nothing but error panels, on stdout neither, since another process writes the same.
    """
    global _speaking, _mute, _as_json
    _speaking, _mute, _as_json = speaking and not mute, mute, False
    _notices.clear()


def follow(follower: Callable[[str], None]) -> None:
    """Have a function told of every line of `status` and every unit of `progress`, shown or not."""
    global _follower
    _follower = follower


def _tell_follower(text: str) -> None:
    if _follower is not None:
        _follower(text)


def use_json(value: bool) -> bool:
    """Switch this command to one JSON document on stdout."""
    global _as_json
    _as_json = _as_json or value
    return value


def status(text: str) -> None:
    """A line about what happens now, on stderr."""
    if not _in_background():
        _tell_follower(text)
        _say(text)


def notice(text: str, *, was_said: bool = False) -> None:
    """A line the user should not miss, on stderr; also kept for the sidecar and the JSON document.

    Args:
        was_said: another process has shown it.
    """
    record = _record.get()
    if record is not None and text not in record.notices:
        record.notices.append(text)
    if text not in _notices:
        _notices.append(text)
        if not was_said:
            _say(f"note: {text}")


def notices() -> list[str]:
    """Everything noticed since the command began, or in the innermost `recording`."""
    record = _record.get()
    return list(_notices if record is None else record.notices)


@contextlib.contextmanager
def recording(earlier: Iterable[str] = (), *, in_background: bool = False) -> Iterator[None]:
    """Keep the notices of one item apart from those of others; a text that several notice is shown once.

    Args:
        earlier: notices of the same item, from another thread.
        in_background: show no status and no progress, since another item is showing its own.
    """
    token = _record.set(_Record(list(earlier), in_background))
    try:
        yield
    finally:
        _record.reset(token)


def _in_background() -> bool:
    record = _record.get()
    return record is not None and record.in_background


class StageProgress:
    """A stage that is shown; to be called after each of its units.

    closing: the line that stands when the stage is done, where it turned out to be something else than was announced.
    """

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self.closing: str | None = None

    def __call__(self) -> None:
        self._count()


@contextlib.contextmanager
def progress(label: str, total: int | None = None, unit: str = "steps") -> Iterator[StageProgress]:
    """Show a stage on stderr: a bar on a terminal, elsewhere a line every half minute; a line when it is done.

    Yields a function to be called after each of the `total` units.
    """
    if _in_background():
        yield StageProgress(lambda: None)
        return
    start = time.perf_counter()
    _tell_follower(label)

    def amount(done: int) -> str:
        return f"{done} of {total} {unit}, " if total else ""

    with _shown(lambda: bars.bar(_clean(label), total), lambda: bars.lines(label, amount, total, _say)) as advance:
        stage = StageProgress(_counted(lambda: advance(1), label, total, unit))
        yield stage
    whole = f" {total} {unit}" if total else ""
    _say(stage.closing or f"{label}{whole}: {duration(time.perf_counter() - start)}")


def _shown(
    bar: Callable[[], AbstractContextManager[T]], lines: Callable[[], AbstractContextManager[T]]
) -> AbstractContextManager[T]:
    """What shows work in progress here."""
    return bar() if _speaking and sys.stderr.isatty() else lines()


def _counted(advance: Callable[[], None], label: str, total: int | None, unit: str) -> Callable[[], None]:
    numbers = itertools.count(1)
    label = label.rstrip(",:")  # which a sum of units follows at the end

    def count() -> None:
        amount = f"{next(numbers)} of {total}" if total else next(numbers)
        _tell_follower(f"{label}: {amount} {unit} done")
        advance()

    return count


@contextlib.contextmanager
def files_progress(label: str, num_bytes: int) -> Iterator[FileProgress]:
    """Show work on files on stderr: on a terminal a bar for all bytes and one for each file at work, else lines.

    What it yields may be called from several threads.
    """
    start = time.perf_counter()
    _tell_follower(label)
    with _shown(lambda: bars.file_bars(_clean(label), num_bytes, _clean), lambda: _lines(label, num_bytes)) as of_file:
        yield of_file
    _say(f"{label} {num_bytes // 1_000_000} MB: {duration(time.perf_counter() - start)}")


@contextlib.contextmanager
def _lines(label: str, num_bytes: int) -> Iterator[FileProgress]:
    def amount(done: int) -> str:
        return f"{done // 1_000_000} of {num_bytes // 1_000_000} MB, "

    with bars.lines(label, amount, num_bytes, _say) as advance:
        yield lambda name, num_bytes: contextlib.nullcontext(advance)


def result(text: str, document: Mapping[str, Any]) -> None:
    """The outcome of a command on stdout: `text` for people, or `document` with `--json`."""
    if _as_json:
        data({**document, "notices": notices()})
    else:
        _write(sys.stdout, text)


def data(document: Any) -> None:
    """A JSON document on stdout, whatever the mode and the encoding."""
    clean = hide_in(document)
    line = json_visible(json.dumps(clean, indent=2, ensure_ascii=False, default=str))
    if not _can_show(sys.stdout, line):  # escaped, it is the same document
        line = json_visible(json.dumps(clean, indent=2, default=str))
    _write(sys.stdout, line)


def text(lines: str) -> None:
    """Plain text on stdout."""
    _write(sys.stdout, lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns as plain text, as wide as the terminal; wide enough for all where stdout is none.

    columns: their titles; all empty for none.
    """
    # what a file is called must not look like another row
    cells = [[visible(cell).replace("\n", "\\n") for cell in row] for row in rows]
    return text_layout.table(columns, cells, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


def error(failure: CosmosError) -> None:
    """One panel on stderr: what, where and what to do; with `--json` the same as a document on stdout."""
    if _as_json:
        problems = [{"what": p.what, "where": p.where, "fix": p.fix} for p in failure.problems]
        document = {"status": "failed", "exit_code": failure.exit_code, "error": failure.title, "problems": problems}
        data({**document, "notices": notices()})
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    clean = [
        replace(p, what=_clean(p.what), where=_clean(p.where or ""), fix=_clean(p.fix or "")) for p in failure.problems
    ]
    plain = not _can_show(sys.stderr, "─")
    for line, style in text_layout.panel(failure.title, clean, console.width, is_plain=plain):
        console.print(Text(line, style=style), soft_wrap=True)


def trace(lines: str) -> None:
    """Where an error comes from, on stderr, for whoever debugs."""
    print(_clean(lines), file=sys.stderr, flush=True)  # noqa: T201


def _clean(text: str) -> str:
    """The border: no secret leaves, and nothing that a terminal would obey."""
    return visible(hide(text))


def _say(line: str) -> None:
    if _speaking:
        _write(sys.stderr, line)


def _write(stream: TextIO, line: str) -> None:
    if _mute:
        return
    line, encoding = _clean(line), stream.encoding or "utf-8"
    try:
        line.encode(encoding, stream.errors or "strict")
    except UnicodeEncodeError:  # letters that the stream has no place for are escaped
        line = line.encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=stream, flush=True)


def _can_show(stream: TextIO, line: str) -> bool:
    """Whether it goes through as it is."""
    try:
        line.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
