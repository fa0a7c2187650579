from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cosmos_plugins.transfer1.controls import edge, vis
from cosmos_plugins.transfer1.controls.blur import BLUR_PRESETS, blur
from cosmos_plugins.transfer1.controls.canny import CANNY_THRESHOLDS, outline
from cosmos_plugins.transfer1.controls.job import ControlJob
from cosmos_plugins.transfer1.controls.parallel import map_frames
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest
from tests.clips import moving_gradient

STRENGTHS = ("very_low", "low", "medium", "high", "very_high")


def job(**fields: Any) -> ControlJob:
    request = TransferRequest(controls={}, **fields)
    return ControlJob(request, ControlSpec(), device="cpu", models={}, checkpoint_dir=Path(), source="test")


def test_every_strength_on_the_command_line_has_a_preset() -> None:
    annotation = TransferRequest.model_fields["blur_strength"].annotation
    assert annotation == TransferRequest.model_fields["canny_threshold"].annotation
    for preset in STRENGTHS:
        job(blur_strength=preset, canny_threshold=preset)
        assert preset in BLUR_PRESETS
        assert preset in CANNY_THRESHOLDS


def test_controls_of_a_clip_are_those_of_its_frames() -> None:
    frames = moving_gradient(5, 64, 96)
    blurred, edges = vis(frames, job(blur_strength="low")), edge(frames, job(canny_threshold="high"))
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(blurred[i], blur(frame, "low"))
        np.testing.assert_array_equal(edges[i], outline(frame, "high"))


def test_higher_thresholds_find_fewer_edges_and_stronger_blurs_keep_less() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    num_edges = [int((outline(frame, preset) > 0).sum()) for preset in STRENGTHS]
    assert num_edges == sorted(num_edges, reverse=True)
    assert num_edges[0] > num_edges[-1]
    details = [float(blur(frame, preset).astype(float).std()) for preset in ("very_low", "medium", "very_high")]
    assert details == sorted(details, reverse=True)


def test_an_outline_is_white_on_black_where_a_colour_jumps() -> None:
    frame = np.zeros((40, 40, 3), np.uint8)
    frame[:, 20:, 2] = 255  # blue alone: averaging the colours would lose it at the highest threshold
    edges = outline(frame, "very_high")
    assert set(np.unique(edges)) == {0, 255}
    assert (edges[5:-5].max(axis=0) > 0).all(axis=-1).nonzero()[0].tolist() in ([19], [20])


def test_a_plain_picture_survives_every_blur() -> None:
    frame = np.full((48, 64, 3), (10, 200, 77), np.uint8)
    for preset in BLUR_PRESETS:
        np.testing.assert_array_equal(blur(frame, preset), frame)


def test_thread_settings_are_put_back_even_after_an_error() -> None:
    before = cv2.getNumThreads(), torch.get_num_threads()
    frames = moving_gradient(4, 16, 16)
    seen = []

    def look(frame: np.ndarray) -> np.ndarray:
        seen.append((cv2.getNumThreads(), torch.get_num_threads()))
        return frame

    def fail(frame: np.ndarray) -> np.ndarray:
        raise RuntimeError("broken frame")

    map_frames(look, frames)
    assert set(seen) == {(1, 1)}
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before
    with pytest.raises(RuntimeError, match="broken frame"):
        map_frames(fail, frames)
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before
