"""Small pictures of inputs that do not lie below the page, which may be copied without them: the page has them inside.

They are made of the copies that the process has of what it read. What it has none of, such as that of an earlier run,
comes from the page as it was.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from cosmos_cli.batch.shown import Medium
from cosmos_cli.errors import CosmosError
from cosmos_cli.files.stores import StorePath, copy_of
from cosmos_cli.page import inside

_WIDTH_PX, _QUALITY = 192, 70
_MOST_BYTES = 16 << 20
"""Of all in one page, which is to open at once."""
_MOST_S = 5.0
"""That one writing of a page spends on new ones; the next goes on."""

PLACE = '<script type="application/json" id="inputs-inside">{}</script>'
"""In a page without any."""
_START, _, _END = PLACE.partition("{}")
_PICTURE = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/]*={0,2}")


def with_inputs_inside(html: str, media: Iterable[Medium], page: Path) -> str:
    """A page with small pictures of those media that lie elsewhere, by the address that it shows of each.

    Args:
        page: where it was written before.
    """
    earlier, found, room = _inside(page), dict[str, str](), _MOST_BYTES
    end = time.monotonic() + _MOST_S
    for medium in media:
        if not medium.lies_at or medium.lies_at in found or medium.source is None:
            continue
        picture = _of(medium.source) if time.monotonic() < end else ""
        picture = picture or earlier.get(medium.lies_at, "")
        if picture and (room := room - len(picture)) > 0:
            found[medium.lies_at] = picture
    text = json.dumps(found).replace("<", "\\u003c")  # an address must not end the script
    return html.replace(PLACE, f"{_START}{text}{_END}")


def _inside(page: Path) -> Mapping[str, str]:
    """What a page has inside; nothing of one that is not there, or that somebody has changed."""
    try:
        text = page.read_bytes().decode(errors="replace")
        told = json.loads(text.partition(_START)[2].partition(_END)[0] or "{}")
    except (OSError, ValueError):
        return {}
    pairs = told.items() if isinstance(told, dict) else ()
    return {name: given for name, given in pairs if isinstance(given, str) and _PICTURE.fullmatch(given)}


def _of(source: Path) -> str:
    """As a data URL, of what is here of it; "" if that is nothing, or no picture."""
    if isinstance(source, StorePath):
        copy = copy_of(source)
        return _small(copy, 0) if copy is not None else ""
    with contextlib.suppress(OSError):
        return _small(source, source.stat().st_mtime_ns)
    return ""


@functools.lru_cache(maxsize=4096)
def _small(path: Path, _changed_ns: int) -> str:
    from cosmos_cli.media.thumbnails import thumbnail

    try:
        return inside(thumbnail(path, _WIDTH_PX, quality=_QUALITY), "image/jpeg")
    except (CosmosError, OSError):
        return ""
