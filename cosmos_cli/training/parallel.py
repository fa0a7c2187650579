"""How ranks train together: parameters sharded by FSDP2, tokens by context and layers by tensor parallelism.

All of it stands on one mesh. Gradients come out as one process alone would have them: those of every clip, and those of
every rank's share of a clip's tokens, are averaged over the ranks that share the parameters or have copies of them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from cosmos_cli.models.context_parallel import ParallelNetwork
from cosmos_cli.models.tensor_parallel import cut_layers
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_cli.training.gradients import clear_non_finite, groups, scale_gradients, total_norm
from cosmos_cli.training.layout import TrainingLayout, check_heads, training_layout
from cosmos_cli.training.recipe import ParallelRecipe
from cosmos_cli.training.recompute import compile_parts, recompute_activations
from cosmos_cli.training.task import Task

__all__ = ["Parallel", "clear_non_finite", "groups", "scale_gradients", "total_norm"]


@dataclass(frozen=True)
class Parallel:
    """The ranks of a training, and what this one's part is.

    device: this process's own, a GPU with its number.
    dtype: of the networks' arithmetic.
    mesh: with the axes "dp_replicate", "dp_shard", "cp" and "tp"; None for one process that computes in the precision
        of its parameters, where nothing is wrapped.
    shard_mesh: those among which FSDP2 averages: "fsdp" alone, or the copies too ("dp_replicate", "fsdp").
    """

    recipe: ParallelRecipe
    layout: TrainingLayout
    device: torch.device
    dtype: torch.dtype
    mesh: DeviceMesh | None = None
    shard_mesh: DeviceMesh | None = None

    @classmethod
    def form(cls, recipe: ParallelRecipe, device: torch.device, precision: str) -> Parallel:
        """The ranks that were launched together; every one of them must call this.

        Args:
            precision: of the networks' arithmetic, "bfloat16" or "float32"; parameters are float32.
        Raises:
            InputError: there are not as many processes as the recipe divides among.
        """
        dtype: torch.dtype = getattr(torch, precision)
        layout = training_layout(recipe, _world_size())
        if layout.world_size == 1 and dtype == torch.float32:
            return cls(recipe, layout, device, dtype)
        _meet(device)
        sizes = layout.dp_replicate, layout.fsdp, layout.tp
        mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("dp_replicate", "fsdp", "tp"))
        shard_mesh = mesh["fsdp"] if layout.dp_replicate == 1 else mesh["dp_replicate", "fsdp"]
        # nothing public makes axes of one mesh that overlap: FSDP2's, and its two parts
        named = mesh._unflatten("fsdp", (layout.dp_shard, layout.cp), ("dp_shard", "cp"))
        return cls(recipe, layout, device, dtype, named, shard_mesh)

    @property
    def dp_rank(self) -> int:
        """Which of the clips of a step this rank reads; ranks that share a clip have the same."""
        return self._rank("dp_replicate") * self.layout.dp_shard + self._rank("dp_shard")

    @property
    def dp_size(self) -> int:
        return self.layout.dp

    @property
    def is_main(self) -> bool:
        """Whether this is the one rank that writes and speaks for all."""
        return self.mesh is None or dist.get_rank() == 0

    @property
    def token_group(self) -> dist.ProcessGroup | None:
        """The ranks that share the tokens of a clip with this one; None for no others."""
        return None if self.mesh is None or self.layout.cp == 1 else self.mesh.get_group("cp")

    def wrap(self, task: Task, *, compile: bool = False) -> None:
        """Has the networks of a task compute together with those of the other ranks, in place.

        Every network must be the same on all ranks and whole, its parameters where they will be trained. Afterwards
        they are sharded: they are read through the network's `forward` alone.

        Args:
            compile: the blocks of networks, when they are first called.
        Raises:
            InputError: cp and tp do not divide the heads of a network, or there is no compiler.
        """
        _quieten()
        trained, frozen = list(task.networks.values()), [net for net in task.frozen if _trunks(net)]
        check_heads(self.recipe, [trunk.config.num_heads for net in [*trained, *frozen] for trunk in _trunks(net)])
        task.share_tokens(self.token_group)
        for network in trained:
            self._wrap(network, torch.float32, compile)
        for network in frozen:
            self._wrap(network, self.dtype, compile)

    def accumulating(self, task: Task, *, last: bool) -> None:
        """Says whether the next backward pass is the last of its step, as which every other one does less.

        Gradients are always added up in shards, for whole ones have no room; copies of them wait for the last.
        """
        if self.mesh is not None:
            for network in task.networks.values():
                assert isinstance(network, FSDPModule)
                network.set_requires_all_reduce(last)
                network.set_is_last_backward(last)

    def mean(self, numbers: Tensor) -> Tensor:
        """Of what all ranks have, number by number, float64 on the CPU; every one must call this."""
        total = numbers.detach().to("cpu", torch.float64)  # where no stream has to be waited for again
        if self.mesh is not None:
            dist.all_reduce(total)
        return total / self.layout.world_size

    def _rank(self, axis: str) -> int:
        return 0 if self.mesh is None else self.mesh.get_local_rank(axis)

    def _wrap(self, network: nn.Module, dtype: torch.dtype, compile: bool) -> None:
        """One entry of a task: its trunks' blocks, then the whole of it. Small ones compute in float32 as they are.

        Args:
            dtype: of the parameters.
        """
        for trunk in _trunks(network):
            if self.dtype != torch.float32:
                trunk.compute_dtype = self.dtype
            if self.mesh is not None and self.layout.tp > 1:
                cut_layers(trunk, self.mesh["tp"])
            if compile:
                compile_parts(trunk, self.recipe.activation_checkpointing)
            recompute_activations(trunk, self.recipe.activation_checkpointing)
        if self.shard_mesh is None:
            _own(network, self.device, dtype)
            return
        policy = MixedPrecisionPolicy(
            param_dtype=self.dtype if _trunks(network) else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        for trunk in _trunks(network):
            for unit in _units(trunk, by_part=self.recipe.activation_checkpointing == "sub-block"):
                # part by part: whole, a network of a file in another precision would stand in memory on every rank
                _own(unit, self.device, dtype)
                fully_shard(unit, mesh=self.shard_mesh, mp_policy=policy)
        _own(network, self.device, dtype)
        fully_shard(network, mesh=self.shard_mesh, mp_policy=policy)


def _own(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Gives parameters memory of their own, on the device: those of a file may be views of it."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if not isinstance(parameter, DTensor):
                parameter.data = parameter.detach().to(device, dtype, copy=True)
            elif parameter.dtype != dtype:  # cut, and on the device; what is sharded has its own memory already
                cut = nn.Parameter(parameter.detach().to(dtype), requires_grad=parameter.requires_grad)
                part.register_parameter(name, cut)
    for buffer in module.buffers():
        buffer.data = buffer.detach().to(device)


def _world_size() -> int:
    if dist.is_initialized():
        return dist.get_world_size()
    rank = find_rank()
    return 1 if rank is None else rank.world_size


def _meet(device: torch.device) -> None:
    """Processes that have not met yet meet by the environment that torch elastic sets; one process meets itself."""
    is_on_gpu = device.type == "cuda"
    if is_on_gpu:
        torch.cuda.set_device(device)
    if dist.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if is_on_gpu else "gloo"
    rank = find_rank()
    if rank is None:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    else:
        os.environ.update(rank.environment())
        dist.init_process_group(backend)


def _quieten() -> None:
    """PyTorch warns of what is meant to be."""
    # nothing is written into what a network gives while gradients may need it, be it a view
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    # a checkpoint of one process
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
    # what is cut twice is put together in two steps, for an export alone
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)


def _trunks(network: nn.Module) -> list[ParallelNetwork]:
    """The diffusion transformers in an entry of a task: itself, or what adapters are wrapped around."""
    return [module for module in network.modules() if isinstance(module, ParallelNetwork)]


def _units(trunk: ParallelNetwork, *, by_part: bool) -> Iterator[nn.Module]:
    """The parts of a trunk whose parameters are gathered at a time: blocks, or their parts where these are modules."""
    blocks: Any = trunk.blocks
    for block in blocks.children():
        if by_part and isinstance(parts := getattr(block, "blocks", None), nn.ModuleList):
            yield from parts
        else:
            yield block
