"""What a post-training does, as plain numbers: a recipe, which names, options and overrides fill in. No torch here.

Every part is a pydantic model without unknown fields, so a mistyped override is an error that names the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from cosmos_cli.errors import InputError
from cosmos_cli.requests import StrictModel

Positive = Annotated[int, Field(ge=1, lt=2**31)]
Rate = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[int, Field(ge=16, multiple_of=16)]


class Part(StrictModel):
    """A group of fields of a recipe."""


class Job(Part):
    """Where the run writes: below `OUTPUT_ROOT/project/group/name`, or in a folder that is named."""

    project: str = Field(default="posttraining", description="First folder below OUTPUT_ROOT.")
    group: str = Field(description="Second folder.")
    name: str = Field(description="Third folder; the run's own.")
    folder: str = Field(default="", description="The run's folder below OUTPUT_ROOT in place of those three.")


class Model(Part):
    """Which networks are trained. Families add their own fields.

    The weights come from `checkpoint.load_path`.
    """

    size: str = Field(description="Size of the network, such as 7B, or tiny.")


class Data(Part):
    """Where clips and texts come from."""

    source: str = Field(
        default="cosmos_cli.training.data.mock:MockClips",
        description="Import string of the data set, given this recipe.",
    )
    dataset_dir: str = Field(default="", description="Folder of the data set; mock data have none.")
    num_frames: Positive = Field(description="Frames of a clip, per view.")
    height: Size = Field(description="Rows of pixels.")
    width: Size = Field(description="Columns of pixels.")
    fps: float = Field(
        default=24.0, gt=0, description="Frames per second told to the network, where the clip names none."
    )
    view_keys: tuple[str, ...] = Field(
        default=(), description="Folders of the views, in the order in which they stand."
    )
    num_views: Positive = Field(default=1, description="Views that stand one after another in a clip.")
    view_indices: tuple[int, ...] = Field(
        default=(), description="Rows of the network's view table for these views; none counts from 0."
    )
    captions_of_all_views: bool = Field(
        default=False,
        description="Every view reads its camera's sentence and a caption; else only the first reads a caption.",
    )
    latents_dir: str = Field(
        default="",
        description="Folder in which the latents of clips are kept, for later epochs and other trainings; empty keeps "
        "none.",
    )
    hint: str = Field(default="", description="Control whose videos go along with the clips, such as edge.")
    start_frame_interval: Positive = Field(default=1, description="Frames between the starts of two windows of a clip.")
    sequence_interval: Positive = Field(default=1, description="Frames between two frames of a window.")
    text_tokens: Positive = Field(default=512, description="Positions of the text, per view.")
    text_channels: Positive = Field(default=1024, description="Width of a text embedding.")
    text_encoder: str = Field(
        default="",
        description="Folder of the T5 encoder of captions that a source makes up itself; empty leaves their texts out.",
    )
    batch_size: Positive = Field(default=1, description="Clips of one forward pass of a data-parallel rank.")
    global_batch_size: Positive | None = Field(
        default=None,
        description="Clips of one step over all ranks; what does not fit is accumulated. None is batch_size times "
        "ranks times trainer.grad_accum_iter.",
    )
    num_workers: int = Field(
        default=2, ge=0, le=1024, description="Processes that decode clips, per rank; 0 decodes in between."
    )
    shuffle: bool = Field(default=True, description="Another order in every epoch; else clips come as they stand.")
    num_mock_clips: Positive = Field(default=10_000, description="Length of a mock data set.")


class DrawsRecipe(Part):
    """What chance decides in a step."""

    sigma_mean: float = Field(default=0.0, description="Mean of ln sigma.")
    sigma_std: float = Field(default=1.0, gt=0, description="Standard deviation of ln sigma.")
    sigma_multiplier: float = Field(
        default=1.0, gt=0, description="Factor on sigma, for videos sqrt of the latent frames."
    )
    high_sigma_ratio: Rate = Field(
        default=0.0, description="Share of clips whose sigma is log-uniform in high_sigma_range."
    )
    high_sigma_range: tuple[float, float] = Field(
        default=(200.0, 100_000.0), description="Lowest and highest of those."
    )
    text_dropout: Rate = Field(default=0.2, description="Share of clips whose text is zeroed, all views together.")
    given: Literal["none", "per-step", "per-clip"] = Field(
        default="none",
        description="Whether first latent frames are given, and whether their number is drawn for all clips.",
    )
    given_min: int = Field(default=0, ge=0, description="Fewest given latent frames, in every view.")
    given_max: int = Field(default=2, ge=0, description="Most given latent frames, in every view.")
    augment_mean: float | None = Field(
        default=None, description="Mean of ln of the noise level of given frames; None is clean."
    )
    augment_std: float = Field(default=2.0, ge=0, description="Standard deviation of it; 0 is the same for all clips.")

    @model_validator(mode="after")
    def _in_order(self) -> DrawsRecipe:
        low, high = self.high_sigma_range
        if not 0 < low <= high:
            raise ValueError("high_sigma_range must rise, and begin above 0.")
        if self.given_min > self.given_max:
            raise ValueError("given_min must not be more than given_max.")
        return self


class LossRecipe(Part):
    """What is minimised."""

    reduce: Literal["mean", "sum"] = Field(default="mean", description="Over elements; sum is over those of a clip.")
    scale: float = Field(default=1.0, gt=0, description="Factor on the loss.")
    log_variance: bool = Field(default=True, description="Learn how uncertain each noise level is (Kendall's weights).")
    covers_given: bool = Field(default=False, description="Given frames count too.")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Of noise levels, noise and loss; the originals of EDM use bfloat16."
    )
    error_dtype: Literal["float32", "bfloat16"] | None = Field(
        default=None, description="Of the prediction and its error, where that is another than dtype; NeMo: float32."
    )
    frees_noisier: bool = Field(
        default=False,
        description="Frames that would be given with more noise than the rest has are made and counted as the rest.",
    )


class OptimizerRecipe(Part):
    """AdamW on all trained parameters."""

    lr: float = Field(default=2**-14.3, ge=0, description="Rate, before the schedule.")
    weight_decay: float = Field(default=0.1, ge=0, description="Decoupled; of norms and embeddings too.")
    betas: tuple[Rate, Rate] = Field(default=(0.9, 0.99), description="Of the two moments.")
    eps: float = Field(default=1e-10, gt=0, description="Added to the root of the second moment.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest norm of the gradient; None does not clip.")


class ScheduleRecipe(Part):
    """Factor on the rate: per cycle a linear warm-up, then a straight or a cosine line. The last cycle's end holds."""

    kind: Literal["linear", "cosine"] = Field(default="linear", description="Shape after the warm-up.")
    warm_up_steps: tuple[int, ...] = Field(default=(0,), description="Steps of the warm-up, per cycle.")
    cycle_lengths: tuple[int, ...] = Field(default=(10_000_000_000_000,), description="Steps of each cycle.")
    f_start: tuple[float, ...] = Field(default=(1e-6,), description="Factor at the start of the warm-up.")
    f_max: tuple[float, ...] = Field(default=(1.0,), description="Factor at its end.")
    f_min: tuple[float, ...] = Field(default=(1.0,), description="Factor at the end of the cycle.")

    @model_validator(mode="after")
    def _of_one_length(self) -> ScheduleRecipe:
        parts = (self.warm_up_steps, self.cycle_lengths, self.f_start, self.f_max, self.f_min)
        if len({len(part) for part in parts}) > 1 or not self.cycle_lengths:
            raise ValueError("warm_up_steps, cycle_lengths, f_start, f_max and f_min must be of one length.")
        if any(not 0 <= steps < length for steps, length in zip(self.warm_up_steps, self.cycle_lengths, strict=True)):
            raise ValueError("a warm-up must be shorter than its cycle.")
        return self


class EMARecipe(Part):
    """A running average of the weights, by a power of the step (Karras et al. 2023)."""

    enabled: bool = Field(default=True, description="Keep one, in float32.")
    rate: float = Field(default=0.1, gt=0, lt=0.5, description="Width of the average, relative to the steps made.")
    iteration_shift: int = Field(default=0, description="Added to the step.")
    constant: float | None = Field(
        default=None, ge=0, lt=1, description="Share that every step leaves, whatever its number; None is by the power."
    )


class ParallelRecipe(Part):
    """How ranks share the work; what is left over is data-parallel."""

    shard: Positive = Field(default=32, description="Most ranks that share one copy of the parameters (FSDP2).")
    cp: Positive = Field(default=1, description="Ranks that share the tokens of a clip.")
    tp: Positive = Field(default=1, description="Ranks that share every layer.")
    activation_checkpointing: Literal["none", "block", "sub-block"] = Field(
        default="sub-block",
        description="What is computed again in the backward pass: all within a block, or within its parts.",
    )


class LoRARecipe(Part):
    """Low-rank adapters, trained in place of the network."""

    rank: Positive = Field(default=16, description="Inner width.")
    alpha: float = Field(default=16, gt=0, description="Strength: alpha / rank times the product.")
    target_modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2"),
        description="Ends of the names of the adapted linear layers; these ones are understood for every network.",
    )


class CheckpointRecipe(Part):
    """What is saved, and what the run starts from."""

    load_path: str = Field(
        default="", description="File of the first weights, or folder of a training; empty is random."
    )
    save_iter: Positive = Field(default=200, description="Steps between two checkpoints.")
    keep: Positive = Field(default=2, description="Checkpoints to resume from that stay.")
    export_iter: Positive | None = Field(default=None, description="Steps between two exports; None is save_iter.")
    asynchronous: bool = Field(default=True, description="Go on while the checkpoint is written.")


class TrainerRecipe(Part):
    """The loop."""

    max_iter: Positive = Field(description="Steps.")
    grad_accum_iter: Positive = Field(default=1, description="Forward passes per step.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of the data's order and of all draws.")
    precision: Literal["bfloat16", "float32"] = Field(default="bfloat16", description="Of the networks' arithmetic.")
    spike_factor: float = Field(
        default=0.0,
        ge=0,
        description="Leave out a step whose gradient is so many times the median of the last ones; 0 never.",
    )
    max_skipped: Positive = Field(
        default=10, description="Steps in a row without a finite loss after which the run stops."
    )


class LogRecipe(Part):
    """What is told."""

    logging_iter: Positive = Field(
        default=10, description="Steps between two lines on the terminal; every step is in the log."
    )
    sample_iter: Positive | None = Field(default=None, description="Steps between two sample videos; None makes none.")
    sample_steps: Positive = Field(default=20, description="Denoising steps of a sample video.")
    wandb_project: str = Field(default="", description="Project of Weights & Biases; used when WANDB_API_KEY is set.")
    tensorboard: bool = Field(default=False, description="Write TensorBoard events too.")


class Recipe(Part):
    """One post-training. Families derive from it to type `model`.

    task: import string of what a family gives: `task(recipe, where) -> cosmos_cli.training.task.Task`.
    workload: import string of what it trains, in numbers: `workload(recipe) -> cosmos_cli.training.memory.Workload`;
        without torch. Empty where nothing is known of it, and memory is not planned.
    """

    help: str = Field(default="", description="One line on it.")
    task: str = Field(description="Import string of the family's task.")
    workload: str = Field(default="", description="Import string of what is trained, in numbers.")
    job: Job
    model: Model
    data: Data
    draws: DrawsRecipe = DrawsRecipe()
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    ema: EMARecipe = EMARecipe()
    parallel: ParallelRecipe = ParallelRecipe()
    lora: LoRARecipe | None = None
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    trainer: TrainerRecipe
    log: LogRecipe = LogRecipe()


V = TypeVar("V")


def of_size(variants: Mapping[str, V], recipe: Recipe) -> V:
    """The variant of the size that a recipe names. Raises InputError: there is none."""
    size = recipe.model.size
    if size not in variants:
        known = ", ".join(variants)
        raise InputError(f"{size!r} is no size of this model.", where="model.size", fix=f"There are {known}.")
    return variants[size]
