"""Worlds that no training sees, and the pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosmos_cli.worlds.bodies import COLOURS
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.render import Rendered, render
from cosmos_cli.worlds.scene import Scene
from cosmos_cli.worlds.words import way

# F frames, H and W pixel height and width

LEAST_SEEN_PX = 20
"""Of a body, for it to count as seen in a frame."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Clip:
    """A held-out world and what its first camera sees."""

    scene: Scene
    seen: Rendered
    size: Size

    @property
    def frames_FHWC(self) -> np.ndarray:
        return self.seen.rgb_FHW3

    @property
    def caption(self) -> str:
        return self.scene.caption()

    def region(self, body: int) -> np.ndarray:
        """Where a body is seen, (F, H, W) bool."""
        return self.seen.labels_FHW == body + 1


def held_out(
    count: int, size: Size, num_frames: int, *, wanted: Callable[[Clip], bool] = lambda clip: True
) -> list[Clip]:
    """The first worlds of which that is wanted."""
    return [clip for clip, _ in zip(filter(wanted, _all(size, num_frames)), range(count), strict=False)]


def _all(size: Size, num_frames: int) -> Iterator[Clip]:
    seed = 0
    while True:
        scene = draw(seed, size, num_frames, split="held-out")
        yield Clip(scene, render(scene, size), size)
        seed += 1


def mover(clip: Clip) -> tuple[str, str] | None:
    """Colour and way of the first body whose way the caption names, if it is seen at both ends; None if there is none.

    A pair that bumps is left out: where its first body stops is a matter of when they touch.
    """
    for index, body in enumerate(clip.scene.bodies):
        where = way(clip.scene.views[0], body.path_F3) if body.is_moving and not clip.scene.hits else None
        area_F = clip.region(index).sum((1, 2))
        if where is not None and min(area_F[0], area_F[-1]) >= LEAST_SEEN_PX:
            return body.colour, where
    return None


@dataclass(frozen=True)
class Repainted:
    """A world with one body in a colour that none of its bodies has. body: which of them that is."""

    scene: Scene
    body: int
    colour: str


def repainted(clip: Clip, number: int) -> Repainted:
    """The world of a clip, with the body that is largest in the picture in another colour, by chance of a number."""
    bodies = clip.scene.bodies
    which = int(np.argmax([clip.region(index).sum() for index in range(len(bodies))]))
    taken = {body.colour for body in bodies}
    colour = Chance(number).one_of([name for name in COLOURS if name not in taken])
    changed = tuple(replace(body, colour=colour) if index == which else body for index, body in enumerate(bodies))
    return Repainted(replace(clip.scene, bodies=changed), which, colour)
