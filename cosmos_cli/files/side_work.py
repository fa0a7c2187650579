"""Work that a run can do without."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cosmos_cli import output
from cosmos_cli.errors import CosmosError


@contextlib.contextmanager
def side_work(without: str) -> Iterator[None]:
    """A block whose failure costs a note, once, and never the work that it stands beside.

    Args:
        without: what the user does without then, as "the sidecar lacks what the run took".
    Raises:
        CosmosError: what a user is to be told passes through.
    """
    try:
        yield
    except CosmosError:
        raise
    except Exception as error:  # the border: whatever a file system, a driver or a program thinks of
        output.notice(f"{without}: {reason(error)}")


def reason(error: Exception) -> str:
    """Why something failed, in a few words."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0].rstrip(".")
