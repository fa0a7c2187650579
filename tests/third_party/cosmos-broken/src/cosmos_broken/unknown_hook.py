"""Implements a hook that does not exist; two entry points name it."""

from cosmos_cli.hookspecs import hookimpl


@hookimpl
def cosmos_register_telepathy(register: object) -> None:
    """Never called."""
