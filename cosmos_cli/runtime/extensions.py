"""Code of plugins at work: whatever ends it is told as theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cosmos_cli.errors import CosmosError


@contextmanager
def blaming(who: str) -> Iterator[None]:
    """A block that runs code of a plugin. `SystemExit` in it would end the command as if all were well.

    Errors of cosmos pass, Ctrl-C too, and a device without memory, which has other ways out.

    Args:
        who: the extension and its plugin.
    Raises:
        CosmosError: anything else went wrong; it names them.
    """
    try:
        yield
    except (CosmosError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        from cosmos_cli.runtime.memory.exhaustion import is_out_of_memory  # imports torch

        if is_out_of_memory(error, num_refused=1):
            raise
        raise CosmosError(
            f"broke: {type(error).__name__}: {error}".rstrip(".: ") + ".",
            where=who,
            fix="Fix or uninstall that plugin.",
        ) from error
