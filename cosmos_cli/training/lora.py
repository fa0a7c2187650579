"""Adapters of low rank (LoRA) in place of a network's own training; peft makes them, and no torch is imported here.

The network stays as it is, and `export_adapter` writes what was learnt as peft does: `--lora-path` reads it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cosmos_cli.errors import InputError, Problem
from cosmos_cli.training.recipe import LoRARecipe

if TYPE_CHECKING:
    from torch import nn

_OTHER_SPELLINGS = {
    "q_proj": "to_q.0",
    "k_proj": "to_k.0",
    "v_proj": "to_v.0",
    "output_proj": "to_out.0",
    "mlp.layer1": "block.layer1",
    "mlp.layer2": "block.layer2",
    "to_q": "to_q.0",
    "to_k": "to_k.0",
    "to_v": "to_v.0",
    "to_out": "to_out.0",
}
"""Layers as the recipes of Predict2 and of Predict1 name them, to how networks of the other kind do."""


def check_installed(recipe: LoRARecipe | None) -> None:
    """Raises InputError: the recipe trains adapters, and peft is not installed."""
    if recipe is not None and find_spec("peft") is None:
        raise InputError(
            "a LoRA needs peft, which is not installed.", where="lora", fix="pip install 'cosmos-cli[lora]'"
        )


def adapted(layers: Collection[str], recipe: LoRARecipe) -> Mapping[str, list[str]]:
    """The layers that get an adapter, by the end of their names that `target_modules` means.

    Args:
        layers: names of all linear layers.
    """
    found: dict[str, list[str]] = {}
    for target in recipe.target_modules:
        own = _ending(layers, target)
        other = _OTHER_SPELLINGS.get(target, target)
        found |= {target: own} if own else {other: _ending(layers, other)}
    return found


def adapt(networks: nn.ModuleDict, recipe: LoRARecipe, seed: int) -> LoRARecipe:
    """Put adapters that change nothing yet into `net`, in place; they alone learn from now on.

    The same on all ranks, before anything is sharded.

    Returns:
        The recipe in the network's own spelling, as an export has to say it.
    Raises:
        InputError: `target_modules` names no layer, or peft is not installed.
    """
    check_installed(recipe)
    import torch
    from peft import LoraConfig, inject_adapter_in_model
    from torch.nn import Linear

    net = networks["net"]
    layers = [name for name, module in net.named_modules() if isinstance(module, Linear)]
    found = adapted(layers, recipe)
    _check(found, layers)
    for network in networks.values():
        network.requires_grad_(False)
    names = sorted({name for each in found.values() for name in each})
    config = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=names)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    return recipe.model_copy(update={"target_modules": tuple(found)})


def _ending(layers: Iterable[str], end: str) -> list[str]:
    return [name for name in layers if f".{name}".endswith(f".{end}")]


def _check(found: Mapping[str, list[str]], layers: Collection[str]) -> None:
    """Raises InputError: an end of a name has no layer."""
    ends = sorted({end for name in layers for end in _ends(name)})
    problems = [
        Problem(
            f"The network has no linear layer whose name ends in {target!r}.",
            where="lora.target_modules",
            fix=f"Ends that it has: {', '.join(difflib.get_close_matches(target, ends, cutoff=0.4) or ends)}.",
        )
        for target, names in found.items()
        if not names
    ]
    if not found:
        problems = [Problem("No layer is named.", where="lora.target_modules", fix="Name some, or leave it out.")]
    if problems:
        raise InputError.from_problems(problems)


def _ends(name: str) -> Iterator[str]:
    """Its last part, and its last two, unless these are numbers of layers."""
    *_, parent, last = ["", *name.split(".")]
    if not last.isdecimal():
        yield last
    if parent and not parent.isdecimal():
        yield f"{parent}.{last}"
