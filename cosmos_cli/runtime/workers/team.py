"""The processes that make videos together, and what this one's part is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from cosmos_cli import output
from cosmos_cli.runtime.workers.agreement import WITHOUT_END, new_groups, wait_for_all
from cosmos_cli.runtime.workers.layout import Layout, choose_layout, parse_layout
from cosmos_cli.runtime.workers.mesh import axis_group, make_mesh


@dataclass(frozen=True)
class Team:
    """All processes of a run, in data-parallel groups: one group makes one video together, others make other videos.

    layout: `dp` is the number of groups.
    mesh: None for one process alone.
    circle, circle_ahead: those that make a video with this process, over gloo, for what they decide: in the thread that
        makes it, and in one that prepares the next. None where it makes videos by itself.
    crowd: all processes, over gloo, who wait for the last videos; None where one group makes all.
    """

    layout: Layout = field(default_factory=Layout)
    mesh: DeviceMesh | None = None
    circle: dist.ProcessGroup | None = None
    circle_ahead: dist.ProcessGroup | None = None
    crowd: dist.ProcessGroup | None = None

    @classmethod
    def form(cls, device: torch.device, parallel: str | None, *, num_heads: int, num_items: int, guided: bool) -> Team:
        """The team of the processes that were launched together; every one of them must call this.

        Args:
            parallel: the layout as a user wrote it; None for the fastest.
            num_heads: attention heads of the network.
            num_items: videos to make.
            guided: the network predicts with the prompt and with the negative prompt.
        Raises:
            InputError: there is no such layout for so many processes.
        """
        world_size = dist.get_world_size() if dist.is_initialized() else 1
        if parallel is not None:
            layout = parse_layout(parallel, world_size=world_size, num_heads=num_heads)
        else:
            layout = choose_layout(world_size, num_heads=num_heads, num_items=num_items, guided=guided)
        if world_size == 1:
            return cls()
        output.status(layout.describe())
        mesh = make_mesh(layout, device)
        size = layout.cfg * layout.cp
        crowd = new_groups(1, world_size, timeout=WITHOUT_END)[0] if layout.dp > 1 else None
        if size == 1:
            return cls(layout, mesh, crowd=crowd)
        # two threads that used one group would take each other's messages
        circle, circle_ahead = (
            new_groups(layout.dp, size, timeout=WITHOUT_END)[mesh.get_local_rank("dp")] for _ in range(2)
        )
        return cls(layout, mesh, circle, circle_ahead, crowd)

    @property
    def token_group(self) -> dist.ProcessGroup | None:
        """The processes that share the tokens of a video with this one."""
        return None if self.mesh is None else axis_group(self.mesh, "cp")

    @property
    def guidance_group(self) -> dist.ProcessGroup | None:
        """The processes that compute the other half of guidance."""
        return None if self.mesh is None else axis_group(self.mesh, "cfg")

    @property
    def num_groups(self) -> int:
        return self.layout.dp

    @property
    def group(self) -> int:
        """Number of this process's group."""
        return 0 if self.mesh is None else self.mesh.get_local_rank("dp")

    @property
    def is_writer(self) -> bool:
        """Whether this process writes what its group has made; the others have the same and write nothing."""
        return self.mesh is None or not (self.mesh.get_local_rank("cfg") or self.mesh.get_local_rank("cp"))

    def least(self, number: int) -> int:
        """The least of what all processes have; every one must call this."""
        if self.mesh is None:
            return number
        least = torch.tensor(number)  # on the CPU, where no stream has to be waited for
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def gather(self, own: Sequence[Any]) -> list[Any]:
        """What the writers of all groups have, in the order of the groups; every process must call this."""
        if self.mesh is None:
            return list(own)
        if self.crowd is not None:
            wait_for_all(self.crowd, "waiting for the videos of other groups")
        everything: list[Any] = [None] * self.layout.world_size
        dist.all_gather_object(everything, list(own) if self.is_writer else [])
        return [item for of_process in everything for item in of_process]
