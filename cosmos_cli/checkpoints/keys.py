"""Which keys of a file a network takes, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import translate

from cosmos_cli.errors import Problem

Shape = Sequence[int]

# Entries of published files that hold nothing learnt: Transformer Engine's bookkeeping, counters of the training run,
# and constant tables of the position embedding, which are computed instead.
NOT_LEARNT = (
    "*_extra_state*",
    "accum_*",
    "pos_embedder.seq",
    "pos_embedder.dim_spatial_range",
    "pos_embedder.dim_temporal_range",
    "pos_embedder_options.*",
)

# Training scripts wrap the weights under one of these; where a file has several, the first in this order counts.
WRAPPERS = ("model", "module", "state_dict", "ema")

_NUM_SHOWN = 8


@dataclass(frozen=True)
class KeyFilter:
    """Turns a key of a file into the network's name for it, or None if the network does not want it.

    prefix: in front of every wanted key; removed.
    ignored: shell-style patterns of keys that are known and not wanted, matched with and without the prefix.
    accepts_bare: take keys without the prefix as they are; otherwise they are not wanted.
    """

    prefix: str
    ignored: tuple[str, ...] = ()
    accepts_bare: bool = True
    _ignored: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # without any pattern, one that matches nothing
        object.__setattr__(self, "_ignored", re.compile("|".join(map(translate, self.ignored)) or r"(?!)"))

    def __call__(self, key: str) -> str | None:
        name = key.removeprefix(self.prefix)
        is_bare = name == key and self.prefix != ""
        if self._ignored.match(key) or self._ignored.match(name) or (is_bare and not self.accepts_bare):
            return None
        return name

    def __str__(self) -> str:
        return f"{self.prefix}*"


def wanted_keys(prefix: str = "net.", *, ema: bool = False, ignored: Iterable[str] = NOT_LEARNT) -> KeyFilter:
    """The convention of published Cosmos checkpoints.

    Every key has the name of the network in front (`net.`); files from training may hold a second set, averaged over
    the steps, under `net_ema.`. Bare keys are accepted, except for the averaged weights: nothing would tell them apart.

    Args:
        prefix: of the network in the file, with its dot: `net.`, `base_model.net.`, `net.net_ctrl.`.
        ema: take the averaged set instead. A file without one gives no keys, which `load_network` reports.
        ignored: patterns of what else may be in the file; name a second network here, as in
            `wanted_keys("base_model.net.", ignored=(*NOT_LEARNT, "net.*", "*logvar.*"))`.
    """
    ema_prefix = f"{prefix.removesuffix('.')}_ema."
    if ema:
        return KeyFilter(ema_prefix, tuple(ignored), accepts_bare=False)
    return KeyFilter(prefix, (*ignored, f"{ema_prefix}*"))


@dataclass(frozen=True)
class KeyReport:
    """How two sets of named shapes differ.

    missing: expected, not found, with the nearest of the unexpected names (None if there is none like it).
    unexpected: found, not expected, with the nearest of the missing names.
    misshapen: name, expected shape, found shape.
    num_expected: how many names were expected.
    """

    missing: Mapping[str, str | None]
    unexpected: Mapping[str, str | None]
    misshapen: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]
    num_expected: int

    @property
    def matches(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def is_other_network(self) -> bool:
        """Most of what was expected is missing."""
        return 2 * len(self.missing) > self.num_expected

    def summary(self) -> str:
        """All differences as text; empty if there are none."""
        return "\n".join(problem.what for problem in self.problems())

    def problems(self) -> list[Problem]:
        """One problem for each kind of difference, each with its first few names."""
        described = [
            ("missing", [_with_nearest(*pair) for pair in self.missing.items()]),
            ("unexpected", [_with_nearest(*pair) for pair in self.unexpected.items()]),
            ("misshapen", [f"{name}: {list(found)}, should be {list(want)}" for name, want, found in self.misshapen]),
        ]
        return [list_names(kind, lines) for kind, lines in described if lines]


def compare_keys(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> KeyReport:
    """Compare names and shapes exactly.

    Args:
        expected: shape of each parameter and buffer of the network.
        found: shape of each tensor on offer, under the network's names.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    return KeyReport(
        missing=_nearest(missing, unexpected),
        unexpected=_nearest(unexpected, missing),
        misshapen=[
            (name, tuple(shape), tuple(found[name]))
            for name, shape in expected.items()
            if name in found and tuple(shape) != tuple(found[name])
        ],
        num_expected=len(expected),
    )


def _nearest(names: list[str], others: list[str]) -> dict[str, str | None]:
    # comparing strings is slow, so only for the names that are shown
    nearest = {name: next(iter(get_close_matches(name, others, n=1)), None) for name in names[:_NUM_SHOWN]}
    return {name: nearest.get(name) for name in names}


def _with_nearest(name: str, nearest: str | None) -> str:
    return f"{name} (nearest on the other side: {nearest})" if nearest else name


def list_names(kind: str, lines: Sequence[str]) -> Problem:
    """One problem out of many lines of one kind: how many there are, and the first few."""
    shown = "".join(f"\n  {line}" for line in lines[:_NUM_SHOWN])
    rest = f"\n  ... and {len(lines) - _NUM_SHOWN} more" if len(lines) > _NUM_SHOWN else ""
    return Problem(f"{len(lines)} {kind}:{shown}{rest}")
