"""An item of a batch as its page shows it, out of its entry in the ledger and of its sidecar."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from cosmos_cli.batch.entries import Entry
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import MAX_SIDECAR_BYTES, read_json
from cosmos_cli.files.stores import StorePath, stored
from cosmos_cli.redaction import hide

_KINDS = {".mp4": "video", ".webm": "video", ".png": "picture", ".jpg": "picture", ".jpeg": "picture"}
"""What browsers show: suffix to kind."""

_ABOUT_FILES = {"overwrite", "preview", "save_path", "video_save_folder", "video_save_name", "video_save_path"}
"""Fields of a request that say where things go, not how they are made."""

_PROMPT, _ENDS = "prompt", ("controls", "views")
"""Of results and requests: what is shown as text, and groups whose names go without saying."""


@dataclass(frozen=True)
class Medium:
    """A video or picture.

    address: relative to the page; empty where none leads to it.
    ratio: width to height, as CSS has it; empty if unknown.
    lies_at, source: where it lies, in words and as a path, if the page may be copied without it.
    """

    label: str
    name: str
    address: str
    kind: str
    ratio: str = ""
    lies_at: str = ""
    source: Path | None = None


@dataclass(frozen=True)
class Shown:
    """One item.

    batch: which one it is of, where a page has several. made: what was asked for, the main one first.
    beside: its inputs and controls. settings: of its request, dotted names to values; later those that differ alone.
    """

    name: str
    batch: str
    status: str
    seconds: float | None
    error: str
    prompt: str
    made: Sequence[Medium] = ()
    beside: Sequence[Medium] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def shown(entry: Entry, status: str, folder: Path, batch: str = "") -> Shown:
    """An item as it is now.

    Args:
        status: in the words of the page. folder: of the ledger.
    """
    sidecar = _sidecar(entry, folder) if entry.status == "done" else {}
    request = sidecar.get("request", entry.asked)
    used = sidecar.get("prompt_used")
    prompt = used if isinstance(used, str) and used else request.get(_PROMPT)
    own, inputs = _own_media(entry, folder), _inputs(request, entry, folder)
    hidden = {_PROMPT, *_ABOUT_FILES, *(field for field, _ in inputs)}
    return Shown(
        entry.name,
        batch,
        status,
        entry.seconds if status in ("done", "failed", "blocked") and _is_time(entry.seconds) else None,
        entry.error,
        prompt if isinstance(prompt, str) else "",
        own[:1],
        [*(medium for _, medium in inputs), *own[1:]],
        {name: value for name, value in _flat(request) if name not in hidden and value != entry.name},
    )


def settings_that_differ(items: Sequence[Shown]) -> list[Shown]:
    """The items with those of their settings that are not the same for all that have them."""
    values: dict[str, set[str]] = {}
    for item in items:
        for name, value in item.settings.items():
            values.setdefault(name, set()).add(_text(value))
    differ = [name for name, found in values.items() if len(found) > 1]
    return [
        replace(item, settings={_words(name): _text(item.settings[name]) for name in differ if name in item.settings})
        for item in items
    ]


def _sidecar(entry: Entry, folder: Path) -> dict[str, Any]:
    """What a finished item's sidecar says; empty if there is none, or none of ours."""
    told = entry.result.get("sidecar")
    names = [name for name in entry.files if name.endswith(".json")]
    if isinstance(told, str):
        names = [name for name in names if PurePath(name).name == PurePath(told).name] or names
    try:
        document = read_json(folder / names[0], limit=MAX_SIDECAR_BYTES) if names else None
    except (InputError, OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and isinstance(document.get("request"), dict) else {}


def _own_media(entry: Entry, folder: Path) -> list[Medium]:
    """What an item wrote and a browser shows, the main one first."""
    told = {PurePath(path).name: name for name, path in _flat(entry.result) if isinstance(path, str)}
    width, height = entry.result.get("width"), entry.result.get("height")
    ratio = f"{width} / {height}" if _is_count(width) and _is_count(height) else ""
    # what is not part of the result, such as a weight map, is called after what its name adds to the video's
    stems = [PurePath(name).stem for name in entry.files]
    found = []
    for name in entry.files:
        kind, path = _KINDS.get(PurePath(name).suffix.lower()), PurePath(name)
        if kind is None:
            continue
        label = told.get(path.name)
        begin = max((stem for stem in stems if stem != path.stem and path.stem.startswith(stem)), key=len, default="")
        label = _words(label) if label else path.stem.removeprefix(begin).strip("_-").replace("_", " ")
        found.append(Medium(label, path.name, _address(name), kind, ratio if label in ("video", "image") else ""))
    return sorted(found, key=lambda medium: medium.label not in ("video", "image"))


def _inputs(request: Mapping[str, Any], entry: Entry, folder: Path) -> list[tuple[str, Medium]]:
    """Fields that name a video or picture which is still there, as far as that can be told, and what they name."""
    own = {os.path.normpath(folder.absolute() / name) for name in entry.files}
    found = []
    for name, value in _flat(request):
        kind = _KINDS.get(PurePath(value).suffix.lower()) if isinstance(value, str) else None
        if kind is None or name in _ABOUT_FILES:
            continue
        try:
            path = stored(Path(value))
            is_there = path.is_absolute() and (isinstance(path, StorePath) or path.is_file())
        except (OSError, ValueError):  # no name of a file
            continue
        if is_there and os.path.normpath(path) not in own:
            label = _words(name).removesuffix(" path").replace("image or video", kind)
            found.append((name, _input(path, folder.absolute(), label, kind)))
    return found


def _input(path: Path, folder: Path, label: str, kind: str) -> Medium:
    """An input; a link leads to it where it lies on the same disk as the page, or in the same bucket."""
    if not isinstance(path, StorePath) and not isinstance(folder, StorePath):
        # links as they were named: a browser follows none
        return Medium(label, path.name, _address(os.path.relpath(path, folder)), kind)
    relative = ""
    if type(path) is type(folder) and path.parts[:2] == folder.parts[:2]:
        relative = os.path.relpath("/".join(path.parts), "/".join(folder.parts))
    lies_at = "" if relative and not relative.startswith("../") else hide(str(path))
    return Medium(label, path.name, _address(relative), kind, lies_at=lies_at, source=path)


def _address(path: str) -> str:
    """A relative path as an address: no name is taken for a scheme, a query or an escape."""
    return quote(os.fsencode(path))


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a document of objects."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _words(name: str) -> str:
    first, _, rest = name.partition(".")
    return (rest if rest and first in _ENDS else name).replace(".", " ").replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 20
