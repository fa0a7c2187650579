"""Which keys of a file a network takes, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

WRAPPERS = ("model", "module", "state_dict", "ema")
"""Dicts that training scripts put around the weights, in the order in which networks take them."""

MAX_WRAPPERS = 4
"""Of them, around each other."""

AVERAGED = "ema"
"""Of the wrappers, the one that holds weights averaged over the steps of a training."""

SHELLS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that keys have anywhere if weights were saved from inside of DDP, torch.compile, FSDP or checkpointing."""

AROUND = (*SHELLS, "model")
"""What all keys may have in front: also the attribute under which Lightning and others keep a network."""

_NUM_SHOWN = 8


@dataclass(frozen=True)
class KeyMatch:
    """How the keys of a file fall to a network.

    key_of: the network's name to the key of the file, also for names that the network does not have.
    outside: keys that are not of this network, and not known to stand beside it.
    repeated: pairs of keys with one name.
    """

    key_of: Mapping[str, str]
    outside: Sequence[str]
    repeated: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Naming:
    """How files name the weights of a network, and which of several sets in a file are meant.

    prefixes: in front of the network's names; "" is nothing. Of those that a file has, the first counts, and every key
        with it is of the network. What has another is outside of the network, and left alone.
    unlearnt: shell-style patterns of the network's own names that files have for nothing learnt.
    beside: shell-style patterns of keys that files are known to hold outside of the network.
    wrappers: dicts around the weights. Of those that a file has, the first counts.
    is_averaged: whether the weights averaged over the steps of a training are meant, see `averaged`.
    """

    prefixes: tuple[str, ...] = ("",)
    unlearnt: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = WRAPPERS
    is_averaged: bool = False
    _unlearnt: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _beside: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_unlearnt", any_of(self.unlearnt))
        object.__setattr__(self, "_beside", any_of(self.beside))

    def averaged(self) -> Naming:
        """The same network's averaged weights: those in the wrapper `ema`, or else under `net_ema.` instead of `net.`.

        They must be named as such: nothing would tell bare keys from the others.
        """
        rest = (wrapper for wrapper in self.wrappers if wrapper != AVERAGED)
        return replace(self, wrappers=(AVERAGED, *rest), is_averaged=True)

    def match(self, keys: Iterable[str], names: Collection[str], wrapper: str | None = None) -> KeyMatch:
        """Which keys are of the network.

        Args:
            keys: of the file. names: of the network's parameters and buffers.
            wrapper: what stood around the keys.
        """
        prefixes, other_set = self.prefixes_in(wrapper)
        keys = list(keys)
        strip = without_shells(names, keys)
        bare = {key: strip(key) for key in keys}
        bare = {key: full for key, full in bare.items() if not (full.startswith(other_set) or self._beside.match(full))}
        prefix = next((prefix for prefix in prefixes if any(full.startswith(prefix) for full in bare.values())), None)
        key_of: dict[str, str] = {}
        outside: list[str] = []
        repeated: list[tuple[str, str]] = []
        for key, full in bare.items():
            inside = prefix is not None and full.startswith(prefix)
            name = full.removeprefix(prefix or "")
            if self._unlearnt.match(name):
                continue
            if not inside and not ("" in prefixes and name in names):
                outside.append(key)
            elif name in key_of:
                repeated.append((key_of[name], key))
            else:
                key_of[name] = key
        return KeyMatch(key_of, outside, repeated)

    def prefixes_in(self, wrapper: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What may stand in front of the names inside of this wrapper, and in front of those of the other set."""
        averaged = tuple(f"{prefix.removesuffix('.')}_ema." for prefix in self.prefixes if prefix)
        if self.is_averaged and wrapper != AVERAGED:
            return averaged, tuple(prefix for prefix in self.prefixes if prefix)
        return self.prefixes, averaged


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Matches what one of these shell-style patterns does; without any, nothing."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def without_shells(names: Collection[str], keys: Collection[str]) -> Callable[[str], str]:
    """Takes shells out of a key, except for those whose name a module has that these names are of.

    One of that name goes where it is around the whole network, and so does `model`: in front of all keys, and not of
    all names.
    """
    own = {part for name in names for part in name.split(".")}
    shells = "|".join(shell for shell in SHELLS if shell not in own)
    pattern = re.compile(rf"(?<![^.])(?:{shells})\.") if shells else re.compile(r"(?!)")
    bare = [pattern.sub("", key) for key in keys]
    around = next((f"{s}." for s in AROUND if bare and _all_in(bare, s) and not _all_in(names, s)), "")
    return lambda key: pattern.sub("", key).removeprefix(around)


def _all_in(names: Iterable[str], module: str) -> bool:
    return all(name.startswith(f"{module}.") for name in names)


_CONTAINERS = ("", "base_model.", "net.base_model.")
"""What networks stand in, together with parts that have nothing learnt."""

PUBLISHED = Naming(
    ("net.", ""),
    unlearnt=NOT_LEARNT,
    beside=tuple(f"{container}{part}.*" for container in _CONTAINERS for part in ("logvar", "conditioner")),
)
"""The convention of published Cosmos checkpoints.

Every key has the name of the network in front; training leaves a second set, averaged over the steps, under `net_ema.`.
Beside them are a head that weighs the loss and the parts that prepare conditions, which have nothing learnt.
"""


def dots_for_dashes(wrapper: str | None, key: str) -> str:
    """The name of a key in a wrapper: the tool that averages weights writes `-` where names have a `.`."""
    return key.replace("-", ".") if wrapper == AVERAGED and "." not in key else key


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


def printable(text: str) -> str:
    """Text out of a file, without what would do something to a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def list_names(kind: str, lines: Sequence[str]) -> Problem:
    """One problem out of many lines of one kind: how many there are, and the first few."""
    shown = "".join(f"\n  {printable(line)}" for line in lines[:_NUM_SHOWN])
    rest = f"\n  ... and {len(lines) - _NUM_SHOWN} more" if len(lines) > _NUM_SHOWN else ""
    return Problem(f"{len(lines)} {kind}:{shown}{rest}")
