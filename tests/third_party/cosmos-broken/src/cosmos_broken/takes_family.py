"""Claims a family name that is taken."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="predict2", help="A better one.", commands="cosmos_broken.early:app")
