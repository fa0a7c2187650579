"""Filling networks with the weights of a checkpoint: all of them, exactly, without a second copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cosmos_cli import output
from cosmos_cli.checkpoints.keys import Naming, compare_keys, list_names, printable
from cosmos_cli.checkpoints.readers import Checkpoint, open_checkpoint
from cosmos_cli.errors import CheckpointError, Problem

__all__ = ["check_network", "load_network"]

M = TypeVar("M", bound=nn.Module)

# plain roundings of weights; where they want a scale, that has a key of its own, which no network here knows
_EIGHT_BITS = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
_FLOATS = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16}) | _EIGHT_BITS
_WHOLE = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})

_NUM_NAMED = 3
"""Keys that a notice names."""


def load_network(
    build: Callable[[], M],
    checkpoint: Checkpoint | str | Path,
    *,
    naming: Naming = Naming(),
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> M:
    """Build a network and fill it with a checkpoint that fits it exactly.

    Memory: one copy of the weights. On the CPU in the stored dtype not even that: parameters are views of the file,
    read when they are first used (see `Checkpoint`). When they are converted, the file's pages count on top, as cache
    that the system takes back when memory is short.

    Args:
        build: makes the network; called under the meta device, so it must not compute with its parameters.
        checkpoint: opened, or a path for `open_checkpoint`.
        naming: how the file names the network's weights; by default by the network's own names. Keys outside of the
            network are left alone, with a notice unless they are known.
        dtype: convert floating-point tensors to it; None keeps the stored one, but for 8-bit floats, with which nothing
            computes: they become bfloat16, which holds them exactly.
        device: where the weights go.
    Returns:
        The network in eval mode, none of its parameters requiring gradients.
    Raises:
        CheckpointError: keys are missing, unexpected inside of the network, misshapen, or of another kind of number
            (all reported together), or the file is unusable.
        ValueError: the network has non-persistent buffers, which no checkpoint can fill.
    """
    if not isinstance(checkpoint, Checkpoint):
        with open_checkpoint(checkpoint, naming.wrappers) as opened:
            return load_network(build, opened, naming=naming, dtype=dtype, device=device)

    network, key_of = _matched(build, checkpoint, naming)
    network.requires_grad_(False)
    network.eval()
    # One tensor at a time: each source is released before the next is read.
    weights = {name: _convert(checkpoint.tensor(key), dtype, device) for name, key in key_of.items()}
    network.load_state_dict(weights, assign=True)

    unfilled = [name for name, tensor in chain(network.named_parameters(), network.named_buffers()) if tensor.is_meta]
    if unfilled:
        raise ValueError(
            f"{type(network).__name__} has buffers that no checkpoint can fill, because they are not persistent: "
            f"{', '.join(unfilled)}. Compute tables outside of the network."
        )
    return network


def check_network(build: Callable[[], nn.Module], checkpoint: Checkpoint | str | Path, *, naming: Naming) -> None:
    """Whether a checkpoint fits a network, without reading a weight. Arguments and errors as for `load_network`."""
    if not isinstance(checkpoint, Checkpoint):
        with open_checkpoint(checkpoint, naming.wrappers) as opened:
            return check_network(build, opened, naming=naming)
    _matched(build, checkpoint, naming)
    return None


def _convert(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str) -> Tensor:
    if tensor.dtype in _EIGHT_BITS:
        return tensor.to(device, dtype or torch.bfloat16)
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


def mistyped_in(checkpoint: Checkpoint, key: str, want: torch.dtype) -> str | None:
    """What is wrong with the type of the numbers under a key, for what should be of the kind of `want`."""
    found = checkpoint.dtype(key)
    if _kind(found) == _kind(want):
        return None
    return f"{key}: {_name(found)}, should be {_kind(want)}"


def _kind(dtype: torch.dtype) -> str:
    """Kind of number, in words. Of one kind is what can be converted without another meaning."""
    if dtype in _FLOATS:
        return "floats"
    if dtype in _WHOLE:
        return "whole numbers"
    return f"of type {_name(dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _matched(build: Callable[[], M], checkpoint: Checkpoint, naming: Naming) -> tuple[M, Mapping[str, str]]:
    """The network on the meta device, and the checkpoint's key for each of its parameters and buffers."""
    with torch.device("meta"):
        network = build()
    return network, _match_keys(network, checkpoint, naming)


def _match_keys(network: nn.Module, checkpoint: Checkpoint, naming: Naming) -> Mapping[str, str]:
    """The checkpoint's key for each parameter and buffer of the network.

    Raises:
        CheckpointError: they do not correspond one to one, with equal shapes.
    """
    own = network.state_dict()
    expected = {name: tensor.shape for name, tensor in own.items()}
    match = naming.match(checkpoint, expected, checkpoint.wrapper)
    key_of, repeated = match.key_of, [" and ".join(pair) for pair in match.repeated]
    if not key_of:
        raise _nothing_wanted(checkpoint, naming)
    report = compare_keys(expected, {name: checkpoint.shape(key) for name, key in key_of.items()})
    mistyped = [
        text for name in own.keys() & key_of.keys() if (text := mistyped_in(checkpoint, key_of[name], own[name].dtype))
    ]
    if report.matches and not repeated and not mistyped:
        notice_outside(checkpoint.path, match.outside, type(network).__name__)
        return key_of

    title = f"{checkpoint.path.name} does not fit {type(network).__name__}."
    fix = "Check that file and model variant belong together; if they do, download the file again."
    if report.is_other_network:
        title = (
            f"{checkpoint.path.name} belongs to another network: {len(report.missing)} of the {report.num_expected} "
            f"tensors of {type(network).__name__} are not in it."
        )
        fix = "Give the checkpoint of this model."
    if any(".lora_A." in key for key in checkpoint):
        fix = "It holds a LoRA: load the model that it was trained on, and merge the file into that (--lora-path)."
    others = report.problems()
    if mistyped:
        others.append(list_names("of another type", sorted(mistyped)))
    if repeated:
        others.append(Problem(f"{len(repeated)} given twice: {'; '.join(repeated[:8])}"))
    raise CheckpointError(title, where=str(checkpoint.path), fix=fix, others=others)


def notice_outside(path: Path, keys: Sequence[str], network: str) -> None:
    """Say which keys of a file are left alone, if there are any."""
    if keys:
        rest = f" and {len(keys) - _NUM_NAMED} more" if len(keys) > _NUM_NAMED else ""
        output.notice(
            f"{path.name}: keys outside of {network} are ignored, {len(keys)} of them: "
            f"{printable(', '.join(keys[:_NUM_NAMED]))}{rest}"
        )


def _nothing_wanted(checkpoint: Checkpoint, naming: Naming) -> CheckpointError:
    counts = Counter(f"{key.partition('.')[0]}.*" if "." in key else key for key in checkpoint)
    groups = ", ".join(f"{count} {printable(name)}" for name, count in counts.most_common(8))
    prefixes, _ = naming.prefixes_in(checkpoint.wrapper)
    wanted = f"named {' or '.join(f'{prefix}*' for prefix in prefixes)}" if all(prefixes) else "for this network"
    return CheckpointError(
        f"{checkpoint.path.name} holds no weights {wanted}. It holds: {groups}.",
        where=str(checkpoint.path),
        fix="Give a file that has them, or ask for the weights that it holds.",
    )
