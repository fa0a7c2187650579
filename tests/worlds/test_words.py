"""Captions are true of the pixels: what they say of a body is measured in pictures of it alone."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np

from cosmos_cli.worlds.bodies import COLOURS, SHAPES, SIZES
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.render import render
from cosmos_cli.worlds.scene import Scene
from cosmos_cli.worlds.words import WAYS

SIZE = (48, 80)
NOUN = rf"(?:(?:{'|'.join(filter(None, SIZES))}) )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
MOVES = rf"({NOUN}) (?:slides|rolls|rises|sinks) ({'|'.join(WAYS)})"
PASSES = rf"({NOUN}) (?:slides|rolls) (?:left|right) (in front of|behind) (?:a|an|the) ({NOUN})"
BUMPS = rf"({NOUN}) (?:slides|rolls) (left|right) and bumps into (?:a|an|the) ({NOUN})"
STANDS = rf"({NOUN}) stands still"


def numbers(scene: Scene) -> dict[str, int]:
    return {body.noun: i for i, body in enumerate(scene.bodies)}


def alone(scene: Scene, *which: int, view: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and depth of a clip with some of its bodies."""
    seen = render(replace(scene, bodies=tuple(scene.bodies[i] for i in which), hits=()), SIZE, view)
    return seen.labels_FHW, seen.depth_FHW


def middle(labels_HW: np.ndarray, label: int = 1) -> np.ndarray:
    """Row and column."""
    return np.argwhere(labels_HW == label).mean(0)


def test_a_named_direction_is_that_of_the_pixels() -> None:
    found: Counter[str] = Counter()
    for seed in range(60):
        scene = draw(seed, SIZE, 17)
        for noun, where in re.findall(MOVES, scene.caption()):
            labels_FHW, depth_FHW = alone(scene, numbers(scene)[noun])
            down, right = middle(labels_FHW[-1]) - middle(labels_FHW[0])
            first, last = ((labels_FHW[i] > 0) for i in (0, -1))
            nearing = depth_FHW[-1][last].min() - depth_FHW[0][first].min()
            found[where] += 1
            sign = 1 if where in ("right", "down", "away") else -1
            if where in ("left", "right"):
                assert sign * right > max(5, 1.5 * abs(down)), (seed, noun)
            elif where in ("up", "down"):
                assert sign * down > max(5, 1.5 * abs(right)), (seed, noun)
            else:
                assert sign * nearing > 0.3, (seed, noun)
                assert abs(right) < 8, (seed, noun)
                assert (last.sum() > 1.2 * first.sum()) if where == "towards" else (first.sum() > 1.2 * last.sum())
    assert set(found) == set(WAYS)
    assert min(found.values()) >= 5, found


def test_what_passes_in_front_hides_what_is_behind() -> None:
    found: Counter[str] = Counter()
    for seed in range(100):
        scene = draw(seed, SIZE, 17)
        for noun, side, passed in re.findall(PASSES, scene.caption()):
            one, other = (numbers(scene)[each] for each in (noun, passed))
            front, back = (one, other) if side == "in front of" else (other, one)
            together_FHW, _ = alone(scene, front, back)
            whole_FHW, _ = alone(scene, back)
            hidden_F = (whole_FHW == 1).sum((1, 2)) - (together_FHW == 2).sum((1, 2))
            assert hidden_F.max() > 3, (seed, noun)
            # and is not itself hidden
            assert ((alone(scene, front)[0] == 1) == (together_FHW == 1)).all()
            found[side] += 1
    assert min(found["in front of"], found["behind"]) > 5, found


def test_what_is_bumped_into_stands_until_it_is_touched_and_goes_on() -> None:
    found = 0
    for seed in range(150):
        scene = draw(seed, SIZE, 17)
        for noun, side, other in re.findall(BUMPS, scene.caption()):
            pusher, pushed = (scene.bodies[numbers(scene)[each]] for each in (noun, other))
            labels_FHW, _ = alone(scene, *(numbers(scene)[each] for each in (noun, other)))
            columns = [[middle(each, label)[1] for label in (1, 2)] for each in labels_FHW[[0, 8, -1]]]
            sign = 1 if side == "right" else -1
            assert sign * (columns[1][0] - columns[0][0]) > 3
            assert sign * (columns[2][1] - columns[1][1]) > 3
            moving = [np.abs(np.diff(body.path_F3, axis=0)).max(1) > 0 for body in (pusher, pushed)]
            assert moving[0][0]
            assert not moving[0][-1]
            assert not moving[1][0]
            assert moving[1][-1]
            # balls that touch in a point may have a pixel between them
            near = [labels_FHW[:, :, : -1 - gap] * labels_FHW[:, :, 1 + gap :] == 2 for gap in (0, 1)]
            assert any(each[7:10].any() for each in near)
            assert not any(each[[0, -1]].any() for each in near)
            found += 1
    assert found > 3


def test_what_stands_still_does_so_in_the_world_and_all_that_is_told_of_is_seen() -> None:
    for seed in range(40):
        scene = draw(seed, SIZE, 9)
        caption, labels_FHW = scene.caption(), render(scene, SIZE).labels_FHW
        for noun in re.findall(STANDS, caption):
            assert not scene.bodies[numbers(scene)[noun]].is_moving
        for i, body in enumerate(scene.bodies):
            assert body.noun in caption
            assert (labels_FHW == i + 1).any()
        assert len({body.colour for body in scene.bodies}) == len(scene.bodies)


def test_each_view_tells_of_what_it_sees() -> None:
    num_told = 0
    for seed in range(8):
        scene = draw(seed, SIZE, 9, num_views=6)
        for view in range(6):
            caption, labels_FHW = scene.caption(view), render(scene, SIZE, view).labels_FHW
            for i, body in enumerate(scene.bodies):
                is_told = body.noun in caption
                assert not is_told or (labels_FHW == i + 1).any()
                num_told += is_told
            for noun, where in re.findall(MOVES, caption):
                if where in ("left", "right"):
                    of_one, _ = alone(scene, numbers(scene)[noun], view=view)
                    shown = [labels_HW for labels_HW in of_one if labels_HW.any()]
                    right = middle(shown[-1])[1] - middle(shown[0])[1]
                    assert right * (1 if where == "right" else -1) > 2, (seed, view, noun)
    assert num_told > 8 * 5


def test_a_cameras_move_is_that_of_what_stands_still() -> None:
    found: Counter[str] = Counter()
    for seed in range(150):
        scene = draw(seed, SIZE, 9)
        match = re.search(r"The camera (pans|orbits|moves) (?:to the )?(\w+)\.", scene.caption())
        assert (match is None) == scene.views[0].is_still
        still = [i for i, body in enumerate(scene.bodies) if not body.is_moving]
        if match is None or not still:
            continue
        labels_FHW, _ = alone(scene, still[0])
        right = middle(labels_FHW[-1])[1] - middle(labels_FHW[0])[1]
        first, last = ((labels_FHW[i] > 0) for i in (0, -1))
        found[f"{match[1]} {match[2]}"] += 1
        if match[1] == "pans":
            assert right * (1 if match[2] == "left" else -1) > 0
        elif match[1] == "moves":
            assert (last.sum() > first.sum()) == (match[2] == "forward")
        else:
            eyes_F3 = scene.views[0].eyes_F3
            assert (eyes_F3[-1, 0] > eyes_F3[0, 0]) == (match[2] == "right")
    assert len(found) == 6, found
