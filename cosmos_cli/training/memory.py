"""What memory a recipe takes of every rank's device, and what to change where that is too much. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cosmos_cli import output
from cosmos_cli.models.configs import (
    CosmosTokenizerConfig,
    DiTConfig,
    MinimalDiTConfig,
    WanVAEConfig,
)
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.training.activations import EDGE, bytes_again, kept_bytes, networks_of
from cosmos_cli.training.layout import TrainingLayout, training_layout
from cosmos_cli.training.lora import adapted
from cosmos_cli.training.recipe import LoRARecipe, Recipe

_BYTES = {"float32": 4, "bfloat16": 2}
_LATENTS, _LOSS_LATENTS = 6.0, 16.0
"""Tensors of a clip's latents in float32: clean, noise, coefficients' products; and those while the loss is taken."""
_ATTENTION = {
    False: ("to_q.0", "to_k.0", "to_v.0", "to_out.0"),
    True: ("q_proj", "k_proj", "v_proj", "output_proj"),
}
"""Linear layers of attention, by whether the network is a minimal one."""
_PREFETCHED = 2
"""Units of parameters that are gathered at a time: one is at work while the next is on its way."""
_CONTEXT_BYTES = 0.6e9
"""What the driver and libraries take of a GPU; assumed."""
_USABLE = 0.95
"""Share of the rest that is filled before gaps between tensors tell; assumed."""


@dataclass(frozen=True)
class Workload:
    """What is trained, in numbers.

    Args:
        trained: the network, or control branch, that learns.
        tokenizer: what makes latents of a clip.
        frozen: other networks that the gradient passes, such as the base under a control branch.
    """

    trained: DiTConfig
    tokenizer: CosmosTokenizerConfig | WanVAEConfig
    frozen: Sequence[DiTConfig] = ()


@dataclass(frozen=True)
class TrainingMemory:
    """What a rank's device holds, in bytes.

    always: by name, from the first step to the last.
    stages: what comes on top, by name, in each stage of a step; they take turns.
    layout: how the ranks share the work.
    """

    always: Mapping[str, float]
    stages: Mapping[str, Mapping[str, float]]
    layout: TrainingLayout

    @property
    def peak_stage(self) -> str:
        return max(self.stages, key=lambda name: sum(self.stages[name].values()))

    @property
    def peak_bytes(self) -> float:
        return sum(self.always.values()) + sum(self.stages[self.peak_stage].values())

    def fits(self, device_bytes: float) -> bool:
        """Whether a GPU of that memory is enough."""
        return self.peak_bytes <= (device_bytes - _CONTEXT_BYTES) * _USABLE


@dataclass(frozen=True)
class Remedy:
    """What makes a recipe fit: overrides of it, or another number of ranks, and what it takes then."""

    change: str
    peak_bytes: float


@dataclass(frozen=True)
class MemoryPlan:
    """What a recipe takes, whether that fits, and what would.

    device_bytes: memory of a rank's device; None where that is not known, and nothing is said of it.
    """

    memory: TrainingMemory
    device_bytes: float | None = None
    remedies: Sequence[Remedy] = ()

    @property
    def fits(self) -> bool | None:
        return None if self.device_bytes is None else self.memory.fits(self.device_bytes)

    def document(self) -> dict[str, Any]:
        """For `--json`; amounts are bytes."""
        memory = self.memory
        return {
            "layout": asdict(memory.layout),
            "always": {name: round(amount) for name, amount in memory.always.items()},
            "stages": {
                stage: {name: round(amount) for name, amount in parts.items()} for stage, parts in memory.stages.items()
            },
            "peak_bytes": round(memory.peak_bytes),
            "peak_stage": memory.peak_stage,
            "device_bytes": self.device_bytes if self.device_bytes is None else round(self.device_bytes),
            "fits": self.fits,
            "remedies": [{"change": each.change, "peak_bytes": round(each.peak_bytes)} for each in self.remedies],
        }

    def text(self) -> str:
        """For people."""
        memory = self.memory
        rows = [["always", name, _size(amount)] for name, amount in memory.always.items()]
        for stage, parts in memory.stages.items():
            rows += [[stage, name, _size(amount)] for name, amount in parts.items()]
        lines = [
            memory.layout.describe(),
            output.table(["when", "what", "per rank"], rows),
            f"at most {_size(memory.peak_bytes)} per rank, in the {memory.peak_stage}",
        ]
        if self.device_bytes is not None:
            verdict = "fits" if self.fits else "does not fit"
            lines.append(f"{verdict} a device of {_size(self.device_bytes)}")
        lines += [f"would fit with {each.change}: {_size(each.peak_bytes)}" for each in self.remedies]
        if self.fits is False and not self.remedies:
            lines.append("nothing that is known here makes it fit: take a smaller network, or more ranks")
        return "\n".join(lines)


def plan(
    recipe: Recipe, workload: Workload, world_size: int, *, precision: str, device_bytes: float | None = None
) -> MemoryPlan:
    """What a recipe takes of every rank's device and, if that is too much, what to change.

    Args:
        precision: of the networks' arithmetic, "bfloat16" or "float32".
        device_bytes: memory of a rank's device, if it is to be compared.
    Raises:
        InputError: the ranks do not divide as the recipe wants.
    """
    memory = memory_of(recipe, workload, world_size, precision=precision)
    if device_bytes is None or memory.fits(device_bytes):
        return MemoryPlan(memory, device_bytes)
    return MemoryPlan(memory, device_bytes, _remedies(recipe, workload, world_size, precision, device_bytes))


def memory_of(recipe: Recipe, workload: Workload, world_size: int, *, precision: str) -> TrainingMemory:
    """What a recipe takes of every rank's device; arguments and errors as for `plan`."""
    layout = training_layout(recipe.parallel, world_size)
    is_wrapped = world_size > 1 or precision != "float32"
    num_bytes = _BYTES[precision]
    total = cost_of(workload.trained).parameters
    trained = total if recipe.lora is None else lora_parameters(workload.trained, recipe.lora)
    stored = total if recipe.lora is None else total + trained
    share, trained_share = (_share(workload.trained, number, layout) for number in (stored, trained))
    tokenizer = tokenizer_cost_of(workload.tokenizer)
    always: dict[str, float] = {
        "parameters, float32": 4.0 * share,
        "moments of AdamW, float32": 8.0 * trained_share,
    }
    if recipe.ema.enabled:
        always["average of the parameters, float32"] = 4.0 * trained_share
    if workload.frozen:
        always["frozen networks"] = sum(
            num_bytes * _share(config, cost_of(config).parameters, layout) for config in workload.frozen
        )
    always["tokenizer"] = num_bytes * float(tokenizer.parameters)
    gathered = _gathered(recipe, workload, layout, num_bytes) if is_wrapped else {}
    gradients, networks = (
        4.0 * trained_share,
        networks_of(recipe, workload.trained, workload.frozen, layout, latents_THW(recipe, workload), num_bytes),
    )
    data = recipe.data
    text = float(data.batch_size * data.text_tokens * data.num_views * data.text_channels * num_bytes)
    latents = 4.0 * data.batch_size * workload.trained.in_channels * math.prod(latents_THW(recipe, workload))
    kept = text + kept_bytes(recipe, layout, networks, num_bytes)
    if recipe.trainer.grad_accum_iter > 1:
        gathered["gradients so far"] = gradients
    stages: dict[str, dict[str, float]] = {
        "loss": {**gathered, "activations": kept, "latents and loss": _LOSS_LATENTS * latents},
        "backward pass": {
            **gathered,
            "activations": kept,
            "what is computed again": bytes_again(recipe, layout, networks, num_bytes),
            "latents": _LATENTS * latents,
        },
        "end of it": {
            **gathered,
            "gradients, float32": gradients,
            "tokens before they are shared": EDGE * max(network.all_tokens for network in networks),
        },
    }
    walk = tokenizer.encode(data.num_frames, data.height, data.width)
    view = 3.0 * data.num_frames * data.height * data.width  # one view, or clip, at a time
    stages["encoding"] = {"tokenizer at work": num_bytes * walk.elements, "frames": num_bytes * view}
    return TrainingMemory(always, stages, layout)


def latents_THW(recipe: Recipe, workload: Workload) -> tuple[int, int, int]:
    """Size of a clip's latents, all views together."""
    cost, data = tokenizer_cost_of(workload.tokenizer), recipe.data
    frames = data.num_views * cost.latent_frames(data.num_frames)
    return frames, data.height // cost.spatial_factor, data.width // cost.spatial_factor


def lora_parameters(config: DiTConfig, lora: LoRARecipe) -> int:
    """Numbers that adapters of a network's layers hold."""
    widths = {name: n_in + n_out for name, n_in, n_out in _linear_layers(config)}
    names = {name for each in adapted(widths, lora).values() for name in each}
    return lora.rank * sum(widths[name] for name in names) * config.num_blocks


def _linear_layers(config: DiTConfig) -> Iterator[tuple[str, int, int]]:
    """Name, inputs and outputs of the linear layers of a block."""
    width, text = config.model_channels, config.crossattn_emb_channels
    hidden = int(width * config.mlp_ratio)
    names = _ATTENTION[isinstance(config, MinimalDiTConfig)]
    if isinstance(config, MinimalDiTConfig):
        self_attn, cross_attn, mlp = "self_attn", "cross_attn", "mlp"
        modulations = tuple(f"adaln_modulation_{part}" for part in (self_attn, cross_attn, mlp))
    else:
        self_attn, cross_attn, mlp = "blocks.0.block.attn", "blocks.1.block.attn", "blocks.2.block"
        modulations = tuple(f"blocks.{part}.adaLN_modulation" for part in range(3))
    for attn, context in ((self_attn, width), (cross_attn, text)):
        for name, n_in in zip(names, (width, context, context, width), strict=True):
            yield f"{attn}.{name}", n_in, width
    yield f"{mlp}.layer1", width, hidden
    yield f"{mlp}.layer2", hidden, width
    for name in modulations:
        if config.use_adaln_lora:
            yield f"{name}.1", width, config.adaln_lora_dim
            yield f"{name}.2", config.adaln_lora_dim, 3 * width
        else:
            yield f"{name}.1", width, 3 * width


def _share(config: DiTConfig, number: int, layout: TrainingLayout) -> float:
    """How many of a network's parameters a rank has."""
    total = cost_of(config).parameters
    cut = config.num_blocks * sum(
        n_in * n_out for name, n_in, n_out in _linear_layers(config) if "odulation" not in name
    )
    of_layers = cut / layout.tp + (total - cut)
    return number / total * of_layers / layout.fsdp


def _gathered(recipe: Recipe, workload: Workload, layout: TrainingLayout, num_bytes: int) -> dict[str, float]:
    """Parameters in one piece while they are used, and gradients on their way to their shards."""
    most, gradients, root = 0.0, 0.0, 0.0
    for config in (workload.trained, *workload.frozen):
        cost = cost_of(config)
        unit = cost.block_parameters / layout.tp
        if recipe.parallel.activation_checkpointing == "sub-block" and not isinstance(config, MinimalDiTConfig):
            unit = max(_part_parameters(config)) / layout.tp
        most = max(most, unit)
        root += cost.parameters - config.num_blocks * cost.block_parameters
    if recipe.lora is None:
        gradients = (num_bytes + 4.0) * most
    return {
        "gathered parameters": num_bytes * (_PREFETCHED * most + root),
        **({"gradients in one piece": gradients} if gradients else {}),
    }


def _part_parameters(config: DiTConfig) -> tuple[float, float, float]:
    """Of the parts of a block."""
    layers = {name: n_in * n_out for name, n_in, n_out in _linear_layers(config)}
    first, second, third = (
        sum(number for name, number in layers.items() if name.startswith(f"blocks.{part}.")) for part in range(3)
    )
    return first, second, third


def _remedies(recipe: Recipe, workload: Workload, world_size: int, precision: str, device_bytes: float) -> list[Remedy]:
    """Of each kind of change the least that makes a recipe fit."""
    found = []
    for candidates in _changes(recipe, workload, world_size):
        for change, other, ranks in candidates:
            memory = memory_of(other, workload, ranks, precision=precision)
            if memory.fits(device_bytes):
                found.append(Remedy(change, memory.peak_bytes))
                break
    return found


def _changes(recipe: Recipe, workload: Workload, world_size: int) -> Iterator[list[tuple[str, Recipe, int]]]:
    """Kinds of changes, each from the smallest to the largest: what to write, the changed recipe, ranks."""
    parallel, data = recipe.parallel, recipe.data
    heads = [config.num_heads for config in (workload.trained, *workload.frozen)]

    def changed(**overrides: Any) -> tuple[str, Recipe, int]:
        """Fields as `part_field=value`."""
        new, words = recipe, []
        for name, value in overrides.items():
            part, _, field = name.partition("__")
            if getattr(getattr(new, part), field) != value:
                new = new.model_copy(update={part: getattr(new, part).model_copy(update={field: value})})
                words.append(f"{part}.{field}={str(value).lower()}")
        return " ".join(words), new, world_size

    sizes = [
        cp
        for cp in range(parallel.cp, world_size // parallel.tp + 1)
        if world_size % (cp * parallel.tp) == 0 and not any(number % (cp * parallel.tp) for number in heads)
    ]
    own = parallel.activation_checkpointing
    yield [changed(parallel__cp=cp) for cp in sizes if cp > parallel.cp]
    yield [
        changed(parallel__cp=cp, parallel__activation_checkpointing=within)
        for cp in sizes
        for within in ("sub-block", "block")
        if within != own
    ]
    yield [changed(data__batch_size=n) for n in range(data.batch_size - 1, 0, -1)]
    yield [changed(data__height=height, data__width=width) for height, width in _smaller(data.height, data.width)]
    if recipe.ema.enabled:
        yield [changed(ema__enabled=False)]
    if recipe.lora is None:
        adapters = LoRARecipe()
        yield [(f"lora.rank={adapters.rank}", recipe.model_copy(update={"lora": adapters}), world_size)]
    yield [(f"{world_size * n} ranks", recipe, world_size * n) for n in (2, 4, 8)]


def _smaller(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Sizes of nearly the same shape, in steps of 16 pixels."""
    for sixteenths in range(15, 3, -1):
        size = tuple(side * sixteenths // 256 * 16 for side in (height, width))
        if min(size) >= 16:
            yield size[0], size[1]


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
