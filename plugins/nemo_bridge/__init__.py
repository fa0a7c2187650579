"""Cosmos-1.0 diffusion models as the NeMo Framework keeps them: its data, checkpoints, post-training and inference."""

from cosmos_cli.hookspecs import RegisterFamily, RegisterRecipes, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="nemo",
        help="Prepare data for Cosmos-1.0 diffusion models, convert, post-train and run them, without NeMo.",
        commands="cosmos_plugins.nemo_bridge.commands:app",
        checkpoints="cosmos_plugins.nemo_bridge.checkpoints:CATALOGUE",
        formats="cosmos_plugins.nemo_bridge.formats:FORMATS",
        workbench="cosmos_plugins.nemo_bridge.workbench:KIND",
    )


@hookimpl
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    register(
        name="nemo",
        help="Post-trainings of Cosmos-1.0 diffusion models, under the names of NeMo's factories.",
        family="nemo",
        recipes="cosmos_plugins.nemo_bridge.recipes:RECIPES",
    )
