"""Gives a file name where an import string belongs."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="path", help="Cannot be found.", commands="cosmos_broken/early.py")
