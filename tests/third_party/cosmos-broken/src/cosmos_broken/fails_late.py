"""Registers a family whose commands cannot be imported, which shows only when they are used."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="late", help="Cannot be used.", commands="cosmos_broken.fails_to_import:app")
