"""The measures of the quality benchmark, on pictures of which the answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality_rows import best_of, clips, metrics, multiview, transfer, video2world, weights
from benchmarks.quality_rows.rows import Goal, rows_of, table
from cosmos_cli.worlds.bodies import COLOURS
from cosmos_cli.worlds.words import WAYS

SIZE, NUM_FRAMES = (64, 112), 17


def square(x: int, y: int, colour: str = "red", half: int = 5) -> np.ndarray:
    """A square of a colour on a dull floor."""
    frame_HWC = np.full((*SIZE, 3), (120, 110, 100), np.uint8)
    frame_HWC[y - half : y + half, x - half : x + half] = COLOURS[colour]
    return frame_HWC


def moving(dx: float, dy: float, growth: float = 0.0) -> np.ndarray:
    return np.stack([square(round(50 + i * dx), round(30 + i * dy), half=round(6 + i * growth)) for i in range(9)])


def test_psnr_is_that_of_the_formula() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert metrics.psnr(black, black + np.uint8(255)) == pytest.approx(0)
    assert metrics.psnr(black, black + np.uint8(16)) == pytest.approx(20 * np.log10(255 / 16))
    assert metrics.psnr(black, black) == 60


def test_edges_count_where_they_lie_near_and_where_they_are_asked_for() -> None:
    def line(x: int) -> np.ndarray:
        edges_FHW = np.zeros((1, 20, 40), bool)
        edges_FHW[:, :, x] = True
        return edges_FHW

    nothing_FHW = np.zeros((1, 20, 40), bool)
    assert metrics.edge_f1(line(10), line(10)) == 1
    assert metrics.edge_f1(line(10), line(11)) == 1
    assert metrics.edge_f1(line(10), line(12)) == 0
    assert metrics.edge_f1(line(10), nothing_FHW) == 0
    # one of its two lines is right, and all that are wanted are there
    assert metrics.edge_f1(line(10), line(10) | line(30)) == pytest.approx(2 / 3)
    is_left_HW = np.arange(40) < 20
    assert metrics.edge_f1(line(10), line(10) | line(30), where_HW=np.tile(is_left_HW, (20, 1))) == 1


@pytest.mark.parametrize("light", [0.55, 0.8, 1.2])
def test_a_colour_is_known_in_shade_and_in_light(light: float) -> None:
    for number, rgb in enumerate(COLOURS.values()):
        lit = (np.array(rgb) * light).clip(0, 255).astype(np.uint8)
        assert metrics.colours_of(np.tile(lit, (1, 2, 2, 1))).tolist() == [[[number] * 2] * 2]
    dull = np.tile(np.array([120, 90, 100], np.uint8), (1, 2, 2, 1))
    assert (metrics.colours_of(dull) == -1).all()


@pytest.mark.parametrize(
    ("frames_FHWC", "way"),
    [
        (moving(-2, 0), "left"),
        (moving(2, 0.5), "right"),
        (moving(0, -2), "up"),
        (moving(0.5, 2), "down"),
        (moving(0, 0, 0.5), "towards"),
        (moving(0, 0, -0.4), "away"),
    ],
)
def test_each_way_is_told_from_the_others(frames_FHWC: np.ndarray, way: str) -> None:
    found_F3 = metrics.track(metrics.colours_of(frames_FHWC), "red")
    assert [name for name in WAYS if metrics.moves(found_F3, name, 64)] == [way]


def test_what_stands_or_is_not_there_moves_nowhere() -> None:
    for frames_FHWC, colour in ((moving(0, 0), "red"), (moving(2, 0), "blue")):
        found_F3 = metrics.track(metrics.colours_of(frames_FHWC), colour)
        assert not any(metrics.moves(found_F3, name, 64) for name in WAYS)


def test_the_truth_passes_where_it_is_what_is_asked_for() -> None:
    movers = clips.held_out(6, SIZE, NUM_FRAMES, wanted=lambda clip: clips.mover(clip) is not None)
    assert all(video2world.moves_as_named(clip.frames_FHWC, clip) for clip in movers)
    still = [np.repeat(clip.frames_FHWC[:1], NUM_FRAMES, axis=0) for clip in movers]
    assert not any(video2world.moves_as_named(frames, clip) for frames, clip in zip(still, movers, strict=True))
    truth = transfer.truth_of(movers)
    assert transfer.edge_scores(movers, truth["edge"]) == [1] * len(movers)
    assert all(transfer.colour_scores(movers, truth["colour"]))
    assert not any(transfer.colour_scores(movers, truth["edge"]))


def test_six_views_are_in_place_in_the_truth_and_in_no_other_world() -> None:
    one, other = multiview.held_out_views(2)
    assert multiview.score([one, other], [one.frames_VFHWC, other.frames_VFHWC])[multiview.PLACED] == 100
    assert multiview.score([one, other], [other.frames_VFHWC, one.frames_VFHWC])[multiview.PLACED] == 0


def test_going_on_in_a_line_and_along_the_flow() -> None:
    grey = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 64, 112, 3), np.uint8) * 10
    assert metrics.extrapolated(grey, 2)[:, 0, 0, 0].tolist() == [50, 60]
    given_FHWC, ahead = moving(2, 0)[:5], moving(2, 0)[5:]
    by_flow = metrics.psnr(metrics.carried_on(given_FHWC, 4), ahead)
    assert by_flow > metrics.psnr(np.repeat(given_FHWC[-1:], 4, axis=0), ahead) + 2


def test_the_interval_of_a_gain_holds_zero_only_where_there_is_none() -> None:
    drawn = np.random.default_rng(0).normal(size=(60, 5))
    by_chance = best_of.gain(drawn, np.random.default_rng(1).normal(size=(60, 5)))
    assert by_chance[best_of.LOW] < 0 < by_chance[best_of.HIGH]
    by_truth = best_of.gain(drawn, drawn)
    assert by_truth[best_of.LOW] > 0.5
    assert by_truth[best_of.GAIN] == pytest.approx(by_truth[best_of.MOST])


def test_depth_that_agrees_correlates() -> None:
    depth = np.random.default_rng(0).random((3, 8, 8))
    assert metrics.correlation(depth, 2 * depth + 1) == pytest.approx(1)
    assert metrics.correlation(depth, -depth) == pytest.approx(-1)
    assert metrics.correlation(depth, np.ones_like(depth)) == 0


def test_a_table_says_what_is_missed() -> None:
    goals = {"good": Goal(0.5), "bad": Goal(26, 30, "dB")}
    rows = rows_of("part", goals, {"good": 0.7, "bad": 20.0, "told": 1.0}, {"bad": 5.0}, {}, num_clips=3)
    assert [row.is_reached for row in rows] == [True, False, None]
    lines = table(rows).splitlines()
    assert lines[2].split() == ["part", "bad", "3", "20.0", "dB", "5.0", "dB", "26.0", "dB", "30.0", "dB", "MISSED"]


def test_files_of_a_folder_stand_for_those_that_ship(tmp_path: Path) -> None:
    from cosmos_plugins.predict2.video2world.inputs import weight_paths

    before = weight_paths(video2world.SETTINGS)
    other = tmp_path / _TINY_TOKENIZER
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another")
    with weights.taken_from(tmp_path):
        inside = weight_paths(video2world.SETTINGS)
        assert inside["tokenizer"].read_bytes() == b"another"
        assert inside["dit"].read_bytes() == before["dit"].read_bytes()
    assert weight_paths(video2world.SETTINGS) == before


_TINY_TOKENIZER = "nvidia/Cosmos-Predict2-Tiny-Video2World/tokenizer/tokenizer.pth"
