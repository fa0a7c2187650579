"""Fits the velocity of a drifting world to a clip, by Gauss-Newton steps on the difference of neighbouring frames."""

from __future__ import annotations

import numpy as np

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.media.video import read_video
from cosmos_drift.requests import DriftTraining
from cosmos_drift.weights import Weights

# F frames, H and W pixel height and width


def fit(training: DriftTraining) -> Weights:
    """Train up to `num_steps`, from the saved step on, and save as it goes.

    Raises:
        InputError: the clip is unreadable or has less than two frames.
        CheckpointError: the weights to go on with are damaged.
    """
    clip = read_video(training.input_path)
    if len(clip.frames_FHWC) < 2:
        raise InputError("has one frame only.", where=str(training.input_path), fix="Give a longer clip.")
    grey_FHW = clip.frames_FHWC.mean(axis=-1)
    weights = Weights.load(training.weights) if training.weights.exists() else Weights((0.0, 0.0))
    if weights.step:
        output.notice(f"resumed at step {weights.step}")
    with output.progress("Training", max(training.num_steps - weights.step, 0)) as advance:
        for step in range(weights.step, training.num_steps):
            pair = step % (len(grey_FHW) - 1)
            weights = Weights(_improved(weights.velocity, grey_FHW[pair], grey_FHW[pair + 1]), step + 1)
            if weights.step % training.save_every == 0 or weights.step == training.num_steps:
                weights.save(training.weights)
            advance()
    return weights


def _improved(velocity: tuple[float, float], before_HW: np.ndarray, after_HW: np.ndarray) -> tuple[float, float]:
    moved_HW = shift(before_HW, velocity)
    slopes = np.stack([-np.gradient(moved_HW, axis=1).ravel(), -np.gradient(moved_HW, axis=0).ravel()], axis=-1)
    change, *_ = np.linalg.lstsq(slopes, (after_HW - moved_HW).ravel(), rcond=None)
    right, down = np.asarray(velocity) + 0.5 * change
    return float(right), float(down)


def shift(image_HW: np.ndarray, velocity: tuple[float, float]) -> np.ndarray:
    """The image moved right and down by fractions of a pixel; what leaves on one side returns on the other."""
    for axis, amount in ((1, velocity[0]), (0, velocity[1])):
        whole = int(np.floor(amount))
        part = amount - whole
        image_HW = (1 - part) * np.roll(image_HW, whole, axis) + part * np.roll(image_HW, whole + 1, axis)
    return image_HW
