"""Implements a hook with an argument that the hook does not have."""

from cosmos_cli.hookspecs import hookimpl


@hookimpl
def cosmos_register_families(registrar: object) -> None:
    """Never called."""
