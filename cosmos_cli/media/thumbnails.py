"""Small pictures of clips and pictures."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.video import read_first_frame


def thumbnail(path: Path, width_px: int, *, quality: int = 85) -> bytes:
    """The picture, or the first frame, as JPEG, at most so wide. Raises InputError: the file is none of both."""
    picture = Image.fromarray(read_image(path) if is_image(path) else read_first_frame(path))
    picture.thumbnail((width_px, width_px))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
