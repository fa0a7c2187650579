"""Small pictures of clips."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from cosmos_cli.media.video import read_first_frame


def thumbnail(path: Path, width_px: int) -> bytes:
    """The first frame as JPEG, at most so wide. Raises InputError: the file is no video."""
    picture = Image.fromarray(read_first_frame(path))
    picture.thumbnail((width_px, width_px))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()
