"""GPUs that are known by name: how fast they are and how much memory they have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from cosmos_cli.runtime.memory.amounts import format_memory, parse_memory


class Card(NamedTuple):
    """peak: dense bfloat16 in FLOP/s. share: of it that a whole generation reaches. memory_mib: as the driver tells it.

    measured: whether the share is.
    """

    peak: float
    share: float
    measured: bool
    memory_mib: int


# Peaks and memory as NVIDIA's data sheets and drivers give them. Where a share is measured it follows from NVIDIA's
# published times of Predict2-2B Video2World, 720p at 16 frames per second where given and 480p elsewhere; the other
# shares are assumed. The first name that a device's name holds counts.
CARDS: Mapping[str, Card] = {
    "GB200": Card(2500e12, 0.36, True, 189_471),
    "B200": Card(2250e12, 0.50, True, 183_359),
    "H200 NVL": Card(836e12, 0.62, True, 143_771),
    "H200": Card(989e12, 0.63, True, 143_771),
    "H100 NVL": Card(835e12, 0.46, True, 95_830),
    "H100 PCIe": Card(756e12, 0.48, True, 81_559),
    "H100": Card(989e12, 0.61, True, 81_559),
    "H20": Card(148e12, 0.88, True, 97_871),
    "A100": Card(312e12, 0.55, False, 81_920),
    "L40S": Card(362e12, 0.50, True, 46_068),
    "RTX PRO 6000": Card(503e12, 0.56, True, 97_887),
    "RTX 6000 Ada": Card(364e12, 0.35, True, 49_140),
    "GB10": Card(125e12, 0.54, True, 122_570),
    "RTX 5090": Card(210e12, 0.55, False, 32_607),
    "RTX 4090": Card(165e12, 0.55, False, 24_564),
    "RTX 3090": Card(71e12, 0.55, False, 24_576),
}
UNKNOWN = Card(100e12, 0.5, False, 0)


def find_card(device_name: str) -> Card | None:
    """The card that a driver calls by this name; None if it is in no table."""
    return next((card for name, card in CARDS.items() if name.lower() in device_name.lower()), None)


def parse_card(text: str) -> tuple[str, int]:
    """Name and memory in bytes of a GPU that a user means: a card such as h100 or "rtx 4090", or 24GiB of any.

    Raises:
        ValueError: it is neither; worded for a field of a request.
    """
    for name, card in CARDS.items():
        if _plain(text) in (_plain(name), _plain(f"NVIDIA {name}")):
            return f"NVIDIA {name}", card.memory_mib << 20
    try:
        num_bytes = parse_memory(text)
    except ValueError as error:
        known = ", ".join(name.lower().replace(" ", "-") for name in CARDS)
        raise ValueError(
            f"must be a card, one of {known}, or an amount of memory such as 24GiB, but is {text[:40]!r}."
        ) from error
    return f"a GPU with {format_memory(num_bytes)}", num_bytes


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())
