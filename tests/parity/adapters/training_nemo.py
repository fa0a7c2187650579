"""NeMo's training step: its losses, and the true gradients of them.

What its own backward leaves is not reproduced, for it is not the gradient of the loss. Of that is compared what must
hold if the rest is true:
- `grad_nemo_tp2.rank<r>`: the parts of two ranks add up to twice the true gradient. Ours is that less the other rank's.
- `grad_offdiagonal_norm`, `grad_norm_true_with_offdiagonal`: of entries of NeMo's modulation of a whole block, found
  by a network of three times the rank.
- `grad_norm_nemo_tp1`: the norm of our gradients, with the five tensors exchanged that `grad_nemo_tp1` has.
- `grad_nemo_tp1` itself is only shown beside the true gradient, without a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.diffusion import edm
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.edm_task import EDMTask
from cosmos_cli.training.recipe import (
    Data,
    EMARecipe,
    Job,
    LossRecipe,
    Model,
    OptimizerRecipe,
    Recipe,
    TrainerRecipe,
)
from cosmos_cli.training.task import Batch, learning
from cosmos_cli.training.trainer import Trainer
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.training import ALONE, watched
from tests.parity.golden import Comparison, Golden, compare

LOSS = LossRecipe(log_variance=False, frees_noisier=True)
ROUNDED = LOSS.model_copy(update={"dtype": "bfloat16", "error_dtype": "float32"})

_PARTS = 3
"""Sub-blocks of a block, whose modulations NeMo has in one."""


def nemo(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for kind in ("t2w", "v2w"):
        ours |= {f"{kind}.{name}": tensor for name, tensor in _kind(golden, kind).items()}
    return ours


def _kind(golden: Golden, kind: str) -> Outputs:
    dit = network(golden, kind)
    trainer = _trainer(LOSS, EDMTask(LOSS, learning(dit), None))
    gradients: dict[str, Tensor] = {}

    def keep(*_: Any) -> None:
        for name, parameter in trainer.parameters.items():
            if parameter.grad is not None:
                gradients.setdefault(name, parameter.grad.clone())

    trainer.optimizer.register_step_pre_hook(keep)
    with watched(dit) as calls:
        steps = [trainer.step([inputs]) for inputs in rows(golden, kind)]
    batch, draws = next(rows(golden, kind))
    given, output = calls[0]
    ours: Outputs = {
        "loss": torch.tensor([step.loss for step in steps]),
        "mse_loss": torch.tensor([step.parts["mse_loss"] for step in steps]),
        "weights_per_sigma": edm.loss_weight(golden.inputs[f"{kind}.sigma"]),
        "step0.net_input": given[0],
        "step0.net_timesteps": given[1],
        "step0.net_output": output,
        "step0.x0_pred": trainer.task.loss(batch, draws).x0_BCTHW,
        "step0.grad_norm_true": torch.tensor(steps[0].gradient_norm),
        **{f"step0.grad_true.{name}": gradient for name, gradient in gradients.items()},
        **_of_nemo(golden, kind, gradients),
        "bf16.loss": _rounded(golden, kind),
    }
    return {name: tensor.detach() for name, tensor in ours.items()}


def network(golden: Golden, kind: str) -> GeneralDiT:
    """The network of a file, with the norms of NeMo."""
    net: GeneralDiT = network_from(golden, lambda: GeneralDiT(config_of(golden.config["net"], kind)), f"{kind}.net.")
    return net


def config_of(sizes: Mapping[str, Any], kind: str, rank: int | None = None) -> GeneralDiTConfig:
    """The sizes that a file names."""
    return GeneralDiTConfig(
        model_channels=sizes["hidden_size"],
        num_blocks=sizes["num_layers"],
        num_heads=sizes["num_heads"],
        crossattn_emb_channels=sizes["crossattn_emb_size"],
        adaln_lora_dim=rank or sizes["adaln_lora_dim"],
        rope_t_extrapolation_ratio=sizes["rope_ratio_t"],
        condition_mask=kind == "v2w",
        block_norm_eps=sizes["block_layernorm_eps"],
    )


def rows(golden: Golden, kind: str) -> Iterator[tuple[Batch, Draws]]:
    """Batch and draws of every row; all belong to the same weights."""
    given = {key.removeprefix(f"{kind}."): value for key, value in golden.inputs.items() if key.startswith(f"{kind}.")}
    augment = torch.full((1,), golden.config["sigma_a"])
    for row in range(len(given["sigma"])):
        batch = Batch(
            golden.config["sigma_data"] * given["latents"][row],
            given["t5"][row],
            float(given["fps"][row]),
            given["padding_mask"][row],
        )
        draws = Draws(given["sigma"][row, None], given["epsilon"][row], given["text_keep"][row, None])
        if kind == "v2w":
            number, noise = given["num_condition_t"][row, None], given["augment_noise"][row]
            draws = Draws(draws.sigma_B, draws.noise_BCTHW, draws.text_keep_B, number, augment, noise)
        yield batch, draws


def _trainer(loss: LossRecipe, task: EDMTask) -> Trainer:
    """Steps without a length: the weights stay."""
    recipe = Recipe(
        task="",
        job=Job(group="golden", name="golden"),
        model=Model(size="tiny"),
        data=Data(num_frames=1, height=16, width=16),
        loss=loss,
        optimizer=OptimizerRecipe(lr=0.0, weight_decay=0.0, clip_norm=None),
        ema=EMARecipe(enabled=False),
        trainer=TrainerRecipe(max_iter=10, precision="float32"),
    )
    return Trainer(recipe, task, ALONE)


def _rounded(golden: Golden, kind: str) -> Tensor:
    dit = network(golden, kind).to(torch.bfloat16)
    trainer = _trainer(ROUNDED, EDMTask(ROUNDED, learning(dit), None, dtype=torch.bfloat16))
    return torch.tensor([trainer.step([inputs]).loss for inputs in rows(golden, kind)])


def _of_nemo(golden: Golden, kind: str, true: Mapping[str, Tensor]) -> Outputs:
    """See the module."""
    start = f"{kind}.step0."
    theirs = {key.removeprefix(start): value for key, value in golden.outputs.items() if key.startswith(start)}
    ours: Outputs = {}
    for name in theirs:
        if name.startswith("grad_nemo_tp1."):
            ours[name] = true[name.removeprefix("grad_nemo_tp1.")]
        elif name.startswith("grad_nemo_tp2."):
            _, rank, key = name.split(".", 2)
            other = {"rank0": "rank1", "rank1": "rank0"}[rank]
            ours[name] = 2 * _fused(key, true) - theirs[f"grad_nemo_tp2.{other}.{key}"]
    beyond = _beyond_native(golden, kind)
    square = sum(gradient.square().sum() for gradient in true.values())
    exchanged = {name.removeprefix("grad_nemo_tp1."): gradient for name, gradient in theirs.items() if "_tp1." in name}
    change = sum(gradient.square().sum() - true[name].square().sum() for name, gradient in exchanged.items())
    ours |= {
        "grad_offdiagonal_norm": beyond,
        "grad_norm_true_with_offdiagonal": (square + beyond.square().sum()).sqrt(),
        "grad_norm_nemo_tp1": (square + beyond.square().sum() + change).sqrt(),
    }
    return {f"step0.{name}": tensor for name, tensor in ours.items()}


def _fused(key: str, true: Mapping[str, Tensor]) -> Tensor:
    """A replicated gradient under NeMo's name, out of ours."""
    if key == "affline_norm.weight":
        return true["net.affline_norm.weight"]
    layer = key.split(".")[2]
    return torch.cat([true[f"net.blocks.block{layer}.blocks.{j}.adaLN_modulation.1.weight"] for j in range(_PARTS)])


def _beyond_native(golden: Golden, kind: str) -> Tensor:
    """Norm of the gradient of what only NeMo's modulation has, per layer: a part's output of another's inner width."""
    narrow = network(golden, kind)
    rank = narrow.config.adaln_lora_dim
    wide = GeneralDiT(config_of(golden.config["net"], kind, _PARTS * rank))
    weights = dict(narrow.state_dict())
    places = {}
    for layer in range(narrow.config.num_blocks):
        names = [f"blocks.block{layer}.blocks.{part}.adaLN_modulation" for part in range(_PARTS)]
        inner = torch.cat([weights[f"{name}.1.weight"] for name in names])
        for part, name in enumerate(names):
            own = slice(part * rank, (part + 1) * rank)
            outer = torch.zeros(len(weights[f"{name}.2.weight"]), _PARTS * rank)
            outer[:, own] = weights[f"{name}.2.weight"]
            weights |= {f"{name}.1.weight": inner, f"{name}.2.weight": outer}
            places[layer, f"net.{name}.2.weight"] = own
    head = "final_layer.adaLN_modulation"
    missing = (_PARTS - 1) * rank
    weights[f"{head}.1.weight"] = torch.nn.functional.pad(weights[f"{head}.1.weight"], (0, 0, 0, missing))
    weights[f"{head}.2.weight"] = torch.nn.functional.pad(weights[f"{head}.2.weight"], (0, missing))
    wide.load_state_dict(weights)
    task = EDMTask(LOSS, learning(wide), None)
    task.loss(*next(rows(golden, kind))).total.backward()  # type: ignore[no-untyped-call]
    squares = torch.zeros(narrow.config.num_blocks)
    parameters = dict(task.networks.named_parameters())
    for (layer, name), own in places.items():
        gradient = parameters[name].grad
        assert gradient is not None
        beyond = gradient.clone()
        beyond[:, own] = 0
        squares[layer] += beyond.square().sum()
    return squares.sqrt()


def judge(name: str, ours: Tensor | None, golden: Tensor) -> Comparison:
    """Losses relative to themselves, gradients to their largest entry, as the notes in the file say."""
    comparison = compare(name, ours, golden, whole_loop=False)
    if comparison.note or ours is None:
        return comparison
    reference = golden.double()
    difference = (ours.double() - reference).abs()
    is_gradient = ".grad_" in name
    if ".grad_nemo_tp1." in name:
        relative = difference / torch.maximum(reference.abs().max(), ours.double().abs().max())
        return Comparison(f"{name} (shown only)", float(difference.max()), float(relative.max()), math.inf)
    limit = 0.02 if name.endswith("bf16.loss") else 1e-4 if is_gradient else 1e-5
    scale = reference.abs() if golden.ndim < 2 and not is_gradient else reference.abs().max()
    return Comparison(name, float(difference.max()), float((difference / scale).max()), limit)


ADAPTERS = {"nemo/edm_training_step": Adapter(nemo, judge=judge)}
