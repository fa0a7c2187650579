"""Cosmos-Predict2: the next seconds of a world, from a picture or clip and a prompt."""

from cosmos_cli.hookspecs import RegisterDemo, RegisterExtension, RegisterFamily, RegisterRecipes, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="predict2",
        help="Continue a picture or a clip as a video, guided by a prompt (Cosmos-Predict2).",
        commands="cosmos_plugins.predict2.commands:app",
        checkpoints="cosmos_plugins.predict2.checkpoints:CATALOGUE",
        formats="cosmos_plugins.predict2.formats:FORMATS",
        example='predict2 text2world --model tiny --prompt "A bus drives off."',
        workbench="cosmos_plugins.predict2.workbench:KINDS",
    )


@hookimpl
def cosmos_register_critics(register: RegisterExtension) -> None:
    register(
        name="reason1",
        help="Cosmos-Reason1 watches the video and looks for anomalies.",
        factory="cosmos_plugins.predict2.critic.reason:reason1",
    )
    register(
        name="measured",
        help="Temporal consistency, sharpness and flicker, measured; needs no weights.",
        factory="cosmos_plugins.predict2.critic.measured:measured",
    )


@hookimpl
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    register(
        name="predict2",
        help="Post-trainings of Predict2.",
        family="predict2",
        recipes="cosmos_plugins.predict2.recipes:RECIPES",
    )


@hookimpl
def cosmos_register_demos(register: RegisterDemo) -> None:
    register(name="video2world", help="Predict2 continues a picture.", part="cosmos_plugins.predict2.demo:video2world")
    register(
        name="best-of-n",
        help="Predict2 continues a clip three times, and a critic ranks the videos.",
        part="cosmos_plugins.predict2.demo:best_of_n",
    )
