"""Held-out worlds in which something is to be seen, and the same worlds in other colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cosmos_cli.worlds.bodies import COLOURS
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.scene import Scene
from cosmos_cli.worlds.words import way

_PER_SEED = 1000
"""Worlds among which one is looked for."""
_DEMONSTRATIONS = 77
"""The series that is looked through; its worlds are those of no training, and of no measurement."""


def find(
    seed: int,
    size: tuple[int, int],
    num_frames: int,
    wanted: Callable[[Scene], bool],
    *,
    num_views: int = 1,
) -> Scene:
    """The first world of a seed that is as wanted; other arguments as `cast.draw`. Raises ValueError: there is none."""
    for number in range(seed * _PER_SEED, (seed + 1) * _PER_SEED):
        scene = draw(number, size, num_frames, split="held-out", num_views=num_views, world=_DEMONSTRATIONS)
        if wanted(scene):
            return scene
    raise ValueError(f"none of {_PER_SEED} worlds is as wanted")


def slides(scene: Scene, view: int = 0) -> bool:
    """Whether a camera that stands still sees something go to one side, and there are two or three things."""
    camera = scene.views[view]
    goes = any(way(camera, body.path_F3) in ("left", "right") for body in scene.bodies if body.is_moving)
    return camera.is_still and goes and len(scene.bodies) in (2, 3)


def recoloured(scene: Scene, seed: int) -> Scene:
    """The same world, with every body in another colour; none has that of another before or after."""
    chance = Chance(_DEMONSTRATIONS, seed)
    own = {body.colour for body in scene.bodies}
    fresh = chance.some_of([colour for colour in COLOURS if colour not in own], len(scene.bodies))
    return replace(scene, bodies=tuple(replace(b, colour=c) for b, c in zip(scene.bodies, fresh, strict=True)))
