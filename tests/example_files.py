"""The pictures and clips of `examples/`: `python -m tests.example_files` renders them anew, from worlds of fixed seeds.

They are small, and stand in for what a user brings: a room for a street, labels of its solids for a road map.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.media.video import write_video
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.exact import Chance
from cosmos_cli.worlds.pictures import label_picture, mask_colours
from cosmos_cli.worlds.render import render

EXAMPLES = Path(__file__).parent.parent / "examples"

ROOMS = {"ball.mp4": 13, "cylinder.mp4": 2}
"""Clip to seed."""
FRAMES, FPS = 33, 24
"""What the tiny models of Transfer1 and of Cosmos-1.0 make at a time."""
VIEW_FRAMES = 57
"""Of a clip of several cameras by Transfer1."""
ROBOT_COLOURS = {(140, 25, 255): "robot_arm", (40, 200, 90): "cup", (10, 10, 10): "BACKGROUND"}


def write_rooms(folder: Path) -> None:
    """A room with a few solids, seen by one camera."""
    for name, seed in ROOMS.items():
        scene = draw(seed, size=(144, 240), num_frames=FRAMES, split="held-out")
        write_video(folder / name, render(scene, (144, 240)).rgb_FHW3, FPS)


def write_views(folder: Path) -> None:
    """What six cameras of a rig see, each alone, one after the other, and as labels in place of a road map."""
    size = (96, 160)
    scene = draw(1, size=size, num_frames=VIEW_FRAMES, num_views=len(CAMERAS), split="held-out")
    seen = [render(scene, size, view) for view in range(len(CAMERAS))]
    colours = mask_colours(len(scene.bodies), Chance(1))
    for camera, view in zip(CAMERAS, seen, strict=True):
        write_video(
            folder / "hdmap" / f"{camera.name.replace(' ', '_')}.mp4", label_picture(view.labels_FHW, colours), FPS
        )
    write_video(folder / "front.mp4", seen[0].rgb_FHW3, FPS)
    write_video(folder / "six_views.mp4", np.concatenate([view.rgb_FHW3[:9] for view in seen]), FPS)


def write_robot(folder: Path) -> None:
    """A clip with segmented classes, as a simulator writes it."""
    scene = draw(3, size=(96, 160), num_frames=9, split="held-out")
    seen = render(scene, (96, 160))
    robot, cup, background = ROBOT_COLOURS
    colours = np.array([background, robot, *[cup] * len(scene.bodies)], np.uint8)
    write_video(folder / "input_video.mp4", seen.rgb_FHW3, FPS)
    write_video(folder / "segmentation.mp4", colours[seen.labels_FHW], FPS)
    names = {str((*colour, 255)): {"class": name} for colour, name in ROBOT_COLOURS.items()}
    labels = folder / "segmentation_label" / "labels_000000.json"
    labels.parent.mkdir(exist_ok=True)
    labels.write_text(json.dumps(names, indent=1) + "\n")


def main() -> None:
    for folder in (EXAMPLES / "rooms", EXAMPLES / "car" / "hdmap", EXAMPLES / "robots" / "cup"):
        folder.mkdir(parents=True, exist_ok=True)
    write_rooms(EXAMPLES / "rooms")
    write_views(EXAMPLES / "car")
    write_robot(EXAMPLES / "robots" / "cup")


if __name__ == "__main__":
    main()
