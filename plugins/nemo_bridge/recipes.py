"""Post-trainings of the Cosmos-1.0 diffusion models, under the names of NeMo's factories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field

from cosmos_cli.generation.variants import LONGEST_CHUNK_FRAMES, TINY_TEXT_WIDTH, Kind
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.training.memory import Workload
from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    DrawsRecipe,
    EMARecipe,
    Job,
    LogRecipe,
    LossRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    TrainerRecipe,
    of_size,
)
from cosmos_plugins.nemo_bridge.variants import VARIANTS

TASK = "cosmos_plugins.nemo_bridge.task:build_task"
WORKLOAD = "cosmos_plugins.nemo_bridge.recipes:workload"
PREPARED = "cosmos_plugins.nemo_bridge.dataset.folder:LatentFolder"

EXPERIMENTS = "nemo_experiments"
"""Folder of runs that name none."""

TENSOR_PARALLEL = 8
"""Ranks that share every layer in NeMo's recipes."""


class NemoModel(Model):
    """A network for one view."""

    kind: Kind = Field(default="text2world", description="Whether frames are given.")
    num_layers: int | None = Field(
        default=None, ge=1, description="Blocks of the network; None is as many as the model has."
    )
    layer_norm_eps: float = Field(
        default=1e-6, gt=0, description="Of the LayerNorms in the blocks; NeMo, by a slip, has 1e-5."
    )


class NemoRecipe(Recipe):
    """A post-training of a network for one view."""

    model: NemoModel


def _draws(kind: Kind, given_max: int = 4) -> DrawsRecipe:
    if kind == "text2world":
        return DrawsRecipe()
    return DrawsRecipe(
        given="per-clip", given_min=1, given_max=given_max, augment_mean=math.log(0.001), augment_std=0.0
    )


def _loss(kind: Kind, **changes: Any) -> LossRecipe:
    values: dict[str, Any] = {"dtype": "bfloat16", "error_dtype": "float32"}
    return LossRecipe(log_variance=False, frees_noisier=kind == "video2world", **(values | changes))


def _recipe(name: str, kind: Kind, help: str, size: str, **changes: Any) -> NemoRecipe:
    values: dict[str, Any] = {
        "data": Data(source=PREPARED, num_frames=LONGEST_CHUNK_FRAMES, height=704, width=1280, num_workers=8),
        "draws": _draws(kind),
        "loss": _loss(kind),
        "optimizer": OptimizerRecipe(lr=1e-6, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8, clip_norm=1.0),
        "ema": EMARecipe(enabled=False),
        "parallel": ParallelRecipe(shard=32, tp=TENSOR_PARALLEL, activation_checkpointing="block"),
        "checkpoint": CheckpointRecipe(load_path=VARIANTS[size].folder_of(kind), save_iter=200),
        "trainer": TrainerRecipe(max_iter=1000),
        "log": LogRecipe(logging_iter=1),
    }
    return NemoRecipe(
        help=help,
        task=TASK,
        workload=WORKLOAD,
        job=Job(project="nemo", group=kind, name=name, folder=f"{EXPERIMENTS}/{name}"),
        model=NemoModel(size=size, kind=kind),
        **(values | changes),
    )


def _factory(kind: Kind, size: str) -> NemoRecipe:
    return _recipe(
        f"cosmos_diffusion_{size.lower()}_{kind}_finetune",
        kind,
        f"{'Text2World' if kind == 'text2world' else 'Video2World'} on prepared samples: of one subject, or under an "
        "instruction each.",
        size,
    )


def _tiny(kind: Kind) -> NemoRecipe:
    clips = Data(num_frames=9, height=48, width=80, text_channels=TINY_TEXT_WIDTH, num_workers=0, num_mock_clips=64)
    return _recipe(
        f"tiny_{kind}",
        kind,
        "The embedded model on made-up clips, or on prepared samples with data.path: seconds on a CPU.",
        "tiny",
        data=clips,
        draws=_draws(kind, given_max=1),  # a made-up clip has two latent frames
        loss=_loss(kind, dtype="float32"),
        optimizer=OptimizerRecipe(lr=1e-3, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8),
        parallel=ParallelRecipe(activation_checkpointing="none"),
        checkpoint=CheckpointRecipe(load_path=VARIANTS["tiny"].folder_of(kind), save_iter=10),
        trainer=TrainerRecipe(max_iter=20, precision="float32"),
        log=LogRecipe(logging_iter=1, sample_steps=4),
    )


_KINDS: tuple[Kind, ...] = ("text2world", "video2world")

RECIPES: dict[str, Recipe] = {
    recipe.job.name: recipe
    for recipe in (
        *(_factory(kind, size) for kind in _KINDS for size in ("7B", "14B")),
        *(_tiny(kind) for kind in _KINDS),
    )
}

DEFAULT_FACTORY = "cosmos_diffusion_7b_text2world_finetune"
"""Of general.py."""

_NO_ACTIONS = (
    "its network reads a robot's actions, which the general diffusion transformer here does not.",
    "`cosmos predict2 post-train --experiment predict2_video2world_2b_action_conditioned_training` trains one.",
)
_NO_VIEWS = (
    "its network and its data set, which is not published, are of six cameras of a car.",
    "`cosmos predict1-multiview post-train` trains a network for several cameras.",
)
NOT_HERE: Mapping[str, tuple[str, str]] = {
    "cosmos_diffusion_7b_cameractrl_finetune": (
        "its network reads rays of a camera, which the general diffusion transformer here does not.",
        "`cosmos nemo post-train --factory cosmos_diffusion_7b_video2world_finetune` trains what it begins from.",
    ),
    "cosmos_diffusion_7b_video2world_action_ctrl_finetune": _NO_ACTIONS,
    "cosmos_diffusion_14b_video2world_action_ctrl_finetune": _NO_ACTIONS,
    **{
        f"cosmos_multicamera_diffusion_7b_{name}": _NO_VIEWS
        for name in (
            "text2world_finetune",
            "text2world_overfit",
            "text2world_finetune_w_traj",
            "text2world_finetune_w_traj_debug",
            "image2world_finetune",
            "image2world_finetune_w_traj",
        )
    },
}
"""NeMo's other factories: why they are not here, and what is."""


def workload(recipe: Recipe) -> Workload:
    """What a recipe trains, in numbers."""
    assert isinstance(recipe, NemoRecipe)
    return Workload(network_of(recipe), tokenizer=of_size(VARIANTS, recipe).helpers.tokenizer)


def network_of(recipe: NemoRecipe) -> GeneralDiTConfig:
    """The network of a recipe."""
    network = of_size(VARIANTS, recipe).network(recipe.model.kind)
    return replace(
        network,
        num_blocks=recipe.model.num_layers or network.num_blocks,
        block_norm_eps=recipe.model.layer_norm_eps,
    )
