"""The weights that a post-training begins from: where they lie, and whether they are of the network it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cosmos_cli.checkpoints.checkpoint import Checkpoint
from cosmos_cli.checkpoints.keys import PUBLISHED, without_shells
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.missing import exists
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.generation.weights import find_weights
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.objectives import LogVariance, log_variance_in
from cosmos_plugins.nemo_bridge.recipes import NemoRecipe, network_of

_NORM, _PATCHES, _RANK = (
    "net.affline_norm.weight",
    "net.x_embedder.proj.1.weight",
    "net.blocks.block0.blocks.0.adaLN_modulation.1.weight",
)
_BLOCK = "net.blocks.block"


def open_weights(path: Path) -> Checkpoint:
    """A checkpoint under the native names, whatever it is kept in. Raises CheckpointError: it cannot be used."""
    return open_checkpoint(path, PUBLISHED.wrappers)


def check_start(recipe: NemoRecipe, checkpoint_dir: Path) -> None:
    """Raises CheckpointError: the weights are not there, damaged, or of another network; their numbers are not read."""
    if recipe.checkpoint.load_path:
        with open_weights(weights_of(recipe, checkpoint_dir)) as checkpoint:
            config_in(checkpoint, recipe)


def load_start(recipe: NemoRecipe, checkpoint_dir: Path, attention: str = "sdpa") -> tuple[GeneralDiT, LogVariance]:
    """The network, and the head of the loss that lies beside it.

    Raises:
        CheckpointError: as for `check_start`.
    """
    with open_weights(weights_of(recipe, checkpoint_dir)) as checkpoint:
        config = config_in(checkpoint, recipe)
        network = load_network(lambda: GeneralDiT(config, attention), checkpoint, naming=PUBLISHED)
        return network, log_variance_in(checkpoint)


def config_in(checkpoint: Checkpoint, recipe: NemoRecipe) -> GeneralDiTConfig:
    """The shape of the network in a checkpoint: that of the recipe, but for the rank of its modulation.

    What NeMo has trained has three times the rank.

    Raises:
        CheckpointError: it is another network.
    """
    wanted = network_of(recipe)
    strip = without_shells((), list(checkpoint.keys()))
    shapes = {strip(key): checkpoint.shape(key) for key in checkpoint}
    shapes |= {f"net.{name}": shape for name, shape in shapes.items() if not name.startswith("net.")}
    if not {_NORM, _PATCHES, _RANK} <= shapes.keys():
        return wanted  # what is wrong with it is told when it is loaded
    found = (
        shapes[_NORM][0],
        len({name[len(_BLOCK) :].partition(".")[0] for name in shapes if name.startswith(_BLOCK)}),
        shapes[_PATCHES][-1],
    )
    p_t, p_h, p_w = wanted.patch_THW
    own = (wanted.model_channels, wanted.num_blocks, wanted.channels_with_masks * p_t * p_h * p_w)
    if found != own:
        raise CheckpointError(
            f"holds a network {_told(*found)}; the recipe trains one {_told(*own)}.",
            where=str(checkpoint.path),
            fix="Name the factory of this network (7B or 14B, text2world or video2world), or weights of this one by "
            "resume.restore_config.path; resume.restore_config=None begins from chance.",
        )
    return replace(wanted, adaln_lora_dim=shapes[_RANK][0])


def _told(width: int, num_blocks: int, num_inputs: int) -> str:
    return f"of width {width} with {num_blocks} blocks and patches of {num_inputs} numbers"


def weights_of(recipe: NemoRecipe, checkpoint_dir: Path) -> Path:
    """Where the first weights lie. Raises CheckpointError: they are not there."""
    named = recipe.checkpoint.load_path
    roots = [checkpoint_dir, *([TINY_ROOT] if recipe.model.size == "tiny" else [])]
    places = [find_weights(root, named) for root in roots]
    found = next((place for place in places if exists(place)), None)
    if found is None:
        raise CheckpointError(
            "the weights to begin with are not there.",
            where=str(checkpoint_dir / named),
            fix="Fetch them with cosmos nemo download, name others by resume.restore_config.path=PATH, or begin from "
            "chance with resume.restore_config=None.",
        )
    return found
