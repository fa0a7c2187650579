"""Mirage: a picture goes on as a video."""

# every cosmos command imports this module, also when somebody presses Tab: nothing heavy here
from cosmos_cli.hookspecs import RegisterFamily, RegisterRecipes, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(name="mirage", help="Continue a picture as a video (Mirage).", commands="cosmos_mirage.commands:app")


@hookimpl
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    register(name="mirage", help="Post-trainings of Mirage.", family="mirage", recipes="cosmos_mirage.recipes:RECIPES")
