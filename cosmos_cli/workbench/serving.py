"""Opens the workbench at an address of this machine, until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cosmos_cli.errors import InputError
from cosmos_cli.workbench.bench import Bench

HOST = "127.0.0.1"
_TRIES = 100
_GRACE_S = 2


def check_installed() -> None:
    """Raises InputError: the packages that serve the page are not installed."""
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed.",
            where="cosmos workbench",
            fix='Install with: pip install "cosmos-cli[workbench]"',
        )


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket at a port of this machine alone; 0 is any that is free.

    Raises:
        InputError: the port is in use or is not for users; another is named.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        # right after a stop the port is free for the next start
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "is not for users"
            raise InputError(
                f"{port} {why}.", where="--port", fix=f"Pass --port {_free_port(port)}, or --port 0 for any."
            ) from error
        yield listener


def _free_port(taken: int) -> int:
    """A port that is free now, the nearest above if there is one."""
    for port in (*range(max(taken, 1023) + 1, min(taken + _TRIES, 65536)), 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found: int = probe.getsockname()[1]
            return found
    return 0


def serve(bench: Bench, listener: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve the page until a signal comes.

    Args:
        ready: told the address of the page, with its token.
    """
    import uvicorn

    from cosmos_cli.workbench.server import make_app

    token = secrets.token_urlsafe(24)
    port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="cosmos-workbench-") as previews:
        app = make_app(bench, token=token, port=port, previews=Path(previews))
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",  # what goes wrong is answered, and said on the page
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            lifespan="on",
        )
        # until it accepts, connections wait at the socket
        ready(f"http://{HOST}:{port}/?t={token}")
        uvicorn.Server(config).run(sockets=[listener])
