"""Whose a batch is where there are no locks, as in a store: a file says it, written anew as long as that holds."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.makers import has_lost_its_maker, new_name
from cosmos_cli.files.store_service import patiently
from cosmos_cli.files.stores import StorePath
from cosmos_cli.files.writing import replacing

_RENEW_S = 20.0
_PATIENCE_S = 3.5 * _RENEW_S
"""For so long the file may stay as it is until its process counts as dead."""
_FORGOTTEN_S = 900.0
"""The same by the clocks of who wrote it, or of the store, and of this process, which may differ."""
_LOOK_S, _SETTLE_S, _CROSSED_S = 1.0, 0.5, 3.0


class Lease:
    """That a batch is this process's, until it ends or loses it."""

    def __init__(self, place: Path) -> None:
        self._place, self._token, self._count = place, new_name("", ""), 0
        self._is_lost, self._is_over = False, threading.Event()
        self._renewing, self._renewed = threading.Lock(), 0.0

    def check(self) -> None:
        """Raises CosmosError: another process has the batch now, or after a long silence the store does not say."""
        if time.monotonic() - self._renewed > _PATIENCE_S:  # the store did not answer, or this process was stopped
            patiently(self._renew)
        if self._is_lost:
            raise CosmosError(
                "was taken over by another process, since nothing was heard of this one for a while.",
                where=str(self._place.parent),
                fix="Let the other one end, or stop it and run the same command again.",
            )

    def _write(self) -> None:
        self._count += 1
        told = {"token": self._token, "host": os.uname().nodename, "pid": os.getpid(), "count": self._count}
        if not isinstance(self._place, StorePath) and not self._place.parent.is_dir():
            raise FileNotFoundError(f"{self._place.parent} was moved or removed")  # and is not to be made again
        with replacing(self._place) as temporary:  # whole, for whoever reads it now
            temporary.write_bytes(json.dumps(told).encode())
        self._renewed = time.monotonic()

    def _renew(self) -> None:
        with self._renewing:
            self._is_lost = self._is_lost or _read(self._place).get("token") not in (None, self._token)
            if not self._is_lost:
                self._write()

    def _keep(self) -> None:
        # of two whose writes a slow store has let cross, one soon finds out
        pause = min(_CROSSED_S, _RENEW_S)
        while not self._is_over.wait(pause) and not self._is_lost:
            pause = _RENEW_S
            with contextlib.suppress(CosmosError, OSError):  # a store that does not answer may do so next time
                self._renew()

    @contextlib.contextmanager
    def held(self) -> Iterator[Lease]:
        """A block in which the batch is this process's. Raises InputError: another works on it."""
        _wait_for_death(self._place)
        try:
            self._write()
            time.sleep(_SETTLE_S)  # of two that come at the same time, the one that wrote last has it
            if _read(self._place).get("token") != self._token:
                raise _in_use(self._place)
            renewing = threading.Thread(target=self._keep, name="lease", daemon=True)
            renewing.start()
            try:
                yield self
            finally:
                self._is_over.set()
                renewing.join()
        finally:
            with contextlib.suppress(CosmosError, OSError):
                if _read(self._place).get("token") == self._token:
                    self._place.unlink(missing_ok=True)


def is_leased(place: Path) -> bool:
    """Whether a process works on the batch now, as far as clocks agree."""
    known = _read(place)
    if not known or has_lost_its_maker(str(known.get("token"))):
        return False
    return _age(place) < 2 * _PATIENCE_S


def _wait_for_death(place: Path) -> None:
    """Return when nobody has the batch. Raises InputError: somebody has."""
    first = known = _read(place)
    if not known or has_lost_its_maker(str(known.get("token"))) or _age(place) > _FORGOTTEN_S:
        return
    who = f"process {known.get('pid')} on {known.get('host')}"
    output.status(f"Looking whether {who} still works on this batch; that takes up to {_PATIENCE_S:.0f} s")
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        time.sleep(min(_LOOK_S, _PATIENCE_S))
        known = _read(place)
        if not known:
            return
        if known != first:
            raise _in_use(place)


def _age(place: Path) -> float:
    try:
        return time.time() - float(place.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")


def _read(place: Path) -> dict[str, Any]:
    """What the file says; nothing if there is none, or none of ours."""
    try:
        told = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("token"), str) else {}


def _in_use(place: Path) -> InputError:
    return InputError(
        "is in use: another process works on this batch.", where=str(place.parent), fix="Wait for it, or stop it."
    )
