"""Six cameras at once: is what each of them shall see where it should be, at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.clips import LEAST_SEEN_PX
from benchmarks.quality_rows.metrics import colours_of, mean, track
from benchmarks.quality_rows.rows import Goal, Row, Scores, rows_of
from benchmarks.quality_rows.weights import untrained
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.media.source import GivenFrames
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.render import render
from cosmos_cli.worlds.scene import Scene
from cosmos_cli.worlds.source import HeldOutViews
from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline
from cosmos_plugins.predict1_multiview.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict1_multiview.recipes import RECIPES
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

# V views, F frames, H and W pixel height and width

PART, NUM_CLIPS = "multiview", 25
SETTINGS = MultiviewSettings(model_size="tiny")
_TINY = MULTIVIEW[SETTINGS.model_size]
SIZE = (_TINY.height, _TINY.width)
VIEWS = len(CAMERAS)
_RECIPE = "tiny_worlds_multiview"
"""What made the weights."""
_LEAST_RIGHT = 4
"""Views in which the object has to be where it should."""
_NEAR = 1 / 6
"""Of the width of a view: so near to its place an object is in the right one."""
_MOST_TIMES = 3.0
"""By which an object's area may differ: noise has the middle of its colours in the middle of the picture."""

PLACED, SHARE, MOVED = "object in place in 4 of 6 views", "objects in place", "moving objects in place"
PLACED_STILL, MOVED_STILL = f"{PLACED}, had all stayed", f"{MOVED}, had all stayed"
GOALS = {PLACED: Goal(60, 85, "%")} | dict.fromkeys((PLACED_STILL, SHARE, MOVED, MOVED_STILL), Goal(unit="%"))


@dataclass(frozen=True)
class Views:
    """A held-out world with cameras all around.

    frames_VFHWC: uint8. shown: view to the body that is largest in its last frame, views without one left out.
    texts: what the model reads for each view.
    """

    scene: Scene
    frames_VFHWC: np.ndarray
    shown: dict[int, int]
    texts: list[str]

    @property
    def prompts(self) -> dict[str, str]:
        """Fields of a request."""
        return {camera.field: text for camera, text in zip(CAMERAS, self.texts, strict=True)}


def num_frames() -> int:
    """Of every view."""
    return _TINY.chunk_frames


def held_out_views(count: int) -> list[Views]:
    """The first worlds of which at least four views end with a body in them."""
    # cameras read what they read in training
    texts_of = HeldOutViews(RECIPES[_RECIPE]).texts
    found: list[Views] = []
    seed = 0
    while len(found) < count:
        scene = draw(seed, SIZE, num_frames(), split="held-out", num_views=VIEWS)
        seen = [render(scene, SIZE, view) for view in range(VIEWS)]
        shown = {}
        for view, each in enumerate(seen):
            areas = np.bincount(each.labels_FHW[-1].ravel(), minlength=len(scene.bodies) + 1)[1:]
            if areas.max() >= LEAST_SEEN_PX:
                shown[view] = int(areas.argmax())
        if len(shown) >= _LEAST_RIGHT:
            found.append(Views(scene, np.stack([each.rgb_FHW3 for each in seen]), shown, texts_of(scene)))
        seed += 1
    return found


def measure(asked: Asked) -> list[Row]:
    worlds = held_out_views(asked.num_clips)
    few = worlds[: asked.num_untrained]
    pipeline = MultiviewPipeline.load(SETTINGS, [request_of(asked, worlds[0])])

    def made(worlds: list[Views]) -> list[np.ndarray]:
        requests = (request_of(asked, world, seed) for seed, world in enumerate(worlds))
        return [asked.made(pipeline.generate(request).frames) for request in requests]

    trained = made(worlds)
    with untrained(pipeline.models.dit):
        random = made(few)
    truth = [world.frames_VFHWC for world in worlds]
    asked.kept(PART, truth=truth, trained=trained, untrained=random)
    scores = (score(worlds, trained), score(few, random), score(worlds, truth))
    return rows_of(PART, GOALS, *scores, num_clips=len(worlds))


def request_of(asked: Asked, world: Views, seed: int = 0) -> MultiviewRequest:
    """The first frame of every view, and what each of them reads."""
    given = GivenFrames(world.frames_VFHWC[:, 0], fps=float(MultiviewRequest.model_fields["fps"].default))
    return asked.request(MultiviewRequest, input_image_or_video_path=given, seed=seed, **world.prompts)


def score(worlds: list[Views], made: list[np.ndarray]) -> Scores:
    found = [_in_place(world, frames_VFHWC[:, -1]) for world, frames_VFHWC in zip(worlds, made, strict=True)]
    stayed = [_in_place(world, world.frames_VFHWC[:, 0]) for world in worlds]

    def of_movers(each: list[dict[int, bool]]) -> float:
        return 100 * mean(
            right
            for world, views in zip(worlds, each, strict=True)
            for view, right in views.items()
            if world.scene.bodies[world.shown[view]].is_moving
        )

    def placed(each: list[dict[int, bool]]) -> float:
        return 100 * mean(sum(views.values()) >= _LEAST_RIGHT for views in each)

    return {
        PLACED: placed(found),
        PLACED_STILL: placed(stayed),
        SHARE: 100 * mean(right for views in found for right in views.values()),
        MOVED: of_movers(found),
        MOVED_STILL: of_movers(stayed),
    }


def _in_place(world: Views, frames_VHWC: np.ndarray) -> dict[int, bool]:
    """View to whether the body that it ends with is found by its colour, so near to its place in the last frame."""
    found = {}
    for view, body in world.shown.items():
        colour = world.scene.bodies[body].colour
        wanted, own = (
            track(colours_of(frame_HWC[None]), colour)[0]
            for frame_HWC in (world.frames_VFHWC[view, -1], frames_VHWC[view])
        )
        x, y, times = own[0] - wanted[0], own[1] - wanted[1], own[2] / wanted[2]
        # comparing with NaN, where there is none of that colour, is false
        found[view] = bool(np.hypot(x, y) <= _NEAR * SIZE[1] and 1 / _MOST_TIMES <= times <= _MOST_TIMES)
    return found
