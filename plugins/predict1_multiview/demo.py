"""What `cosmos demo` shows of Predict1: what six cameras see of one world."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from cosmos_cli.demo.part import Part, Shown
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.mosaic import mosaic_frames
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import write_video
from cosmos_cli.requests import option_name
from cosmos_cli.worlds.finding import find
from cosmos_cli.worlds.render import render
from cosmos_cli.worlds.scene import Scene
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW

# V views, F frames, H and W pixel height and width

_FPS = 24


def multiview(folder: Path, seed: int) -> Part:
    """The first frames of six cameras go on together."""
    variant = MULTIVIEW["tiny"]
    size = variant.height, variant.width
    scene = find(seed, size, variant.chunk_frames, _is_lively, num_views=len(CAMERAS))
    views_VFHWC = np.stack([render(scene, size, view).rgb_FHW3 for view in range(len(CAMERAS))])
    given, begins, truth = folder / "first_frames.mp4", folder / "first_frames.png", folder / "truth.mp4"
    write_video(given, views_VFHWC[:, 0], _FPS)  # one frame of each camera, in their order
    write_png(begins, next(mosaic_frames(views_VFHWC, CAMERAS)))
    write_video(truth, mosaic_frames(views_VFHWC, CAMERAS), _FPS)
    # each camera is told what moves in its own view, as in training
    prompts = [f"{camera.sentence} {scene.caption(view)}" for view, camera in enumerate(CAMERAS)]
    prompt = prompts[0]
    arguments = (
        *("predict1-multiview", "run", "--model", "tiny", "--input-image-or-video-path", str(given)),
        *chain.from_iterable((option_name(c.field), text) for c, text in zip(CAMERAS, prompts, strict=True)),
        *("--seed", str(seed), "--fps", str(_FPS)),
        *("--video-save-folder", str(folder), "--video-save-name", "video", "--overwrite"),
    )
    places = "above left, front, right; below rear left, rear, rear right"
    shown = (
        Shown("input", begins, "One frame of each camera.", f"Six pictures of one room: {places}."),
        Shown(
            "output",
            folder / "video_grid.mp4",
            f"{variant.chunk_frames} frames of each.",
            f"Six videos: {places}.",
        ),
        Shown("truth", truth, "How the world really goes on.", f"Six rendered videos: {places}."),
    )
    about = (
        "Predict1 makes what six cameras around one place see, at the same moments. Each camera has a prompt of its "
        "own; shown is that of the front one. The tiny model knows the room, and loses what stands in it."
    )
    return Part("What six cameras see", about, prompt, arguments, lambda: shown, TINY_ROOT)


def _is_lively(scene: Scene) -> bool:
    return sum(body.is_moving for body in scene.bodies) >= 2
