"""Post-trainings of Predict2, under the names of the originals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cosmos_cli.models.configs import MinimalDiTConfig
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
from cosmos_cli.worlds.recipes import TINY_TEXT_ENCODER, TINY_WAN_TOKENIZER, learning_from_chance, worlds_clips
from cosmos_plugins.predict2.checkpoints import dit_file
from cosmos_plugins.predict2.variants import (
    ACTION,
    ACTION_FPS,
    ACTIONS_PER_CHUNK,
    MULTIVIEW,
    VARIANTS,
    VIEW_FPS,
    VIEW_FRAMES,
)

_TASKS = "cosmos_plugins.predict2.task"
WORKLOADS = "cosmos_plugins.predict2.recipes"
_FRAMES_PER_LATENT = 4

WAYMO_VIEWS = {
    "pinhole_side_left": 4,
    "pinhole_front_left": 5,
    "pinhole_front": 0,
    "pinhole_front_right": 1,
    "pinhole_side_right": 2,
}
"""Cameras of Waymo Open, and the rows of the network's table of cameras that stand for them."""

_LORA_MODULES = ("q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2")


def num_latents(num_frames: int) -> int:
    """Latent frames of a clip, or of one view of it."""
    return 1 + (num_frames - 1) // _FRAMES_PER_LATENT


def _draws(num_frames: int, **changes: Any) -> DrawsRecipe:
    values: dict[str, Any] = {
        "sigma_multiplier": num_latents(num_frames) ** 0.5,
        "high_sigma_ratio": 0.05,
        "given": "per-clip",
        "given_min": 1,
        "given_max": 2,
    }
    return DrawsRecipe(**(values | changes))


def _recipe(task: str, group: str, name: str, help: str, size: str, data: Data, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "draws": _draws(data.num_frames),
        "loss": LossRecipe(scale=10.0, log_variance=False),
        # the original computes the norm of the gradient and, by a slip, clips nothing
        "optimizer": OptimizerRecipe(lr=2**-14.5, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-8, clip_norm=1.0),
        "parallel": ParallelRecipe(shard=8 if size == "2B" else 32, activation_checkpointing="block"),
        "log": LogRecipe(logging_iter=10),
    }
    return Recipe(
        help=help,
        task=f"{_TASKS}:{task}",
        workload=f"{WORKLOADS}:{task}_workload",
        job=Job(group=group, name=name),
        model=Model(size=size),
        data=data,
        **(values | changes),
    )


def _clips(folder: str, *, num_frames: int = 93, fps: int = 16, height: int = 704, width: int = 1280) -> Data:
    return Data(
        source="cosmos_cli.training.data.videos:VideoFolder",
        dataset_dir=folder,
        num_frames=num_frames,
        height=height,
        width=width,
        fps=fps,
        num_workers=8,
    )


def _published(size: str, resolution: str = "720", fps: int = 16) -> str:
    return f"{VARIANTS[size].folder}/{dit_file(resolution, fps)}"


def _adamw(lr: float, weight_decay: float) -> OptimizerRecipe:
    return OptimizerRecipe(lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99), eps=1e-8, clip_norm=1.0)


def _line(length: int, high: float, low: float, warm_up: int = 0) -> ScheduleRecipe:
    return ScheduleRecipe(warm_up_steps=(warm_up,), cycle_lengths=(length,), f_max=(high,), f_min=(low,))


def _parallel(size: str, cp: int, shard: int | None = None) -> ParallelRecipe:
    return ParallelRecipe(shard=shard or (8 if size == "2B" else 32), cp=cp, activation_checkpointing="block")


def _assets(size: str, name: str, folder: str, help: str, *, group: str = "video2world", **changes: Any) -> Recipe:
    """On clips of one's own: 1000 steps down to rate 0."""
    is_small = size == "2B"
    values: dict[str, Any] = {
        "optimizer": _adamw(2**-14.5, 0.1 if is_small else 0.2),
        "schedule": _line(1000, 0.6 if is_small else 0.25, 0.0),
        "parallel": _parallel(size, 2 if is_small else 8),
        "checkpoint": CheckpointRecipe(load_path=_published(size), save_iter=500),
        "trainer": TrainerRecipe(max_iter=1000),
    }
    job_name = f"{size.lower()}_{name}"
    return _recipe("video2world", group, job_name, help, size, _clips(folder), **(values | changes))


def _lora(size: str) -> Recipe:
    rank = 16 if size == "2B" else 32
    return _assets(
        size,
        "cosmos_nemo_assets",
        "datasets/cosmos_nemo_assets",
        f"Adapters of rank {rank} on Cosmos-NeMo-Assets, with the rate of the full training; the original's guide "
        f"recommends optimizer.lr={2**-10 if size == '2B' else 2**-11:.6f}.",
        group="video2world_lora",
        lora=LoRARecipe(rank=rank, alpha=rank, target_modules=_LORA_MODULES),
        checkpoint=CheckpointRecipe(load_path=_published(size), save_iter=200),
    )


def _groot(size: str) -> Recipe:
    return _recipe(
        "video2world",
        "video2world",
        f"{size.lower()}_groot_gr1_480",
        "Humanoid robot GR1, 432 x 768, from the 720p weights as in the original, which names no end: the schedule's.",
        size,
        _clips("datasets/benchmark_train/gr1", height=432, width=768),
        schedule=_line(100_000, 0.2, 0.1, warm_up=1000),
        ema=EMARecipe(enabled=False),
        parallel=_parallel(size, 1 if size == "2B" else 4),
        checkpoint=CheckpointRecipe(load_path=_published(size), save_iter=200),
        trainer=TrainerRecipe(max_iter=100_000),
    )


def _agibot(size: str, variant: str) -> Recipe:
    """variant: such as 480p_10fps; empty for 720p_16fps with the layout of the other trainings of this size."""
    resolution, fps = ("720", 16) if not variant else (variant[:3], int(variant[5:7]))
    is_small, is_wide = size == "2B", resolution == "720"
    num_frames = VARIANTS[size].num_frames[fps]
    notes = [f"Head camera of AgiBot, {resolution}p {fps} fps, one given latent frame."]
    if is_small:
        notes.append("Rotary ratios are the published 3.0, which inference has; the original trains with 2.0.")
    if fps == 10:
        notes.append(f"Clips of {num_frames} frames, as this model makes; the original reads 93.")
    height, width = VARIANTS[size].sizes[resolution]["16:9"]
    folder = "datasets/agibot_head_center_fisheye_color/train"
    return _recipe(
        "video2world",
        "video2world",
        f"{size.lower()}_agibot_head_center_fisheye_color{f'_{variant}' if variant else ''}",
        " ".join(notes),
        size,
        _clips(folder, num_frames=num_frames, fps=fps, height=height, width=width),
        draws=_draws(num_frames, given_max=1),
        optimizer=_adamw(2**-15.5, 0.1 if is_small else 0.2),
        schedule=_line(400_000, 0.99, 0.0, 2000) if is_small else _line(50_000, 0.2, 0.0, 2000),
        parallel=_parallel(size, (2 if is_wide else 1) if is_small else 8, 8 if variant else None),
        checkpoint=CheckpointRecipe(load_path=_published(size, resolution, fps), save_iter=500),
        trainer=TrainerRecipe(max_iter=100_000),
    )


def _waymo(height: int, width: int, lora: LoRARecipe | None = None) -> Recipe:
    resolution = "720p" if height == 704 else "480p"
    what = (
        f"{'Adapters for f' if lora else 'F'}ive cameras of Waymo Open, {height} x {width}; a caption in front alone."
    )
    return _recipe(
        "multiview",
        "multiview_lora" if lora else "multiview",
        f"2b_{resolution}_10fps_7views_29frames_waymo5views",
        f"{what} Past step 40000 the rate stays, where the original fails.",
        "2B",
        Data(
            source="cosmos_cli.training.data.views:ViewFolders",
            dataset_dir="datasets/waymo",
            num_frames=VIEW_FRAMES,
            height=height,
            width=width,
            fps=VIEW_FPS,
            num_views=len(WAYMO_VIEWS),
            view_keys=tuple(WAYMO_VIEWS),
            view_indices=tuple(WAYMO_VIEWS.values()),
            num_workers=6,
        ),
        draws=_draws(VIEW_FRAMES, given_min=0),
        schedule=_line(40_000, 0.25, 0.1, 2000),
        parallel=_parallel("2B", 8),
        lora=lora,
        checkpoint=CheckpointRecipe(load_path=MULTIVIEW["2B"].dit_file, save_iter=500),
        trainer=TrainerRecipe(max_iter=100_000),
    )


def _bridge() -> Recipe:
    return _recipe(
        "action",
        "video2world",
        "2b_action_conditioned",
        "A robot arm of Bridge under its actions, from Video2World; what reads actions begins from chance. The "
        "original names neither an end nor a step to save at.",
        "2B",
        Data(
            source="cosmos_plugins.predict2.action.training_data:BridgeClips",
            dataset_dir="datasets/bridge",
            num_frames=1 + ACTIONS_PER_CHUNK,
            height=480,
            width=640,
            fps=ACTION_FPS,
            batch_size=2,
            num_workers=8,
        ),
        draws=_draws(1 + ACTIONS_PER_CHUNK, given_max=1, high_sigma_ratio=0.0),
        optimizer=_adamw(1e-4, 0.1),
        ema=EMARecipe(enabled=False),
        parallel=_parallel("2B", 1, shard=1024),
        checkpoint=CheckpointRecipe(load_path=_published("2B"), save_iter=500),
        trainer=TrainerRecipe(max_iter=10_000),
    )


def _tiny(task: str, help: str, load_path: str, **data: Any) -> Recipe:
    given: dict[str, Any] = {"text_tokens": 16, "text_channels": 128, "num_mock_clips": 64, "num_workers": 0}
    clips = Data(**(given | data))
    return _recipe(
        task,
        "tiny",
        f"tiny_{task}",
        help,
        "tiny",
        clips,
        draws=_draws(clips.num_frames, given_max=1),
        optimizer=_adamw(1e-3, 0.1),
        parallel=ParallelRecipe(activation_checkpointing="none"),
        checkpoint=CheckpointRecipe(load_path=load_path, save_iter=10),
        trainer=TrainerRecipe(max_iter=20, precision="float32"),
        log=LogRecipe(logging_iter=1, sample_steps=4),
    )


def _worlds() -> Recipe:
    """From chance, on rendered worlds."""
    height, width = VARIANTS["tiny"].sizes["tiny"]["16:9"]
    clips = worlds_clips(
        num_frames=VARIANTS["tiny"].num_frames[16], height=height, width=width, fps=16, num_mock_clips=4500
    )
    # of five latent frames one is given, or two
    draws = _draws(clips.num_frames, sigma_mean=0.3, sigma_std=1.3, sigma_multiplier=1.0, text_dropout=0.1)
    help = "The embedded model from chance, on rendered worlds."
    return _recipe("video2world", "tiny", "tiny_worlds", help, "tiny", clips, draws=draws, **learning_from_chance(7000))


_SIZES = ("2B", "14B")
_TRAINING = "predict2_video2world_training"
_AGIBOT = "agibot_head_center_fisheye_color"
_MULTIVIEW = "10fps_7views_29frames_waymo5views"
_VIEW_LORA = LoRARecipe(rank=16, alpha=16, target_modules=_LORA_MODULES)

RECIPES: dict[str, Recipe] = {
    **{
        f"{_TRAINING}_{size.lower()}_cosmos_nemo_assets": _assets(
            size,
            "cosmos_nemo_assets",
            "datasets/cosmos_nemo_assets",
            "Clips of Cosmos-NeMo-Assets. Gradients are clipped; in the original clipping has no effect.",
        )
        for size in _SIZES
    },
    **{
        f"{_TRAINING}_{size.lower()}_video2world_data": _assets(
            size,
            "video2world_data",
            "datasets/cosmos_predict2_video2world_dataset",
            "A template for clips of your own.",
        )
        for size in _SIZES
    },
    **{f"predict2_video2world_lora_training_{size.lower()}_cosmos_nemo_assets": _lora(size) for size in _SIZES},
    **{f"{_TRAINING}_{size.lower()}_groot_gr1_480": _groot(size) for size in _SIZES},
    **{
        f"{_TRAINING}_{size.lower()}_{_AGIBOT}{f'_{variant}' if variant else ''}": _agibot(size, variant)
        for size in _SIZES
        for variant in ("", "480p_10fps", "480p_16fps", "720p_10fps", "720p_16fps")
    },
    f"predict2_multiview_training_2b_720p_{_MULTIVIEW}": _waymo(704, 1280),
    f"predict2_multiview_training_2b_480p_{_MULTIVIEW}": _waymo(480, 848),
    f"predict2_multiview_lora_training_2b_720p_{_MULTIVIEW}": _waymo(704, 1280, _VIEW_LORA),
    f"predict2_multiview_lora_training_2b_480p_{_MULTIVIEW}": _waymo(480, 848, _VIEW_LORA),
    "predict2_video2world_2b_action_conditioned_training": _bridge(),
    "tiny_video2world": _tiny(
        "video2world",
        "The embedded model on made-up clips: seconds on a CPU.",
        f"{VARIANTS['tiny'].folder}/{dit_file('tiny', 16)}",
        num_frames=5,
        height=48,
        width=80,
        fps=16,
    ),
    "tiny_multiview": _tiny(
        "multiview",
        "The embedded model for several cameras on made-up clips of two views.",
        MULTIVIEW["tiny"].dit_file,
        num_frames=5,
        height=48,
        width=80,
        fps=VIEW_FPS,
        num_views=2,
    ),
    "tiny_action": _tiny(
        "action",
        "The embedded model of a robot on made-up clips and actions.",
        ACTION["tiny"].dit_file,
        num_frames=1 + ACTIONS_PER_CHUNK,
        height=48,
        width=64,
        fps=ACTION_FPS,
        source="cosmos_plugins.predict2.action.training_data:MockActions",
    ),
    "tiny_text_encoder": TINY_TEXT_ENCODER,
    "tiny_worlds": _worlds(),
    "tiny_wan_tokenizer": TINY_WAN_TOKENIZER,
}


def network_of(recipe: Recipe, task: str) -> MinimalDiTConfig:
    """The network that a recipe trains by that task."""
    if task == "action":
        return of_size(ACTION, recipe).dit
    if task == "multiview":
        return replace(of_size(MULTIVIEW, recipe).dit, state_t=num_latents(recipe.data.num_frames))
    return of_size(VARIANTS, recipe).dit


def video2world_workload(recipe: Recipe) -> Workload:
    """What a recipe for one view trains, in numbers."""
    return Workload(network_of(recipe, "video2world"), tokenizer=of_size(VARIANTS, recipe).vae)


def multiview_workload(recipe: Recipe) -> Workload:
    """What a recipe for several views trains, in numbers."""
    return Workload(network_of(recipe, "multiview"), tokenizer=of_size(VARIANTS, recipe).vae)


def action_workload(recipe: Recipe) -> Workload:
    """What a recipe under actions trains, in numbers."""
    return Workload(network_of(recipe, "action"), tokenizer=of_size(VARIANTS, recipe).vae)
