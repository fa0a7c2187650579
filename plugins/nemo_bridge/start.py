"""The weights that a post-training begins from: where they lie, and whether they are of the network it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.generation.weights import find_weights
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.objectives import LogVariance, log_variance_in
from cosmos_plugins.nemo_bridge.convert.sources import Source, open_checkpoint
from cosmos_plugins.nemo_bridge.recipes import NemoRecipe, network_of


def check_start(recipe: NemoRecipe, checkpoint_dir: Path) -> None:
    """Raises CheckpointError: the weights are not there, damaged, or of another network; their numbers are not read."""
    if recipe.checkpoint.load_path:
        with open_checkpoint(weights_of(recipe, checkpoint_dir)) as source:
            config_in(source, recipe)


def load_start(recipe: NemoRecipe, checkpoint_dir: Path, attention: str = "sdpa") -> tuple[GeneralDiT, LogVariance]:
    """The network, and the head of the loss that lies beside it; from a checkpoint in any layout.

    Raises:
        CheckpointError: as for `check_start`.
    """
    with open_checkpoint(weights_of(recipe, checkpoint_dir)) as source:
        config = config_in(source, recipe)
        network = load_network(lambda: GeneralDiT(config, attention), source, naming=PUBLISHED)
        return network, log_variance_in(source)


def config_in(source: Source, recipe: NemoRecipe) -> GeneralDiTConfig:
    """The shape of the network in a checkpoint: that of the recipe, but for the rank of its modulation.

    What NeMo has trained has three times the rank.

    Raises:
        CheckpointError: it is another network.
    """
    wanted, found = network_of(recipe), source.variant.config
    fitting = replace(wanted, adaln_lora_dim=found.adaln_lora_dim)
    unlike = [name for name in vars(fitting) if vars(found)[name] != vars(fitting)[name] and name not in _UNTOLD]
    if unlike:
        differences = ", ".join(f"{name} {vars(found)[name]} in place of {vars(fitting)[name]}" for name in unlike)
        raise CheckpointError(
            f"holds the {source.variant.size} network of {source.variant.kind}; the recipe trains the "
            f"{recipe.model.size} one of {recipe.model.kind}: {differences}.",
            where=str(source.path),
            fix="Name the factory of this network, or weights of the recipe's by resume.restore_config.path=PATH; "
            "resume.restore_config=None begins from chance.",
        )
    return fitting


_UNTOLD = ("block_norm_eps",)
"""What no checkpoint says, and a recipe does."""


def weights_of(recipe: NemoRecipe, checkpoint_dir: Path) -> Path:
    """Where the first weights lie. Raises CheckpointError: they are not there."""
    named = recipe.checkpoint.load_path
    # a path first, as `cosmos nemo run --nemo-checkpoint` takes it
    roots = [Path(), checkpoint_dir, *([TINY_ROOT] if recipe.model.size == "tiny" else [])]
    places = [find_weights(root, named) for root in roots]
    found = next((place for place in places if exists(place)), None)
    if found is None:
        raise CheckpointError(
            "the weights to begin with are not there.",
            where=str(checkpoint_dir / named),
            fix="Fetch them with `cosmos nemo download`, name others by resume.restore_config.path=PATH, or begin from "
            "chance with resume.restore_config=None.",
        )
    return found
