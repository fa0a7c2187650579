"""Filling networks with the weights of a checkpoint: all of them, exactly, without a second copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.keys import NOT_LEARNT, KeyFilter, KeyReport, compare_keys, wanted_keys
from cosmos_cli.checkpoints.readers import Checkpoint, open_checkpoint
from cosmos_cli.errors import CheckpointError, Problem

__all__ = ["NOT_LEARNT", "KeyReport", "compare_keys", "load_network", "module_bytes", "wanted_keys"]

M = TypeVar("M", bound=nn.Module)


def keep_name(key: str) -> str:
    """For checkpoints whose keys are the network's own."""
    return key


def load_network(
    build: Callable[[], M],
    checkpoint: Checkpoint | str | Path,
    *,
    rename: Callable[[str], str | None] = keep_name,
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
        rename: the network's name for a key of the file; None if the key is known and not wanted.
        dtype: convert floating-point tensors to it; None keeps the stored one.
        device: where the weights go.
    Returns:
        The network in eval mode, none of its parameters requiring gradients.
    Raises:
        CheckpointError: keys are missing, unexpected or misshapen (all reported together), or the file is unusable.
        ValueError: the network has non-persistent buffers, which no checkpoint can fill.
    """
    if not isinstance(checkpoint, Checkpoint):
        with open_checkpoint(checkpoint) as opened:
            return load_network(build, opened, rename=rename, dtype=dtype, device=device)

    with torch.device("meta"):
        network = build()
    network.requires_grad_(False)
    network.eval()

    key_of = _match_keys(network, checkpoint, rename)
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


def module_bytes(network: nn.Module) -> int:
    """Bytes of the network's parameters and buffers; shared ones count once."""
    return sum(tensor.nbytes for tensor in chain(network.parameters(), network.buffers()))


def _convert(tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str) -> Tensor:
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


def _match_keys(network: nn.Module, checkpoint: Checkpoint, rename: Callable[[str], str | None]) -> dict[str, str]:
    """The checkpoint's key for each parameter and buffer of the network.

    Raises:
        CheckpointError: they do not correspond one to one, with equal shapes.
    """
    key_of: dict[str, str] = {}
    repeated: list[str] = []
    for key in checkpoint:
        name = rename(key)
        if name is None:
            continue
        if name in key_of:
            repeated.append(f"{key_of[name]} and {key}")
        key_of.setdefault(name, key)

    if not key_of:
        raise _nothing_wanted(checkpoint, rename)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    report = compare_keys(expected, {name: checkpoint.shape(key) for name, key in key_of.items()})
    if report.matches and not repeated:
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
    if repeated:
        others.append(Problem(f"{len(repeated)} given twice: {'; '.join(repeated[:8])}"))
    raise CheckpointError(title, where=str(checkpoint.path), fix=fix, others=others)


def _nothing_wanted(checkpoint: Checkpoint, rename: Callable[[str], str | None]) -> CheckpointError:
    counts = Counter(f"{key.partition('.')[0]}.*" if "." in key else key for key in checkpoint)
    groups = ", ".join(f"{count} {name}" for name, count in counts.most_common(8))
    wanted = f"named {rename}" if isinstance(rename, KeyFilter) else "for this network"
    return CheckpointError(
        f"{checkpoint.path.name} holds no weights {wanted}. It holds: {groups}.",
        where=str(checkpoint.path),
        fix="Give a file that has them, or ask for the weights that it holds.",
    )
