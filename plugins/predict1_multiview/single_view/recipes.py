"""Post-trainings of Predict1 for one camera, under the names of the originals."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from cosmos_cli.generation.variants import LONGEST_CHUNK_FRAMES, TINY_TEXT_WIDTH, Kind
from cosmos_cli.generation.weights import WEIGHTS
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.training.memory import Workload
from cosmos_cli.training.recipe import (
    CheckpointRecipe,
    Data,
    DrawsRecipe,
    EMARecipe,
    Job,
    LogRecipe,
    LoRARecipe,
    LossRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    ScheduleRecipe,
    TrainerRecipe,
    of_size,
)
from cosmos_plugins.predict1_multiview.variants import SINGLE_VIEW

TASK = "cosmos_plugins.predict1_multiview.task:single_view"
WORKLOAD = "cosmos_plugins.predict1_multiview.single_view.recipes:workload"


class SingleViewModel(Model):
    """A network for one view."""

    kind: Kind = Field(default="video2world", description="Whether frames are given.")


class SingleViewRecipe(Recipe):
    """A post-training of a network for one view."""

    model: SingleViewModel


def _draws(kind: Kind, sigma_multiplier: float = 1.0, given_max: int = 2) -> DrawsRecipe:
    if kind == "text2world":
        return DrawsRecipe()
    return DrawsRecipe(
        sigma_multiplier=sigma_multiplier, given="per-step", given_max=given_max, augment_mean=-3.0, augment_std=2.0
    )


def _recipe(name: str, kind: Kind, help: str, size: str = "7B", **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "data": _clips(),
        # the original multiplies by the root of the 16 latent frames of its configuration, whatever the clip's length
        "draws": _draws(kind, sigma_multiplier=4.0),
        "optimizer": OptimizerRecipe(lr=2**-14.3, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-10, clip_norm=1.0),
        "schedule": ScheduleRecipe(warm_up_steps=(2500,)),
        "parallel": ParallelRecipe(shard=32, activation_checkpointing="sub-block"),
        "checkpoint": CheckpointRecipe(load_path=f"{SINGLE_VIEW[size].folder_of(kind)}/{WEIGHTS}", save_iter=200),
        "trainer": TrainerRecipe(max_iter=2000),
        "log": LogRecipe(logging_iter=200),
    }
    return SingleViewRecipe(
        help=help,
        task=TASK,
        workload=WORKLOAD,
        job=Job(group=f"diffusion_{kind}", name=name),
        model=SingleViewModel(size=size, kind=kind),
        **(values | changes),
    )


def _clips(
    folder: str = "hdvila", *, num_frames: int = LONGEST_CHUNK_FRAMES, height: int = 720, width: int = 1280
) -> Data:
    return Data(
        source="cosmos_cli.training.data.videos:VideoFolder",
        dataset_dir=f"datasets/{folder}",
        num_frames=num_frames,
        height=height,
        width=width,
        num_workers=8,
    )


_FOLDERS = {"hdvila": "HD-VILA", "cosmos_nemo_assets": "Cosmos-NeMo-Assets"}


def _example(kind: Kind, folder: str) -> Recipe:
    defect = (
        " In the original the rate of this one is 0 and its network lacks an embedding, by slips."
        if kind == "video2world" and folder == "hdvila"
        else ""
    )
    help = f"Clips of {_FOLDERS[folder]}.{defect} The warm-up is longer than the run, as in the original."
    return _recipe(f"{kind}_7b_example_{folder}", kind, help, data=_clips(folder))


def _large(kind: Kind, folder: str) -> Recipe:
    return _recipe(
        f"{kind}_14b_example_{folder}",
        kind,
        f"Clips of {_FOLDERS[folder]}. Tokens are shared by 8 ranks, for 16 do not divide the 40 heads.",
        size="14B",
        data=_clips(folder),
        loss=LossRecipe(scale=10.0),
        optimizer=OptimizerRecipe(lr=2**-16, weight_decay=0.2, betas=(0.9, 0.99), eps=1e-11, clip_norm=1.0),
        schedule=ScheduleRecipe(warm_up_steps=(2500,), cycle_lengths=(90_000,), f_min=(0.1,)),
        parallel=ParallelRecipe(shard=64, cp=8, activation_checkpointing="sub-block"),
    )


def _small_clips(kind: Kind, gpus: str) -> Recipe:
    """For fewer or smaller GPUs; small ones keep no average, and wait while a checkpoint is written."""
    side = 192 if kind == "video2world" and gpus == "4gpu_40gb" else 384
    frames = {"4gpu_80gb": LONGEST_CHUNK_FRAMES, "8gpu_40gb": 33, "4gpu_40gb": 17}[gpus]
    if kind == "video2world" and gpus != "4gpu_80gb":
        frames = 25
    changes: dict[str, Any] = {}
    if gpus != "4gpu_80gb":
        path = f"{SINGLE_VIEW['7B'].folder_of(kind)}/{WEIGHTS}"
        changes = {
            "ema": EMARecipe(enabled=False),
            "checkpoint": CheckpointRecipe(load_path=path, save_iter=200, asynchronous=False),
        }
    number, memory = gpus.removesuffix("gb").split("gpu_")
    return _recipe(
        f"{kind}_7b_example_cosmos_nemo_assets_{gpus}",
        kind,
        f"{frames} frames of {side} x {side}, for {number} GPUs of {memory} GB.",
        data=_clips("cosmos_nemo_assets", num_frames=frames, height=side, width=side),
        **changes,
    )


def _lora(kind: Kind) -> Recipe:
    return _recipe(
        f"{kind}_7b_lora_example_cosmos_nemo_assets",
        kind,
        "Adapters of rank 8 on queries and values.",
        data=_clips("cosmos_nemo_assets"),
        lora=LoRARecipe(rank=8, alpha=8, target_modules=("to_q.0", "to_v.0")),
        optimizer=OptimizerRecipe(lr=1e-4, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-10, clip_norm=1.0),
        schedule=ScheduleRecipe(warm_up_steps=(0,)),
        parallel=ParallelRecipe(shard=32, cp=4, activation_checkpointing="sub-block"),
        checkpoint=CheckpointRecipe(load_path=f"{SINGLE_VIEW['7B'].folder_of(kind)}/{WEIGHTS}", save_iter=1000),
        trainer=TrainerRecipe(max_iter=5000),
    )


def _tiny(kind: Kind) -> Recipe:
    clips = Data(num_frames=9, height=48, width=80, text_tokens=16, text_channels=TINY_TEXT_WIDTH, num_workers=0)
    return _recipe(
        f"tiny_{kind}",
        kind,
        "The embedded model on made-up clips: seconds on a CPU.",
        size="tiny",
        data=clips.model_copy(update={"num_mock_clips": 64}),
        draws=_draws(kind, given_max=1),  # a clip has two latent frames
        optimizer=OptimizerRecipe(lr=1e-3),
        schedule=ScheduleRecipe(),
        parallel=ParallelRecipe(activation_checkpointing="none"),
        checkpoint=CheckpointRecipe(load_path=f"{SINGLE_VIEW['tiny'].folder_of(kind)}/{WEIGHTS}", save_iter=10),
        trainer=TrainerRecipe(max_iter=20, precision="float32"),
        log=LogRecipe(logging_iter=1, sample_steps=4),
    )


_KINDS: tuple[Kind, ...] = ("text2world", "video2world")

RECIPES: dict[str, Recipe] = {
    recipe.job.name: recipe
    for recipe in (
        *(_example(kind, folder) for kind in _KINDS for folder in _FOLDERS),
        *(_large(kind, folder) for kind in _KINDS for folder in _FOLDERS),
        *(_small_clips(kind, gpus) for kind in _KINDS for gpus in ("4gpu_80gb", "8gpu_40gb", "4gpu_40gb")),
        *(_lora(kind) for kind in _KINDS),
        _recipe(
            "video2world_instruction_bridge_57frames",
            "video2world",
            "A robot arm of Bridge under instructions, 256 x 320; clips and texts in folders like those of the others.",
            data=_clips("bridge", num_frames=57, height=256, width=320),
            draws=_draws("video2world", sigma_multiplier=8**0.5),
            checkpoint=CheckpointRecipe(
                load_path=f"{SINGLE_VIEW['7B'].folder_of('video2world')}/{WEIGHTS}", save_iter=500
            ),
        ),
        *(_tiny(kind) for kind in _KINDS),
    )
}


def workload(recipe: Recipe) -> Workload:
    """What a recipe trains, in numbers."""
    assert isinstance(recipe, SingleViewRecipe)
    return Workload(network_of(recipe), tokenizer=of_size(SINGLE_VIEW, recipe).helpers.tokenizer)


def network_of(recipe: SingleViewRecipe) -> GeneralDiTConfig:
    """The network of a recipe, with its learnt embedding of positions."""
    return of_size(SINGLE_VIEW, recipe).network(recipe.model.kind)
