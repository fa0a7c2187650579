"""Parts of a training step against the originals: schedules, averages, clipping, AdamW, and the loss of EDM."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.diffusion import edm
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT, stored_constants
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.ema import EMA, beta, exponent
from cosmos_cli.training.gradients import clear_non_finite, total_norm
from cosmos_cli.training.objectives import LogVariance, Predict, edm_loss
from cosmos_cli.training.optimizer import adamw, clip, rate_factor
from cosmos_cli.training.recipe import EMARecipe, LossRecipe, OptimizerRecipe, ScheduleRecipe
from tests.parity.adapters.base import Adapter, Outputs, network_from
from tests.parity.adapters.predict1 import general_dit_options
from tests.parity.golden import Comparison, Golden, compare

SHAPES = {"lambdalinear": "linear", "lambdacosine": "cosine"}


def parts(golden: Golden) -> Outputs:
    return _schedules(golden) | _averages(golden) | _clipping(golden) | _adam(golden)


def _schedules(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for name, kind in SHAPES.items():
        for index, options in enumerate(golden.config[name]):
            schedule = ScheduleRecipe(kind=kind, **options)
            steps = [step for step in golden.inputs["iterations"].tolist() if step <= sum(schedule.cycle_lengths)]
            factors = [rate_factor(schedule, step) for step in steps]
            ours[f"{name}.{index}.factor_f64"] = torch.tensor(factors, dtype=torch.float64)
    seen = ScheduleRecipe(**golden.config["lambdalinear"][golden.config["lr_seen_by_step"]["setting"]])
    rates = [
        2**-14.3 * rate_factor(seen, step) for step in range(len(golden.outputs["lambdalinear.0.lr_seen_by_step"]))
    ]
    return ours | {"lambdalinear.0.lr_seen_by_step": torch.tensor(rates)}


def _averages(golden: Golden) -> Outputs:
    given = golden.inputs
    rates, steps = given["ema.s_f64"].tolist(), given["ema.table_iterations"].tolist()
    shifts = given["ema2.iteration_shift"].tolist()

    def betas(rate: float, shift: int) -> list[float]:
        return [beta(EMARecipe(rate=rate, iteration_shift=shift), step) for step in steps]

    tables = {
        "ema.gamma_f64": [exponent(rate) for rate in rates],
        "ema.gamma_of_replica_rate0.1_num3_f64": [exponent(0.1 / 2**n if n < 3 else 0.1) for n in range(6)],
        "ema.beta_f64": [betas(rate, 0) for rate in rates],
        "ema2.beta_f64": [[betas(rate, shift) for shift in shifts] for rate in rates],
    }
    ours: Outputs = {name: torch.tensor(table, dtype=torch.float64) for name, table in tables.items()}
    recipes = {str(number): EMARecipe(rate=rate) for number, rate in enumerate(rates)}
    for name, recipe in (recipes | {"constant": EMARecipe(constant=golden.config["ema_constant_beta"])}).items():
        ours[f"ema.{name}.weights"] = _averaged(recipe, given["ema.weights"])
    return ours


def _averaged(recipe: EMARecipe, weights: Tensor) -> Tensor:
    parameter = nn.Parameter(weights[0].clone())
    average = EMA(recipe, {"weights": parameter})
    rows = []
    for step, row in enumerate(weights[1:]):
        parameter.data.copy_(row)
        average.update(step)
        rows.append(average.averages["weights"].clone())
    return torch.stack(rows)


def _clipping(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for index, options in enumerate(golden.config["grad_clip"]):
        name = "grad_nonfinite_ok" if options["has_nan_inf"] else "grad"
        gradient = golden.inputs[f"grad_clip.{index}.{name}"].clone()
        parameter = nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient
        clear_non_finite([parameter])
        norm = total_norm([parameter])
        ours |= {f"grad_clip.{index}.grad_predict2": gradient.clone(), f"grad_clip.{index}.total_norm": norm}
        clip([parameter], norm, options["max_norm"])
        ours[f"grad_clip.{index}.grad"] = gradient
    return ours


def _adam(golden: Golden) -> Outputs:
    ours: Outputs = {}
    for (index, options), kind in itertools.product(enumerate(golden.config["adam"]), ("f32", "bf16")):
        name = f"adam.{index}.{kind}"
        start = golden.inputs[f"{name}.start"]
        master = nn.Parameter(start.float())
        recipe = OptimizerRecipe(**{field: options[field] for field in ("lr", "weight_decay", "betas", "eps")})
        optimizer = adamw(recipe, {"weights": master})
        rows = []
        for gradient in golden.inputs[f"{name}.grad"]:
            master.grad = gradient.float()
            optimizer.step()
            rows.append(master.detach().clone())
        state: dict[str, Any] = optimizer.state[master]
        ours |= {f"{name}.{moment}": state[moment] for moment in ("exp_avg", "exp_avg_sq")}
        ours[f"{name}.masters"] = torch.stack(rows)
        ours[f"{name}.params"] = torch.stack(rows).to(start.dtype)
    return ours


def judge_part(name: str, ours: Tensor | None, golden: Tensor) -> Comparison:
    """Tables and rates relative to each number, tensors to their largest; weights in bfloat16 are the same."""
    comparison = compare(name, ours, golden, whole_loop=False)
    if comparison.note or ours is None:
        return comparison
    reference = golden.double()
    difference, size = (ours.double() - reference).abs(), reference.abs()
    is_table = name.endswith(("_f64", "lr_seen_by_step"))
    relative = difference / (size if is_table else size.max()).clamp(min=1e-300)
    limit = 0.0 if golden.dtype == torch.bfloat16 else 1e-12 if golden.dtype == torch.float64 else 1e-6
    return Comparison(name, float(difference.max()), float(relative.max()), limit)


def edm_training_loss(golden: Golden) -> Outputs:
    """One view, with and without learnt uncertainty; of given frames those that count and those that are dropped."""
    sigma = golden.inputs["sigma"]
    t2w, v2w = (_dit(golden, kind) for kind in ("t2w", "v2w"))
    t2w_head, v2w_head = (network_from(golden, LogVariance, f"{kind}.logvar.") for kind in ("t2w", "v2w"))
    ours: Outputs = {
        "t2w.weights_per_sigma": edm.loss_weight(sigma),
        "t2w.logvar_pred": t2w_head(edm.scaling(sigma).c_noise),
    }
    seen: list[Tensor] = []

    def predict(net: GeneralDiT, *, drops: bool = False) -> Predict:
        def call(x_BCTHW: Tensor, c_noise_B: Tensor, mask_B1T11: Tensor | None) -> Tensor:
            seen.append(x_BCTHW)
            mask = mask_B1T11
            if mask is not None:
                x_BCTHW, mask = ((1 - mask) * x_BCTHW, torch.zeros_like(mask)) if drops else (x_BCTHW, mask)
                mask = mask.expand(-1, -1, -1, *x_BCTHW.shape[3:])
            given = golden.inputs
            output: Tensor = net(
                x_BCTHW,
                c_noise_B,
                given["crossattn_emb"],
                condition_mask_B1THW=mask,
                padding_mask_B1HW=given["padding_mask"],
                fps=given["fps"],
            )
            return output

        return call

    for name, head in (("t2w.plain", None), ("t2w.logvar", t2w_head)):
        ours |= _losses(name, golden, predict(t2w), head, given=None)
        ours["t2w.x0_pred"] = ours.pop(f"{name}.x0_pred")
    ours["t2w.xt"] = seen[0] / edm.scaling(sigma.view(-1, 1, 1, 1, 1)).c_in
    for name in ("cond", "cond_all_loss", "dropped"):
        covers, closure = name == "cond_all_loss", predict(v2w, drops=name == "dropped")
        ours |= _losses(f"v2w.{name}", golden, closure, v2w_head, given=1, covers_given=covers)
    return {name: tensor.detach() for name, tensor in ours.items() if name in golden.outputs}


def _dit(golden: Golden, kind: str) -> GeneralDiT:
    config = GeneralDiTConfig(
        **general_dit_options(golden.config[f"net_{kind}"], condition_mask=kind == "v2w"),
        legacy_patch_emb="/training/" in golden.source,
    )
    return network_from(golden, lambda: GeneralDiT(config), f"{kind}.net.", tuple(stored_constants(config)))


def _losses(
    name: str,
    golden: Golden,
    predict: Predict,
    head: nn.Module | None,
    *,
    given: int | None,
    covers_given: bool = False,
) -> Outputs:
    inputs = golden.inputs
    sigma = inputs["sigma"]
    draws = Draws(sigma, inputs["epsilon"], torch.ones_like(sigma))
    if given is not None:
        count = torch.full(sigma.shape, given)
        draws = Draws(
            sigma, inputs["epsilon"], draws.text_keep_B, count, inputs["augment_sigma"], inputs["augment_noise"]
        )
    ours: Outputs = {}
    for reduce in ("sum", "mean"):
        recipe = LossRecipe(reduce=reduce, covers_given=covers_given)
        loss = edm_loss(predict, inputs["x0"], draws, recipe, log_variance=head)
        ours |= {f"{name}.loss_{reduce}": loss.total, f"{name}.x0_pred": loss.x0_BCTHW}
        ours |= {f"{name}.edm": loss.parts["edm_loss"], f"{name}.mse": loss.parts["mse_loss"]}
    return ours


ADAPTERS = {
    "predict1/edm_training_loss": Adapter(edm_training_loss, sources=("compute_loss_with_epsilon_and_sigma",)),
    "training/schedules_and_ema": Adapter(parts, judge=judge_part),
}
