"""Tensor parallelism: several processes have a part of every large layer each, and the same tokens.

Attention and MLP are cut into heads and hidden channels: the layers in front by columns, those behind by rows, whose
parts of the result are added up over the ranks. All else every rank has and computes alike. So the gradient of such a
parameter is the same on all ranks and must not be added up; except that of the norms of heads, which every rank applies
to heads of its own, and which is added up (`HeadNorm`). What is cut is a `DTensor` from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from cosmos_cli.models.context_parallel import ParallelNetwork
from cosmos_cli.models.dit_layers import Cut, HeadNorm


def cut_layers(network: ParallelNetwork, mesh: DeviceMesh) -> None:
    """Leaves this rank its part of every layer that the network's `tensor_plan` names, in place.

    The network must be the same on all ranks. Adapters of low rank around a layer are cut as it is.

    Args:
        mesh: of one axis, the ranks that share the layers.
    Raises:
        ValueError: the ranks do not divide the network's heads.
    """
    if network.config.num_heads % mesh.size():
        raise ValueError(f"{mesh.size()} ranks do not divide {network.config.num_heads} heads")
    for layer, cut in list(_planned(network)):
        if isinstance(layer, HeadNorm):
            layer.group = mesh.get_group()
            continue
        base, adapters = getattr(layer, "base_layer", layer), _adapters(layer, cut)
        for linear in [base, *adapters]:
            _cut(linear, mesh, cut)


def _planned(network: ParallelNetwork) -> Iterator[tuple[nn.Module, Cut]]:
    for name, module in network.named_modules():
        for end, cut in network.tensor_plan.items():
            if f".{name}".endswith(f".{end}"):
                yield module, cut


def _adapters(layer: nn.Module, cut: Cut) -> Iterable[nn.Module]:
    """Of an adapted layer, those linear ones that have as many columns, or rows, as it."""
    found = getattr(layer, "lora_B" if cut == "columns" else "lora_A", None)
    return found.values() if isinstance(found, nn.ModuleDict) else ()


def _cut(linear: nn.Module, mesh: DeviceMesh, cut: Cut) -> None:
    learns = {name: parameter.requires_grad for name, parameter in linear.named_parameters()}
    style: ParallelStyle = ColwiseParallel() if cut == "columns" else RowwiseParallel()
    style.src_data_rank = None  # every rank has the whole layer: nothing need be sent
    parallelize_module(linear, mesh, style)
    for name, parameter in linear.named_parameters():
        parameter.requires_grad_(learns[name])
