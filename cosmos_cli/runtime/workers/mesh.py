"""The groups of processes that a layout asks for, and what two groups compute in halves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from cosmos_cli.runtime.workers.layout import Layout

Axis = Literal["dp", "cfg", "cp"]


def make_mesh(layout: Layout, device: torch.device) -> DeviceMesh:
    """The mesh of all processes, with the axes "dp", "cfg" and "cp"; every process must call this.

    Neighbours share the tokens of a video, for they have the most to tell each other. Processes that have not met
    yet meet here, by the environment that torch elastic sets: over NCCL on GPUs, over gloo on CPUs.

    Args:
        device: this process's own, a GPU with its number.
    Raises:
        ValueError: the layout is for another number of processes.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    if dist.get_world_size() != layout.world_size:
        raise ValueError(f"{layout} is for {layout.world_size} processes, and there are {dist.get_world_size()}")
    return init_device_mesh(device.type, astuple(layout), mesh_dim_names=("dp", "cfg", "cp"))


def axis_group(mesh: DeviceMesh, axis: Axis) -> dist.ProcessGroup | None:
    """The processes that differ from this one along one axis alone; None if there are no others."""
    group = mesh.get_group(axis)
    return group if group.size() > 1 else None


def in_halves(
    first: Callable[[], Tensor], second: Callable[[], Tensor], group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Two tensors of the same shape and dtype: one process computes both, each of two computes one and gets the other.

    Args:
        first, second: compute them. `first` runs on the first process of the group.
        group: of two processes; None for one.
    Raises:
        ValueError: the group is not of two.
    """
    if group is None:
        return first(), second()
    if group.size() != 2:
        raise ValueError(f"two halves for {group.size()} processes")
    own = (first, second)[group.rank()]().contiguous()
    both = torch.empty_like(own), torch.empty_like(own)
    dist.all_gather(list(both), own, group=group)
    return both
