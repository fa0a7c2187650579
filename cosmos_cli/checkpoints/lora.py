"""Merging a LoRA into a network: each layer's W becomes W + scale * B @ A, and the adapter costs nothing more.

It reads what peft saves, single files of peft's names under any prefix, and training checkpoints that hold the whole
network with the LoRA inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmos_cli import output
from cosmos_cli.checkpoints.adapter_config import ADAPTER_CONFIG, LoraStrength, read_strength
from cosmos_cli.checkpoints.keys import AVERAGED, NOT_LEARNT, PUBLISHED, any_of, list_names, without_shells
from cosmos_cli.checkpoints.loading import mistyped_in, notice_outside
from cosmos_cli.checkpoints.readers import Checkpoint, open_checkpoint
from cosmos_cli.errors import CheckpointError, Problem

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

MAX_SCALE = 1e4
"""Of a LoRA, alpha by rank: those in use reach from 0.1 to 10, and floats of 16 bits overflow soon beyond."""

_LORA_KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<half>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_NOT_LEARNT = any_of(f"*{pattern}" for pattern in NOT_LEARNT)
_BESIDE = any_of(PUBLISHED.beside)


@torch.no_grad()
def merge_lora(network: nn.Module, path: str | Path, *, alpha: float | None = None, ema: bool = False) -> int:
    """Merge a LoRA into the weights of a loaded network.

    Everything in the file is checked against the network before any weight changes. The sum is taken in float32 and
    rounded once, to the dtype of the weight. Other weights in the file replace those of the network: layers that were
    trained whole beside the LoRA, or, in a checkpoint of a training, the network that the LoRA was trained on.

    Args:
        path: a folder of peft (`adapter_config.json` and the weights), or anything for `open_checkpoint`. Names may
            have any prefix in front of the network's, such as `base_model.model.` or `net.`.
        alpha: strength, in place of what `adapter_config.json` says. Where nothing says it, it is the rank.
        ema: take the averaged set of a training checkpoint instead of the other, see `Naming.averaged`.
    Returns:
        The number of layers with a LoRA.
    Raises:
        CheckpointError: the file holds no LoRA or is unusable, or something in it fits nothing in the network.
    """
    file, config = _files(Path(path))
    strength = read_strength(config) if config else LoraStrength()
    if alpha is not None:
        strength = LoraStrength(alpha, use_rslora=strength.use_rslora)
    weights = dict(network.named_parameters(remove_duplicate=False))
    naming = PUBLISHED.averaged() if ema else PUBLISHED
    with open_checkpoint(file, naming.wrappers) as checkpoint:
        found = _match(weights, checkpoint, ema)
        _check(found, weights, checkpoint, strength, type(network).__name__)
        notice_outside(checkpoint.path, found.outside, type(network).__name__)
        if strength.alpha is None:
            ranks = sorted({checkpoint.shape(halves["A"])[0] for halves in found.layers.values()})
            output.notice(f"{file.name} does not say its LoRA's alpha: taken as its rank, {_joined(ranks)}")
        for name in found.layers.keys() | found.whole.keys():
            _set(weights[name], name, found, checkpoint, strength)
    return len(found.layers)


@dataclass
class _Found:
    """Keys of the file, by the weight of the network that they belong to.

    layers: the keys of "A" and "B". whole: keys of weights themselves. others: keys that belong to nothing.
    outside: keys of weights whose prefix is none of the network's. repeated: pairs of keys for the same thing.
    adapters: names of adapters in the keys.
    """

    layers: dict[str, dict[str, str]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    adapters: set[str] = field(default_factory=set)


def _files(path: Path) -> tuple[Path, Path | None]:
    """What holds the weights, and the configuration that belongs to it, if there is one."""
    if not (path / ADAPTER_CONFIG).is_file():
        config = path.parent / ADAPTER_CONFIG
        return path, config if path.name in ADAPTER_WEIGHTS and config.is_file() else None
    weights = [path / name for name in ADAPTER_WEIGHTS if (path / name).is_file()]
    if not weights:
        raise CheckpointError(
            f"The folder has {ADAPTER_CONFIG}, but not {ADAPTER_WEIGHTS[0]}.",
            where=str(path),
            fix="Give the whole folder that peft's save_pretrained wrote.",
        )
    return weights[0], path / ADAPTER_CONFIG


def _match(weights: Mapping[str, Tensor], checkpoint: Checkpoint, ema: bool) -> _Found:
    found = _Found()
    prefixes: set[str] = set()
    homeless: dict[str, str] = {}
    strip = without_shells(weights, checkpoint.keys())
    for key in checkpoint:
        bare = strip(key)
        # in the wrapper of the averaged set there is no other
        is_meant = checkpoint.wrapper == AVERAGED or ema == any(part.endswith("_ema") for part in bare.split("."))
        if _NOT_LEARNT.match(bare) or _BESIDE.match(bare) or not is_meant:
            continue
        lora = _LORA_KEY.fullmatch(bare)
        # peft calls a layer that it wraps `base_layer`
        full = f"{lora['layer']}.weight" if lora else bare.replace(".base_layer.", ".")
        name = _own_name(full, weights)
        if name is None:
            homeless[key] = bare
            continue
        prefixes.add(full.removesuffix(name))
        keys, slot = (found.layers.setdefault(name, {}), lora["half"]) if lora else (found.whole, name)
        if slot in keys:
            found.repeated.append(f"{keys[slot]} and {key}")
        keys[slot] = key
        if lora and lora["adapter"]:
            found.adapters.add(lora["adapter"])
    for key, bare in homeless.items():
        is_inside = ".lora_" in bare or not prefixes or bare.startswith(tuple(prefixes))
        (found.others if is_inside else found.outside).append(key)
    return found


def _own_name(name: str, weights: Mapping[str, Tensor]) -> str | None:
    """The network's name for a weight with any prefix in front, None if it has no such weight."""
    while name not in weights:
        _, dot, name = name.partition(".")
        if not dot:
            return None
    return name


def _check(
    found: _Found, weights: Mapping[str, Tensor], checkpoint: Checkpoint, strength: LoraStrength, network: str
) -> None:
    """Raises CheckpointError unless every key of the file has its place, in its shape, and there is a LoRA."""
    problems: list[Problem] = []
    if found.others:
        problems.append(list_names(f"belong to nothing in {network}", found.others))
    if found.repeated:
        problems.append(list_names("given twice", found.repeated))
    if len(found.adapters) > 1:
        problems.append(Problem(f"It holds more than one adapter: {_joined(sorted(found.adapters))}."))
    halves_alone = [key for halves in found.layers.values() if len(halves) == 1 for key in halves.values()]
    if halves_alone:
        problems.append(list_names("without the other half of the pair", halves_alone))
    misshapen = [text for name in weights if (text := _misshapen(name, found, weights[name].shape, checkpoint))]
    if misshapen:
        problems.append(list_names("misshapen", misshapen))
    keys = [*found.whole.values(), *(key for halves in found.layers.values() for key in halves.values())]
    mistyped = [text for key in keys if (text := mistyped_in(checkpoint, key, torch.float32))]
    if mistyped:
        problems.append(list_names("of another type", mistyped))
    weak = sorted({text for name in found.layers if (text := _bad_scale(name, found, checkpoint, strength))})
    if weak:
        problems.append(list_names("layers whose LoRA has no usable strength", weak))
    layers = [name.removesuffix(".weight") for name in found.layers]
    unused = [ending for ending in strength.alpha_of if not any(f".{layer}".endswith(f".{ending}") for layer in layers)]
    if unused and layers:
        problems.append(list_names(f"alphas in {ADAPTER_CONFIG} for layers that have no LoRA", unused))
    if not found.layers:
        raise CheckpointError(
            f"{checkpoint.path.name} holds no LoRA for {network}: no pairs of lora_A.weight and lora_B.weight with the "
            "names of its layers.",
            where=str(checkpoint.path),
            fix="Give the LoRA of this model.",
            others=problems,
        )
    if problems:
        raise CheckpointError(
            f"{checkpoint.path.name} does not fit {network}.",
            where=str(checkpoint.path),
            fix="Check that LoRA and model variant belong together; nothing was merged.",
            others=problems,
        )


def _misshapen(name: str, found: _Found, want: torch.Size, checkpoint: Checkpoint) -> str | None:
    """What is wrong with the shapes that the file has for a weight."""
    if name in found.whole and checkpoint.shape(found.whole[name]) != want:
        return f"{found.whole[name]}: {list(checkpoint.shape(found.whole[name]))}, should be {list(want)}"
    halves = found.layers.get(name, {})
    if len(halves) == 2:
        a, b = checkpoint.shape(halves["A"]), checkpoint.shape(halves["B"])
        if len(a) != 2 or len(b) != 2 or not 0 < a[0] == b[1] or (b[0], a[1]) != want:
            return f"{halves['A']}: {list(a)} and B {list(b)}, for a weight of {list(want)}"
    return None


def _bad_scale(name: str, found: _Found, checkpoint: Checkpoint, strength: LoraStrength) -> str | None:
    """What is wrong with the strength of the LoRA of a layer, which float32 must hold."""
    halves = found.layers[name]
    if "A" not in halves or not (shape := checkpoint.shape(halves["A"])) or not shape[0]:
        return None  # which is said elsewhere
    layer = name.removesuffix(".weight")
    scale = strength.scale(layer, shape[0])
    return None if abs(scale) <= MAX_SCALE else f"{layer}: {scale:g}, and at most {MAX_SCALE:g} can be meant"


def _set(weight: Tensor, name: str, found: _Found, checkpoint: Checkpoint, strength: LoraStrength) -> None:
    def read(key: str) -> Tensor:
        return checkpoint.tensor(key).to(weight.device, torch.float32)

    merged = read(found.whole[name]) if name in found.whole else weight.detach().float()
    if name in found.layers:
        a, b = read(found.layers[name]["A"]), read(found.layers[name]["B"])
        merged = torch.addmm(merged, b, a, alpha=strength.scale(name.removesuffix(".weight"), len(a)))
    weight.copy_(merged)


def _joined(items: list[int] | list[str]) -> str:
    return ", ".join(map(str, items))
