"""Makes the parts of the demonstration one after the other; those that an earlier run has made stay."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli import __version__, interrupts, output, registry
from cosmos_cli.demo.gallery import Section, gallery
from cosmos_cli.demo.part import Part
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.identity import digest, fingerprint
from cosmos_cli.files.missing import is_file
from cosmos_cli.files.outputs import check_writable, claim
from cosmos_cli.files.writing import replacing, write_json
from cosmos_cli.registered import Extension

PAGE_NAME, STATE_NAME = "gallery.html", "demo.json"

Perform = Callable[[Sequence[str]], None]
"""Runs one command line of `cosmos`. Raises CosmosError: what went wrong with it."""


@dataclass(frozen=True)
class Made:
    """What became of a part. status: "done", "done before" or "failed"."""

    name: str
    status: str
    section: Section

    def document(self) -> dict[str, Any]:
        section = self.section
        return {
            "name": self.name,
            "status": self.status,
            "seconds": section.seconds,
            "error": section.error,
            "command": section.command,
            "outputs": [one.path for one in section.shown if one.role == "output"],
        }


@dataclass(frozen=True)
class Report:
    """What became of all parts. page: shows them."""

    page: Path
    made: tuple[Made, ...]

    @property
    def exit_code(self) -> int:
        return CosmosError.exit_code if any(one.section.error for one in self.made) else 0

    def summary(self) -> str:
        rows = [(one.name, one.status, f"{one.section.seconds:.1f}", one.section.error) for one in self.made]
        return f"{output.table(('PART', 'STATUS', 'SECONDS', 'ERROR'), rows)}\ngallery: {self.page}"

    def document(self) -> dict[str, Any]:
        return {
            "status": "failed" if self.exit_code else "ok",
            "exit_code": self.exit_code,
            "gallery": self.page,
            "parts": [one.document() for one in self.made],
        }


def make_all(
    parts: Sequence[Extension], folder: Path, seed: int, perform: Perform, *, overwrite: bool = False
) -> Report:
    """Make the parts, each in a folder of its own, and the page. One that fails does not stop the others.

    Raises:
        InputError: the folder cannot be written, is at work elsewhere, or holds what is no demonstration.
        CosmosError: the page cannot be written.
    """
    page = folder / PAGE_NAME
    check_writable(page, field="--output-dir", overwrite=True)
    if not overwrite and folder.is_dir() and any(folder.iterdir()) and not is_file(folder / STATE_NAME):
        raise InputError(
            f"{folder} holds other files.",
            where="--output-dir",
            fix="Give the name of a new folder, or pass --overwrite.",
        )
    # not `making`: what the commands write appears as each of them ends, not all of it at the end of this
    taken = claim([page])
    try:
        with interrupts.at_leave(taken.release):
            return _make_claimed(parts, folder, seed, perform, overwrite=overwrite)
    finally:
        taken.release()


def _make_claimed(parts: Sequence[Extension], folder: Path, seed: int, perform: Perform, *, overwrite: bool) -> Report:
    state = _State(folder / STATE_NAME)
    made = []
    for number, part in enumerate(parts, start=1):
        output.status(f"\n{number} of {len(parts)}: {part.help}")
        made.append(_make(part, folder / part.name, seed, perform, state, overwrite=overwrite))
    page = folder / PAGE_NAME
    with replacing(page) as temporary:
        text = gallery([one.section for one in made], seed=seed)
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return Report(page, tuple(made))


def _make(extension: Extension, folder: Path, seed: int, perform: Perform, state: _State, *, overwrite: bool) -> Made:
    part: Part | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = extension.resolve()(folder, seed)
        key = _key(extension, part, seed)
        before = None if overwrite else state.seconds(extension.name, key)
        if before is not None:
            output.status("It was made by an earlier run.")
            return Made(extension.name, "done before", _section(part, before))
        output.status(f"$ {_command(part)}")
        start = time.perf_counter()
        perform(part.arguments)
        seconds = time.perf_counter() - start
        section = _section(part, seconds)
        state.note(extension.name, seed, key, seconds, [one.path for one in section.shown])
        return Made(extension.name, "done", section)
    except Exception as failure:  # the border: one part, maybe of another package, must not cost the others
        known = isinstance(failure, CosmosError)
        error = str(failure) if known else f"{type(failure).__name__}: {failure}"
        output.status(f"{extension.name} failed: {error}")
        if part is None:
            return Made(extension.name, "failed", Section(extension.help.rstrip("."), "", "", "", error=error))
        return Made(extension.name, "failed", Section(part.title, part.about, part.prompt, _command(part), error=error))


def _section(part: Part, seconds: float) -> Section:
    return Section(part.title, part.about, part.prompt, _command(part), tuple(part.shown()), seconds)


def _command(part: Part) -> str:
    return shlex.join(["cosmos", *part.arguments])


def _key(extension: Extension, part: Part, seed: int) -> str:
    """What decides what a part shows: the code that makes it, its weights, and its command."""
    plugins = registry.current().plugins
    versions = [__version__, *(plugin.version for plugin in plugins if plugin.name == extension.plugin)]
    weights = None if part.weights is None else fingerprint(part.weights)
    known = [versions, weights, seed, list(part.arguments)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


class _State:
    """What of a demonstration is made, in a file beside the page."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, Any] = {}
        if is_file(path):
            try:
                document = read_json(path)
            except InputError:
                document = None  # made again, then
            if isinstance(document, dict) and isinstance(document.get("parts"), dict):
                self._parts = document["parts"]
        self._write()

    def seconds(self, name: str, key: str) -> float | None:
        """What a part took; None if it was not made, or its files are not as they were."""
        entry = self._parts.get(name)
        if not isinstance(entry, dict) or entry.get("key") != key or not isinstance(entry.get("files"), dict):
            return None
        folder = self._path.parent
        for file, known in entry["files"].items():
            if not is_file(folder / file) or digest(folder / file) != known:
                return None
        seconds = entry.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    def note(self, name: str, seed: int, key: str, seconds: float, files: Sequence[Path]) -> None:
        folder = self._path.parent
        known = {str(file.relative_to(folder)): digest(file) for file in files}
        self._parts[name] = {"seed": seed, "key": key, "seconds": seconds, "files": known}
        self._write()

    def _write(self) -> None:
        write_json(self._path, {"version": __version__, "parts": self._parts})
