"""Amounts of memory as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{prefix}ib": 1 << 10 * power for power, prefix in enumerate("kmgt", 1)}
_UNITS |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}


def parse_memory(text: str) -> int:
    """Bytes of an amount such as 12GiB, 1.5GiB, 800 MiB or 16GB.

    Raises:
        ValueError: it is none, or not more than 0; worded for a field of a request.
    """
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{0,20})?)\s*([a-z]*)\s*", text.lower())
    num_bytes = int(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else 0
    if not num_bytes:
        raise ValueError(f"must be an amount of memory such as 12GiB, 800MiB or 16GB, but is {text[:40]!r}.")
    return num_bytes


def format_memory(num_bytes: int) -> str:
    """In GiB, small amounts in MiB."""
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"
