"""Claims the name of a command of cosmos itself."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="plugins", help="A better one.", commands="cosmos_broken.early:app")
