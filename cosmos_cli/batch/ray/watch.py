"""The driver's watch over an actor: whether it goes on, as workers of a launcher are watched by theirs.

It counts what an actor says, and the time in which it says nothing new: a process that is stopped, or that native code
holds, says nothing at all.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from cosmos_cli.errors import CosmosError
from cosmos_cli.runtime.workers.worker import taken_to_hang

_ASK_S = 10.0
_LOADING_S = 600.0
"""Libraries are imported, and weights read, from disks that may be slow."""
_SHARED_S = 60.0
"""Processes of a group notice by themselves that one of them hangs, after a little more than the time-out."""


@dataclass(frozen=True)
class Sign:
    """How far an actor is. num_steps: that it has begun so far, see `cosmos_cli.output.follow`. step: the last."""

    num_steps: int
    step: str


class Signs:
    """What an actor has said of its steps, from whatever thread."""

    def __init__(self) -> None:
        self._sign, self._lock = Sign(0, ""), threading.Lock()

    def step(self, text: str) -> None:
        with self._lock:
            self._sign = Sign(self._sign.num_steps + 1, text)

    @property
    def latest(self) -> Sign:
        return self._sign


class Watch:
    """Over one actor of a group of `size`; its time is what `look` is told, so that a stopped driver blames nobody.

    Args:
        actor: has a method `sign`.
        timeout_s: without anything new after which it is taken to hang; while it loads, it has more.
    """

    def __init__(self, ray: Any, actor: Any, timeout_s: float, size: int) -> None:
        self._ray, self._actor = ray, actor
        self._timeout_s, self._more_s = timeout_s, _SHARED_S if size > 1 else 0.0
        self._asked: Any = actor.sign.remote()
        self._since_asked_s = self._silent_s = 0.0
        self._latest: Sign | None = None
        self.waited_s = 0.0

    def heard(self) -> None:
        """It has answered otherwise, or has nothing to do."""
        self._silent_s = 0.0

    def look(self, seconds: float, *, is_loading: bool) -> CosmosError | None:
        """Why the actor is taken to hang; None while it goes on, or has not been started yet.

        Args:
            seconds: since the last look.
        """
        self._since_asked_s += seconds
        if self._asked is None and self._since_asked_s >= min(_ASK_S, self._timeout_s / 4):
            self._asked, self._since_asked_s = self._actor.sign.remote(), 0.0
        if self._latest is None:
            self.waited_s += seconds
        else:
            self._silent_s += seconds
        self._listen()
        patience_s = max(self._timeout_s, _LOADING_S if is_loading else 0.0) + self._more_s
        if self._latest is None or self._silent_s <= patience_s:
            return None
        return taken_to_hang(patience_s, self._latest.step)

    def _listen(self) -> None:
        from ray.exceptions import RayError

        if self._asked is None or not self._ray.wait([self._asked], timeout=0)[0]:
            return
        try:
            sign: Sign = self._ray.get(self._asked)
        except RayError:  # it is dead, which what it owes will tell
            return
        self._asked = None
        if sign != self._latest:
            self._latest, self._silent_s, self.waited_s = sign, 0.0, 0.0
