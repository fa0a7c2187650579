"""How the processes of a run share the work: whole videos, the two halves of guidance, or the tokens of one video.

This part plans and imports nothing heavy; `mesh.py` makes the groups of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Protocol

from cosmos_cli.errors import InputError

EXAMPLE = "Write it as in cp=4,cfg=2."

_one_at_a_time: ContextVar[bool] = ContextVar("one_at_a_time", default=False)
"""Threads begin without."""


@dataclass(frozen=True)
class Layout:
    """How many processes there are along each axis of the mesh; together they are the product.

    Args:
        dp: data parallel: so many videos are made at a time.
        cfg: guidance parallel: 2 computes the prediction with the prompt and that with the negative prompt at a time.
        cp: context parallel: the tokens of a video are shared by so many.
    """

    dp: int = 1
    cfg: int = 1
    cp: int = 1

    @property
    def world_size(self) -> int:
        return self.dp * self.cfg * self.cp

    def __str__(self) -> str:
        """As `parse_layout` reads it; axes of one process are left out, unless nothing would be left."""
        sizes = [f"{axis}={size}" for axis, size in asdict(self).items() if size > 1]
        return ",".join(sizes) or "dp=1"

    def describe(self) -> str:
        """One line for people."""
        parts = []
        if self.dp > 1:
            parts.append(f"{self.dp} videos at a time")
        if self.cfg > 1:
            parts.append("prompt and negative prompt side by side")
        if self.cp > 1:
            parts.append(f"each video's tokens on {self.cp}")
        devices = "1 device" if self.world_size == 1 else f"{self.world_size} devices, {self}"
        return ": ".join([devices, *([", ".join(parts)] if parts else [])])


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """A block in which all processes of a layout make each video together: other groups make the other videos."""
    token = _one_at_a_time.set(True)
    try:
        yield
    finally:
        _one_at_a_time.reset(token)


def parse_layout(text: str, *, world_size: int, num_heads: int) -> Layout:
    """The layout that a user wrote, such as "cp=4,cfg=2"; an axis that is not named has one process.

    Args:
        num_heads: attention heads of the network, which `cp` must divide.
    Raises:
        InputError: not a layout, or not one for so many processes or heads.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = (word.strip() for word in part.partition("="))
        if axis not in asdict(Layout()):
            raise _refusal(f"there is no axis {axis!r}; there are dp, cfg and cp.", EXAMPLE)
        if axis in sizes:
            raise _refusal(f"names {axis} twice.", EXAMPLE)
        if not (size.isascii() and size.isdigit() and len(size) < 10 and int(size) > 0):
            raise _refusal(f"{axis} needs a number of processes, 1 or more, not {size[:40]!r}.", EXAMPLE)
        sizes[axis] = int(size)
    layout = Layout(**sizes)
    if layout.dp > 1 and _one_at_a_time.get():
        raise _refusal(
            f"dp={layout.dp} makes {layout.dp} videos at a time, but a group of GPUs makes one here.",
            "Use cp and cfg; --num-workers says how many groups there are.",
        )
    if layout.cfg > 2:
        raise _refusal(f"cfg={layout.cfg}, but guidance has two halves.", "Use cfg=1 or cfg=2.")
    if num_heads % layout.cp:
        known = ", ".join(str(n) for n in range(1, num_heads + 1) if num_heads % n == 0)
        raise _refusal(
            f"cp={layout.cp} does not divide the {num_heads} attention heads of this model.", f"Use one of {known}."
        )
    if layout.world_size != world_size:
        product = " x ".join(str(size) for size in sizes.values())
        raise _refusal(
            f"{text} is for {product} = {layout.world_size} GPUs, but there are {world_size}.",
            f"Make the product {world_size}, or pass --num-gpus {layout.world_size}.",
        )
    return layout


def choose_layout(world_size: int, *, num_heads: int, num_items: int, guided: bool) -> Layout:
    """The fastest layout: the less processes have to tell each other, the better.

    So as many videos at a time as there are, then the halves of guidance, and the rest for the tokens.

    Args:
        num_heads: attention heads of the network, which `cp` must divide.
        num_items: videos to make.
        guided: the network predicts with the prompt and with the negative prompt.
    Raises:
        InputError: so many processes cannot share so few videos.
    """
    if _one_at_a_time.get():
        num_items = 1
    if layout := _best(world_size, num_heads, num_items, guided):
        return layout
    most = max(num_items, 1) * (2 if guided else 1) * num_heads  # that can share anything, however many are asked for
    fewer = next(n for n in range(min(world_size, most), 0, -1) if _best(n, num_heads, num_items, guided))
    videos = "1 video" if num_items == 1 else f"{num_items} videos"
    raise InputError(
        f"{world_size} GPUs cannot share {videos}: the model has {num_heads} attention heads, which do not divide "
        "among them.",
        where="--num-gpus",
        fix=f"Pass --num-gpus {fewer}.",
    )


class Shared(Protocol):
    """What a user says about how many devices share the work, and how."""

    @property
    def num_gpus(self) -> int: ...
    @property
    def parallel(self) -> str | None: ...


def layout_of(settings: Shared, *, num_heads: int, num_items: int, guided: bool) -> Layout:
    """The layout asked for, or else the fastest; arguments and errors as for `parse_layout` and `choose_layout`."""
    if settings.parallel is not None:
        return parse_layout(settings.parallel, world_size=settings.num_gpus, num_heads=num_heads)
    return choose_layout(settings.num_gpus, num_heads=num_heads, num_items=num_items, guided=guided)


def _best(world_size: int, num_heads: int, num_items: int, guided: bool) -> Layout | None:
    for dp in range(min(world_size, max(num_items, 1)), 0, -1):
        for cfg in (2, 1) if guided else (1,):
            cp, rest = divmod(world_size, dp * cfg)
            if not rest and cp and num_heads % cp == 0:
                return Layout(dp, cfg, cp)
    return None


def _refusal(what: str, fix: str) -> InputError:
    return InputError(what, where="--parallel", fix=fix)
