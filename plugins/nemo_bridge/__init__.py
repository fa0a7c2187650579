"""Cosmos-1.0 diffusion models as the NeMo Framework keeps them: its data, checkpoints, post-training and inference."""

from cosmos_cli.hookspecs import RegisterFamily, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="nemo",
        help="Prepare data for Cosmos-1.0 diffusion models, convert, post-train and run them, without NeMo.",
        commands="cosmos_plugins.nemo_bridge.commands:app",
        checkpoints="cosmos_plugins.nemo_bridge.checkpoints:CATALOGUE",
        formats="cosmos_plugins.nemo_bridge.formats:FORMATS",
    )
