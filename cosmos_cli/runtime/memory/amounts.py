"""Amounts of memory as people write them."""

from __future__ import annotations

import contextlib
import re


def parse_memory(text: str) -> int:
    """Bytes of an amount such as 12GiB, 1.5GiB, 800 MiB or 16GB; a number alone is in GiB, as people speak of GPUs.

    Raises:
        ValueError: it is none, or not more than 0; worded for a field of a request.
    """
    # what only tells amounts runs where there is no pydantic
    from pydantic import ByteSize, TypeAdapter, ValidationError

    # pydantic leaves unread what follows an amount
    match = re.fullmatch(r"\s*([0-9]{0,20}\.?[0-9]{1,20})\s*([a-zA-Z]*)\s*", text)
    num_bytes = ByteSize(0)
    with contextlib.suppress(ValidationError):
        num_bytes = TypeAdapter(ByteSize).validate_python(f"{match[1]}{match[2] or 'GiB'}" if match else "")
    if num_bytes <= 0:
        raise ValueError(f"must be an amount of memory such as 12GiB, 800MiB or 16GB, but is {text[:40]!r}.")
    return int(num_bytes)


def format_memory(num_bytes: int) -> str:
    """In GiB, small amounts in MiB."""
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
