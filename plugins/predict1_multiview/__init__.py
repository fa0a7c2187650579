"""Cosmos-Predict1: worlds from prompts and given frames, filmed by one camera or by all cameras of a car."""

from cosmos_cli.hookspecs import RegisterDemo, RegisterFamily, RegisterRecipes, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="predict1-multiview",
        help="Make what six cameras of a car see, out of prompts and first frames (Cosmos-Predict1).",
        commands="cosmos_plugins.predict1_multiview.commands:app",
        checkpoints="cosmos_plugins.predict1_multiview.checkpoints:MULTIVIEW_CATALOGUE",
        formats="cosmos_plugins.predict1_multiview.formats:MULTIVIEW_FORMATS",
        workbench="cosmos_plugins.predict1_multiview.workbench:MULTIVIEW_KIND",
    )
    register(
        name="predict1",
        help="Make a video out of a prompt, or continue a picture or a clip (Cosmos-Predict1).",
        commands="cosmos_plugins.predict1_multiview.single_view.commands:app",
        checkpoints="cosmos_plugins.predict1_multiview.checkpoints:SINGLE_VIEW_CATALOGUE",
        formats="cosmos_plugins.predict1_multiview.formats:SINGLE_VIEW_FORMATS",
        workbench="cosmos_plugins.predict1_multiview.workbench:SINGLE_VIEW_KINDS",
    )


@hookimpl
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    register(
        name="predict1-multiview",
        help="Post-trainings of Predict1 for several cameras.",
        family="predict1-multiview",
        recipes="cosmos_plugins.predict1_multiview.recipes:RECIPES",
    )
    register(
        name="predict1",
        help="Post-trainings of Predict1 for one camera.",
        family="predict1",
        recipes="cosmos_plugins.predict1_multiview.single_view.recipes:RECIPES",
    )


@hookimpl
def cosmos_register_demos(register: RegisterDemo) -> None:
    register(
        name="multiview",
        help="Predict1 makes what six cameras see.",
        part="cosmos_plugins.predict1_multiview.demo:multiview",
    )
