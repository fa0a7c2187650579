"""Whole training loops of the originals, through the trainer's own step; and schedules, averages, clipping, AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from safetensors import safe_open
from torch import Tensor, nn

from cosmos_cli.diffusion import edm, rectified_flow
from cosmos_cli.models.configs import GeneralDiTConfig, MultiViewConfig
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_dit import stored_constants as minimal_constants
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.gradients import total_norm
from cosmos_cli.training.objectives import LogVariance
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import (
    Data,
    EMARecipe,
    Job,
    LossRecipe,
    Model,
    OptimizerRecipe,
    ParallelRecipe,
    Recipe,
    ScheduleRecipe,
    TrainerRecipe,
)
from cosmos_cli.training.task import Batch, Loss, Task, learning
from cosmos_cli.training.trainer import Trainer
from cosmos_plugins.predict1_multiview.task import Predict1Task
from cosmos_plugins.predict2.task import Predict2Task
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.multiview import multiview_options
from tests.parity.adapters.predict1 import general_dit_options
from tests.parity.adapters.predict2 import dit_config
from tests.parity.golden import Comparison, Golden, compare

ALONE = Parallel.form(ParallelRecipe(), torch.device("cpu"), "float32")
TRAINED = LossRecipe()


def recipe_of(options: Mapping[str, Any], loss: LossRecipe = TRAINED, *, clips: bool = True) -> Recipe:
    """The hyper-parameters that a golden file names, as a recipe."""
    given, schedule = options["optimizer"], options["scheduler"]
    ema = options["ema"]
    return Recipe(
        task="",
        job=Job(group="golden", name="golden"),
        model=Model(size="tiny"),
        data=Data(num_frames=1, height=16, width=16),
        loss=loss,
        optimizer=OptimizerRecipe(
            **{name: given[name] for name in ("lr", "weight_decay", "betas", "eps")},
            clip_norm=options["grad_clip"]["clip_norm"] if clips else None,
        ),
        schedule=ScheduleRecipe(**{name: schedule[name] for name in ScheduleRecipe.model_fields if name in schedule}),
        ema=EMARecipe(enabled=ema["enabled"], rate=ema["rate"], iteration_shift=ema.get("iteration_shift", 0)),
        trainer=TrainerRecipe(max_iter=10, precision="float32"),
    )


def predict1(golden: Golden) -> Outputs:
    return runs(golden, lambda recipe: _predict1_task(golden, recipe))


def _predict1_task(golden: Golden, recipe: Recipe) -> Task:
    given = golden.config["net"]
    has_mask = "num_condition_t" in golden.inputs
    dit: GeneralDiT
    if golden.config["n_views"] > 1:
        views = {"view_condition_dim": 3, "add_repeat_frame_embedding": False}
        config = MultiViewConfig(**multiview_options(views | given, condition_mask=has_mask))
        dit = network_from(golden, lambda: MultiViewDiT(config), "net.", tuple(stored_constants(config)))
    else:
        single = GeneralDiTConfig(**general_dit_options(given, condition_mask=has_mask))
        dit = network_from(golden, lambda: GeneralDiT(single), "net.", tuple(stored_constants(single)))
    return Predict1Task(recipe.loss, learning(dit), log_variance_of(golden))


def log_variance_of(golden: Golden) -> LogVariance:
    """The uncertainty head of a golden file."""
    head = LogVariance()
    with safe_open(golden.path, "pt") as file:
        head.load_state_dict({name: file.get_tensor(f"weights.logvar.{name}") for name in head.state_dict()})
    return head


def predict2(golden: Golden) -> Outputs:
    """The original's clipping has no effect, but for one run that shows what it would do."""
    loss = LossRecipe(scale=golden.config["loss_scale"], log_variance=False)

    def build(recipe: Recipe) -> Task:
        config = dit_config(golden)
        dit = network_from(golden, lambda: MinimalDiT(config), "net.", tuple(minimal_constants(config)))
        return Predict2Task(recipe.loss, dit)

    ours = runs(golden, build, loss, clips=False)
    recipe = recipe_of(golden.config["hot"], loss)
    names = {key for key in golden.outputs if key.startswith("hot_clipped.")}
    return ours | _loop(golden, Trainer(recipe, build(recipe), ALONE), "hot_clipped", names)


def runs(golden: Golden, build: Callable[[Recipe], Task], loss: LossRecipe = TRAINED, *, clips: bool = True) -> Outputs:
    """Every run of a golden file, each with a task of its own."""
    ours: Outputs = {}
    for run in ("published", "hot"):
        recipe = recipe_of(golden.config[run], loss, clips=clips)
        trainer = Trainer(recipe, build(recipe), ALONE)
        names = {key for key in golden.outputs if key.startswith(f"{run}.")}
        if run == "published":
            ours |= _first_step(golden, trainer)
        ours |= _loop(golden, trainer, run, names)
    if "late_start_iteration" in golden.config:
        recipe = recipe_of(golden.config["published"])
        trainer = Trainer(recipe, build(recipe), ALONE)
        trainer.iteration = golden.config["late_start_iteration"]
        ours |= _loop(golden, trainer, "late", {key for key in golden.outputs if key.startswith("late.")})
    return ours


def _first_step(golden: Golden, trainer: Trainer) -> Outputs:
    """What enters and leaves the network in the first step, and gradients before clipping."""
    batch, draws = step_inputs(golden, 0)
    last = [*trainer.task.frozen, trainer.task.networks["net"]][0]
    with watched(last) as calls:
        loss = trainer.task.loss(batch, draws)
    loss.total.backward()  # type: ignore[no-untyped-call]
    [(given, output)] = calls
    ours = {
        "step0.x0_pred": loss.x0_BCTHW,
        "step0.net_input": given[0].detach(),
        "step0.net_timesteps": given[1].detach(),
        "step0.net_output": output.detach(),
    }
    for name, parameter in trainer.parameters.items():
        if parameter.grad is not None:
            ours[f"step0.grad.{name}"] = parameter.grad.clone()
            parameter.grad = None
    return {key: tensor for key, tensor in ours.items() if key in golden.outputs}


def _loop(golden: Golden, trainer: Trainer, run: str, wanted: set[str]) -> Outputs:
    start = {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
    clipped: list[float] = []
    parameters = list(trainer.parameters.values())
    trainer.optimizer.register_step_pre_hook(lambda *_: clipped.append(float(total_norm(parameters))))
    heads = [head] if (head := getattr(trainer.task, "_log_variance", None)) is not None else []
    with watched(*heads) as uncertainties, _predictions(trainer.task) as predictions:
        steps = [trainer.step([step_inputs(golden, index)]) for index in range(golden.config["steps"])]
    assert trainer.ema is not None
    ours: Outputs = {
        f"{run}.loss": torch.tensor([step.loss for step in steps]),
        f"{run}.grad_norm": torch.tensor([step.gradient_norm for step in steps]),
        f"{run}.lr_f64": torch.tensor([step.rate for step in steps], dtype=torch.float64),
        f"{run}.ema_beta_f64": torch.tensor([step.ema_kept or 0.0 for step in steps], dtype=torch.float64),
    }
    ours[f"{run}.grad_clipped_norm"] = torch.tensor(clipped, dtype=torch.float64)
    ours[f"{run}.weights_per_sigma"] = edm.loss_weight(golden.inputs["sigma"])
    if f"{run}.edm_loss_per_frame" in wanted:
        errors = [_error_per_frame(golden, index, x0_pred) for index, x0_pred in enumerate(predictions)]
        ours[f"{run}.edm_loss_per_frame"] = torch.stack(errors)
    if heads:
        ours[f"{run}.logvar"] = torch.stack([u.detach() for _, u in uncertainties])
    for part in ("edm_loss", "mse_loss"):
        ours[f"{run}.{part}"] = torch.tensor([step.parts[part] for step in steps])
    for name, parameter in trainer.parameters.items():
        weights, average = parameter.detach(), trainer.ema.averages[name]
        ours[f"{run}.final.{name}"] = weights
        ours[f"{run}.ema.{name}"] = average
        ours[f"{run}.delta_norm.{name}"] = (weights - start[name]).norm()
        ours[f"{run}.ema_delta_norm.{name}"] = (average - start[name]).norm()
    return {key: tensor.clone() for key, tensor in ours.items() if key in wanted}


def _error_per_frame(golden: Golden, step: int, x0_pred_BCTHW: Tensor) -> Tensor:
    """The weighed error of every latent frame, (B, T)."""
    batch, draws = step_inputs(golden, step)
    weight = rectified_flow.uniform_loss_weight(draws.sigma_B)[:, None]
    return weight * ((batch.latents_BCTHW - x0_pred_BCTHW) ** 2).mean(dim=(1, 3, 4))


@contextmanager
def _predictions(task: Task) -> Iterator[list[Tensor]]:
    """A block in which every call of a task's loss leaves the prediction of the clean latents."""
    found: list[Tensor] = []
    loss_of = task.loss

    def watched(batch: Batch, draws: Draws) -> Loss:
        loss = loss_of(batch, draws)
        found.append(loss.x0_BCTHW)
        return loss

    with patch.object(task, "loss", watched):
        yield found


@contextmanager
def watched(*modules: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], Any]]]:
    """A block in which every call of these modules leaves its arguments and its result."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    hooks = [module.register_forward_hook(lambda _, given, out: calls.append((given, out))) for module in modules]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def step_inputs(golden: Golden, step: int) -> tuple[Batch, Draws]:
    """Batch and draws of one step of a golden file."""
    given = golden.inputs
    clip = int(given["clip_index"][step])
    scale = golden.config["sigma_data"]
    hints = {"hint": scale * given["hint_latents"][clip]} if "hint_latents" in given else {}
    batch = Batch(
        scale * given["latents"][clip],
        given["t5_text_embeddings"][clip],
        float(given["fps"][0]),
        given["padding_mask"],
        hints,
    )
    sigma = given["sigma"][step]
    num_given = None
    for name in ("num_condition_t", "num_conditional_frames"):
        if name in given:
            num_given = given[name][step].expand(len(sigma))
    draws = Draws(
        sigma,
        given["epsilon"][step],
        given["text_keep"][step],
        num_given,
        *(given[name][step] if name in given else None for name in ("augment_sigma", "augment_noise")),
    )
    return batch, draws


def judge(name: str, ours: Tensor | None, golden: Tensor) -> Comparison:
    """By the tolerances of the training data: relative for scalars, absolute for weights after some steps."""
    comparison = compare(name, ours, golden, whole_loop=False)
    if comparison.note or ours is None:
        return comparison
    reference = golden.double()
    difference = (ours.double() - reference).abs()
    largest = reference.abs().max()
    last = name.split(".")[1] if "." in name else ""
    if name.endswith("grad_clipped_norm"):
        limit, relative = 1e-4, difference / reference
    elif name.endswith("_f64"):
        limit, relative = (1e-6 if "lr" in name else 1e-12), difference / reference.abs().clamp(min=1e-300)
    elif "delta_norm" in name:
        limit = 0.03 if "ema" in name else 0.02 if golden.ndim and largest > 1 else 0.01
        relative = (difference - 1e-7).clamp(min=0) / reference.abs().clamp(min=1e-300)
    elif "step0.grad." in name:
        limit, relative = 1e-4, difference / largest.clamp(min=1e-30)
    elif last in ("final", "ema"):
        limit, relative = 5e-5, difference
    elif last in ("loss", "edm_loss", "mse_loss", "grad_norm", "weights_per_sigma"):
        limit, relative = 1e-4, difference / reference.abs().clamp(min=1e-12)
    else:
        return comparison
    return Comparison(name, float(difference.max()), float(relative.max()), limit)


ADAPTERS = {
    "training/predict2": Adapter(predict2, judge=judge),
    "training/predict1": Adapter(predict1, judge=judge),
}
