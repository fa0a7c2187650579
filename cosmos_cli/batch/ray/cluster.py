"""The Ray cluster that a batch runs on: joined or started, and how much room its nodes have."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cosmos_cli import interrupts
from cosmos_cli.errors import CosmosError, InputError, Problem

ADDRESS = "RAY_ADDRESS"
_NAMESPACE = "cosmos"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports nothing to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # and says nothing about GPUs that it hides from processes without
    "RAY_worker_niceness": "0",  # actors that it starts here are what this process is for
}
"""Settings of Ray, unless the user has others."""
_IMPATIENT = {"RAY_NUM_REDIS_GET_RETRIES": "2"}
"""For a head: each of Ray's attempts lasts half a minute, if something else than a head has the port."""
_STORE_BYTES = 128 * 2**20
"""Of the store for what processes share; a batch sends requests through it, and no frames."""
_PATIENCE_S = 10.0
_LOOK_S = 1.0
_LOST_S = 20.0
"""Without an answer of the head after which it is taken to be gone."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster. room: how many actors it has room for. num_cpus: that the cluster has of it."""

    id: str
    name: str
    room: int
    num_cpus: int


@contextlib.contextmanager
def joined(num_cpus: int) -> Iterator[Any]:
    """A block with `ray`, connected to the cluster that `RAY_ADDRESS` names, or to one that ends with the block.

    A program that has connected itself stays so.

    Args:
        num_cpus: of a cluster that is started here.
    Raises:
        InputError: Ray is not installed, there is no such cluster, or it is of another version.
        CosmosError: it cannot be started here.
    """
    address = os.environ.get(ADDRESS, "")
    is_here = address in ("", "local")
    for name, value in (QUIET if is_here else {**QUIET, **_IMPATIENT}).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "needs the package ray, which is not installed.",
            where="--engine ray",
            fix='Install it: pip install "cosmos-cli[ray]"',
        ) from error
    if ray.is_initialized():
        yield ray
        return
    with _own_signals():
        if not is_here:
            _join(ray, address)
        else:
            _start(ray, num_cpus)
    try:
        yield ray
    finally:
        with _own_signals():
            ray.shutdown()


def _start(ray: Any, num_cpus: int) -> None:
    try:
        with _no_address():
            ray.init(
                address="local",
                namespace=_NAMESPACE,
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except _errors_of(ray) as error:
        raise CosmosError(
            f"Ray cannot be started on this machine: {_text_of(ray, error)}.",
            fix="It writes to the home folder and to /tmp, or where RAY_TMPDIR says. Make room there; or leave out "
            "--engine ray, which one machine does not need.",
        ) from error


def _errors_of(ray: Any) -> tuple[type[Exception], ...]:
    """What connecting raises, whatever the reason."""
    return RuntimeError, OSError, ValueError, ray.exceptions.RayError


def _text_of(ray: Any, error: Exception) -> str:
    """Its words in one line. Ray keeps what it has found out: that must be forgotten before anybody tries again."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    return " ".join(str(error).split()).rstrip(".")


def _join(ray: Any, address: str) -> None:
    if "://" in address:
        raise _no_cluster(address, "is not the address of a cluster.")
    host, _, port = address.rpartition(":")
    if address != "auto":
        # Ray itself ends the process when nobody answers
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S):
                pass
        except (OSError, ValueError, OverflowError) as error:
            raise _no_cluster(address, f"cannot be reached: {getattr(error, 'strerror', None) or error}.") from error
    try:
        ray.init(address=address, namespace=_NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except _errors_of(ray) as error:
        text = _text_of(ray, error)
        if "ersion mismatch" in text:
            raise InputError.from_problems(
                [Problem(f"is of another version: {text}", f"{ADDRESS}={address}", "Install the same on all nodes.")]
            ) from error
        raise _no_cluster(address, f"cannot be joined: {text}.") from error


def _no_cluster(address: str, what: str) -> InputError:
    return InputError(
        what,
        where=f"{ADDRESS}={address}",
        fix="Give HOST:PORT of its head, as `ray start --head` says; or unset it to start Ray here. If the head asks "
        "for a token, as new ones do, set RAY_AUTH_MODE=token.",
    )


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """A block that leaves signals to whom they were: Ray takes SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in interrupts.STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _no_address() -> Iterator[None]:
    """A block in which the variable is not set: empty it would count too."""
    before = os.environ.pop(ADDRESS, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[ADDRESS] = before


class Roster:
    """The nodes that actors can have, asked for in a thread of its own: a head that is gone answers nothing, for long.

    Ray itself ends this process without a word of ours, a minute after the head is gone, and ten seconds after its
    service on this machine is: it must be left before.
    """

    def __init__(self, ray: Any, kind: Literal["GPU", "CPU"], num_each: int) -> None:
        self._ask: Callable[[], list[Node]] = lambda: nodes(ray, kind, num_each)
        self._found, self._silent_s, self._looked = self._ask(), 0.0, time.monotonic()
        self._service = _connected(ray)
        self._is_over = threading.Event()
        threading.Thread(target=self._keep, name="nodes", daemon=True).start()

    def nodes(self) -> list[Node]:
        """Those of a second ago, or so. Raises CosmosError: the head is gone, or Ray's service on this machine."""
        if _has_ended(self._service):
            raise CosmosError(
                "Ray has ended on this machine, which was a part of the cluster; what is finished is kept.",
                fix="Start Ray again here, and then the same command.",
            )
        now = time.monotonic()
        # more has passed only where this process was held up itself, and so has not heard anybody
        self._silent_s += min(now - self._looked, 2 * _LOOK_S)
        self._looked = now
        if self._silent_s > _LOST_S:
            raise CosmosError(
                f"The head of the Ray cluster has not answered for {_LOST_S:.0f} s; what is finished is kept.",
                fix="Start the cluster again, and then the same command.",
            )
        return self._found

    def end(self) -> None:
        self._is_over.set()
        if self._service is not None:
            self._service.close()

    def _keep(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            with contextlib.suppress(Exception):  # it may come back
                self._found, self._silent_s = self._ask(), 0.0


def _connected(ray: Any) -> socket.socket | None:
    """A connection to Ray's service on this machine, which says nothing, and ends with that."""
    own = ray.get_runtime_context().get_node_id()
    path = next((node.get("RayletSocketName") for node in ray.nodes() if node["NodeID"] == own), None)
    service = socket.socket(socket.AF_UNIX)
    try:
        service.connect(path or "")
    except OSError:  # another version of Ray has it elsewhere
        service.close()
        return None
    service.setblocking(False)
    return service


def _has_ended(connection: socket.socket | None) -> bool:
    try:
        return connection is not None and not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def nodes(ray: Any, kind: Literal["GPU", "CPU"], num_each: int = 1) -> list[Node]:
    """The machines that have room for actors with so many GPUs each, or CPUs."""
    found = []
    for node in ray.nodes():
        room = int(node["Resources"].get(kind, 0)) // num_each if node["Alive"] else 0
        if room:
            name = node.get("NodeManagerHostname") or node["NodeManagerAddress"]
            num_cpus = int(node["Resources"].get("CPU", 0))
            found.append(Node(node["NodeID"], f"{name} ({node['NodeID'][:8]})", room, num_cpus))
    return found
