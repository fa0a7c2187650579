"""Rendered worlds: the same bytes everywhere, and depth, labels and pictures that fit the geometry."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.worlds.bodies import COLOURS, SHAPES, Body
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.exact import Chance, circle, cross, dot, into, out_of, turned
from cosmos_cli.worlds.patterns import SIDE, TEXELS_PER_METRE, patterns
from cosmos_cli.worlds.pictures import contact_sheet, depth_picture, label_picture, mask_colours
from cosmos_cli.worlds.render import Rendered, render
from cosmos_cli.worlds.scene import ROOM, Scene
from cosmos_cli.worlds.views import View

SIZE = (48, 80)
DIGESTS = {
    (0, 1): "db355f84675a2e23c99fa06664cfb70e87f5b4c661848ee8eb803c37a574ac6c",
    (1, 1): "72bd9d0bfd27f41073f06194be89066db1a8e1e40233f1f1bc84ff0fc4af049b",
    (2, 6): "c9ad603bdfa8d27d4916a9a02b2c4af7056c241a957428600fcc0ff267c64b21",
}
"""Of seeds and numbers of views."""


def clip(seed: int, size: tuple[int, int] = SIZE, num_frames: int = 9, **how) -> tuple[Scene, Rendered]:
    scene = draw(seed, size, num_frames, **how)
    return scene, render(scene, size)


def digest(seed: int, num_views: int) -> str:
    scene, found = draw(seed, SIZE, 9, num_views=num_views), hashlib.sha256()
    for view in range(num_views):
        seen = render(scene, SIZE, view)
        found.update(scene.caption(view).encode())
        for array in (seen.rgb_FHW3, seen.depth_FHW, seen.labels_FHW):
            found.update(array.tobytes())
    return found.hexdigest()


def points_seen(view: View, seen: Rendered) -> np.ndarray:
    """Where in the world each pixel's ray ends, (F, H, W, 3), by depth and camera alone."""
    num_frames, height, width = seen.depth_FHW.shape
    pixel = view.shorter / min(height, width)
    y_HW, x_HW = (np.mgrid[:height, :width] + 0.5 - np.array([height / 2, width / 2])[:, None, None]) * pixel
    own_FHW3 = seen.depth_FHW[..., None] * np.stack([x_HW, y_HW, np.ones_like(x_HW)], axis=-1).astype(np.float64)
    axes_F33 = np.broadcast_to(view.rotations_F33, (num_frames, 3, 3))
    eyes_F3 = np.broadcast_to(view.eyes_F3, (num_frames, 3))
    return np.einsum("fij,fhwj->fhwi", axes_F33, own_FHW3) + eyes_F3[:, None, None]


def off_surface(body: Body, points_N3: np.ndarray) -> np.ndarray:
    """How far points, in a body's own axes, are from its surface: each shape by its own formula."""
    half, across_N = body.half_height, np.hypot(points_N3[:, 0], points_N3[:, 1])
    high_N = points_N3[:, 2]
    solid = body.solid
    match body.shape:
        case "cube":
            return np.abs(points_N3).max(-1) - half
        case "ball":
            return np.linalg.norm(points_N3, axis=-1) - half
        case "cylinder":
            return np.maximum(across_N - solid.radius, np.abs(high_N) - half)
        case "cone":
            side_N = (across_N - solid.radius * (half - high_N) / (2 * half)) / np.hypot(1, solid.radius / (2 * half))
            return np.maximum(side_N, -half - high_N)
        case _:
            return np.hypot(across_N, np.maximum(np.abs(high_N) - solid.half_length, 0)) - solid.radius


@pytest.mark.parametrize(("seed", "num_views"), DIGESTS)
def test_a_seed_is_the_same_bytes_everywhere(seed: int, num_views: int) -> None:
    assert digest(seed, num_views) == DIGESTS[seed, num_views]


def test_a_processor_with_fewer_instructions_makes_the_same_bytes() -> None:
    script = "from tests.worlds.test_render import *; print(digest(0, 1))"
    features = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    root, environment = Path(__file__).parents[2], os.environ | features
    made = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert made.stdout.strip() == DIGESTS[0, 1]


def test_clips_do_not_depend_on_those_before() -> None:
    forward = [clip(seed)[1].rgb_FHW3.tobytes() for seed in range(4)]
    assert [clip(seed)[1].rgb_FHW3.tobytes() for seed in reversed(range(4))] == forward[::-1]
    assert len(set(forward)) == 4


def test_held_out_worlds_are_others() -> None:
    train, held_out = (
        {draw(seed, SIZE, 5, split=split).caption() for seed in range(40)} for split in ("train", "held-out")
    )
    assert len(train & held_out) < 4  # plain scenes have few words
    for seed in range(3):
        assert not np.array_equal(clip(seed)[1].rgb_FHW3, clip(seed, split="held-out")[1].rgb_FHW3)


@pytest.mark.parametrize("num_views", [1, 6])
def test_every_ray_ends_on_the_surface_of_what_its_label_names(num_views: int) -> None:
    shapes = set()
    for seed in range(12 if num_views == 1 else 3):
        scene = draw(seed, SIZE, 5, num_views=num_views)
        for place, view in enumerate(scene.views):
            seen = render(scene, SIZE, place)
            points_FHW3 = points_seen(view, seen)
            room_N3 = points_FHW3[seen.labels_FHW == 0] - (0, 0, ROOM[2])
            np.testing.assert_allclose((np.abs(room_N3) / ROOM).max(-1), 1, atol=1e-5)
            for i, body in enumerate(scene.bodies):
                frame_N, row_N, column_N = np.nonzero(seen.labels_FHW == i + 1)
                away_N3 = points_FHW3[frame_N, row_N, column_N] - body.path_F3[frame_N]
                axes_F33 = np.broadcast_to(body.rotations_F33, (5, 3, 3))
                own_N3 = into(axes_F33[frame_N], away_N3)
                np.testing.assert_allclose(off_surface(body, own_N3), 0, atol=5e-4)
                shapes |= {body.shape} if len(frame_N) else set()
    assert shapes == set(SHAPES)


def test_labels_name_the_colour_that_is_seen() -> None:
    for seed in range(8):
        scene, seen = clip(seed)
        for i, body in enumerate(scene.bodies):
            inside_FHW = seen.labels_FHW == i + 1
            for axis, step in ((1, 1), (1, -1), (2, 1), (2, -1)):
                inside_FHW &= np.roll(inside_FHW, step, axis)
            if inside_FHW.sum() < 20:
                continue
            mean_3 = seen.rgb_FHW3[inside_FHW].mean(0)
            likeness = {
                name: mean_3 @ c / np.linalg.norm(c) for name, c in ((n, np.array(v)) for n, v in COLOURS.items())
            }
            assert body.colour in sorted(likeness, key=likeness.__getitem__)[-2:]  # light and shine pale it


def test_what_is_seen_without_a_body_is_behind_it() -> None:
    for seed in range(6):
        scene, seen = clip(seed)
        without = render(replace(scene, bodies=scene.bodies[1:], hits=()), SIZE)
        is_first = seen.labels_FHW == 1
        assert is_first.any()
        assert (without.depth_FHW[is_first] > seen.depth_FHW[is_first]).all()
        np.testing.assert_array_equal(without.depth_FHW[~is_first], seen.depth_FHW[~is_first])


def test_rims_are_those_of_a_much_finer_picture() -> None:
    errors, plain_errors = [], []
    for seed in range(4):
        scene, seen = clip(seed, num_frames=3)
        height, width = SIZE
        fine = render(scene, (8 * height, 8 * width)).rgb_FHW3.reshape(3, height, 8, width, 8, 3)
        truth = fine.mean((2, 4))
        rims = np.abs(np.diff(seen.labels_FHW.astype(int), axis=2, prepend=0)) > 0
        errors.append(np.abs(seen.rgb_FHW3[rims] - truth[rims]).mean())
        plain_errors.append(np.abs(fine[:, :, 4, :, 4][rims] - truth[rims]).mean())
    assert np.mean(errors) < 8
    assert np.mean(errors) < 0.4 * np.mean(plain_errors)


def test_views_see_one_world() -> None:
    num_shared = 0
    for seed in range(4):
        scene = draw(seed, SIZE, 3, num_views=6)
        seen = [render(scene, SIZE, view) for view in range(6)]
        for one, other in ((0, 1), (0, 2), (1, 4), (2, 5), (3, 4), (3, 5)):
            points_FHW3 = points_seen(scene.views[one], seen[one])
            for frame in range(3):
                camera, height, width = scene.views[other], *SIZE
                axes_33, eye_3 = (
                    np.broadcast_to(a, (3, *a.shape[1:]))[frame] for a in (camera.rotations_F33, camera.eyes_F3)
                )
                x_HW, y_HW, ahead_HW = np.moveaxis((points_FHW3[frame] - eye_3) @ axes_33, -1, 0)
                pixel = camera.shorter / min(SIZE)
                with np.errstate(invalid="ignore", divide="ignore"):
                    column_HW = x_HW / ahead_HW / pixel + width / 2 - 0.5
                    row_HW = y_HW / ahead_HW / pixel + height / 2 - 0.5
                there = (ahead_HW > 0.1) & (np.abs(column_HW - width / 2) < width / 2 - 2)
                there &= np.abs(row_HW - height / 2) < height / 2 - 2
                rows_N, columns_N = row_HW[there].round().astype(int), column_HW[there].round().astype(int)
                # the rig's cameras share one eye, so that they see the same points
                depth_N = seen[other].depth_FHW[frame, rows_N, columns_N]
                same_N = seen[other].labels_FHW[frame, rows_N, columns_N] == seen[one].labels_FHW[frame][there]
                assert same_N.mean() > 0.95
                assert (np.abs(depth_N / ahead_HW[there] - 1) < 0.05).mean() > 0.95
                num_shared += int((seen[one].labels_FHW[frame][there] > 0).sum())
    assert num_shared > 200


def test_pictures_of_any_shape_and_length() -> None:
    for size, num_frames, num_views in (
        ((64, 64), 17, 1),
        ((80, 48), 5, 1),
        ((32, 48), 2, 6),
        ((48, 80), 1, 1),
        ((16, 32), 1, 2),
    ):
        scene = draw(3, size, num_frames, num_views=num_views)
        assert scene.caption()
        for view in range(num_views):
            assert render(scene, size, view).rgb_FHW3.shape == (num_frames, *size, 3)
    with pytest.raises(ValueError, match="16 x 4096"):
        draw(0, (16, 4096), 9, num_views=6)


def test_controls_and_sheets() -> None:
    scene, seen = clip(5)
    near = depth_picture(seen.depth_FHW)
    assert (near.min(), near.max()) == (0, 255)
    assert near.reshape(-1, 3)[seen.depth_FHW.argmin()].tolist() == [255, 255, 255]
    colours = mask_colours(len(scene.bodies), Chance(7))
    masks = label_picture(seen.labels_FHW, colours)
    for i, colour in enumerate(colours):
        assert ((masks == colour).all(-1) == (seen.labels_FHW == i + 1)).all()
    sheet = contact_sheet([scene, draw(6, SIZE, 9), draw(7, SIZE, 9)], SIZE)
    assert sheet.shape[2] == 3
    assert (sheet[6:54, 6:86] == seen.rgb_FHW3[0]).all()


def test_arithmetic() -> None:
    turns = np.linspace(-3, 3, 1001)
    cosine, sine = circle(turns)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * turns), atol=1e-13)
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * turns), atol=1e-13)
    a_N3, b_N3 = Chance(3).shares(2, 20, 3) - 0.5
    np.testing.assert_allclose(cross(a_N3, b_N3), np.cross(a_N3, b_N3))
    np.testing.assert_allclose(dot(a_N3, b_N3), (a_N3 * b_N3).sum(-1))
    rotations = turned(np.array([0.0, 0.6, 0.8]), turns[:20])
    np.testing.assert_allclose(into(rotations, out_of(rotations, a_N3)), a_N3, atol=1e-12)
    draws = Chance(1).shares(10_000)
    assert 0.49 < draws.mean() < 0.51
    assert (draws.min() >= 0) & (draws.max() < 1)


def test_patterns_tile_and_fade_evenly_into_their_mean() -> None:
    place = (np.arange(SIDE, dtype=np.float32) + np.float32(0.5)) / np.float32(TEXELS_PER_METRE)
    u_N, v_N = (each.reshape(-1) for each in np.meshgrid(place, place))
    for pattern in patterns():
        sharp = pattern.at(u_N, v_N, np.full_like(u_N, 0.001))
        assert sharp.std() > 0.05
        np.testing.assert_array_equal(pattern.levels[: SIDE**2], sharp)
        np.testing.assert_allclose(pattern.at(u_N + 4, v_N, np.full_like(u_N, 0.001)), sharp, atol=1e-4)
        stds = [pattern.at(u_N, v_N, np.full_like(u_N, metres)).std() for metres in (0.001, 0.1, 0.9, 50)]
        assert stds == sorted(stds, reverse=True)
        np.testing.assert_allclose(pattern.at(u_N, v_N, np.full_like(u_N, 50)), sharp.mean(), atol=1e-3)
