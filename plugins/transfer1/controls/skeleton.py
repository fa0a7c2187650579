"""The `keypoint` control: the skeletons of all people on black, drawn as OpenPose does."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_plugins.transfer1.variants import PERSON_DETECTOR, POSE_ESTIMATOR

# P people, K points of a person, 2 = x and y in pixels; F frames, H and W pixel height and width, C = 3 colours

_SURE = 0.6
"""Points below this score are not drawn."""
_RADIUS_PX, _THICKNESS_PX = 2, 4

NETWORKS = (PERSON_DETECTOR, POSE_ESTIMATOR)
"""In the folder, in the order in which they work."""
_DETECTOR_SIZE, _ESTIMATOR_SIZE = (640, 640), (288, 384)
"""Pictures that they see, as rtmlib's mode "performance" has it: of the detector (height, width), then (width, height).
"""
_INSIDE = "end2end.onnx"
_MAX_BYTES = 1 << 30
"""Of a network: several times what is published."""

Colour = tuple[int, int, int]


class Link(NamedTuple):
    """A line between two points, by their numbers."""

    start: int
    end: int
    colour: Colour


class Skeleton(NamedTuple):
    """How people are drawn: the colour of every point, and the lines, in the order of drawing."""

    points: Sequence[Colour]
    links: Sequence[Link]


_BODY_POINTS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
"""0 nose, 1 neck; shoulder, elbow and wrist: 2-4 right, 5-7 left; hip, knee and ankle: 8-10 right, 11-13 left;
14 right eye, 15 left eye, 16 right ear, 17 left ear."""

_BODY_LINKS = (
    Link(1, 2, (255, 0, 0)),
    Link(1, 5, (255, 85, 0)),
    Link(2, 3, (255, 170, 0)),
    Link(3, 4, (255, 255, 0)),
    Link(5, 6, (170, 255, 0)),
    Link(6, 7, (85, 255, 0)),
    Link(1, 8, (0, 255, 0)),
    Link(8, 9, (0, 255, 85)),
    Link(9, 10, (0, 255, 170)),
    Link(1, 11, (0, 255, 225)),
    Link(11, 12, (0, 170, 255)),
    Link(12, 13, (0, 85, 255)),
    Link(1, 0, (0, 0, 255)),
    Link(0, 14, (255, 0, 170)),
    Link(14, 16, (170, 0, 255)),
    Link(0, 15, (255, 0, 255)),
    Link(15, 17, (255, 0, 170)),
)

_FINGERS = (
    ((255, 0, 0), (255, 76, 0), (255, 153, 0), (255, 230, 0)),
    ((204, 255, 0), (128, 255, 0), (51, 255, 0), (0, 255, 26)),
    ((0, 255, 102), (0, 255, 178), (0, 255, 255), (0, 178, 255)),
    ((0, 102, 255), (0, 26, 255), (51, 0, 255), (128, 0, 255)),
    ((204, 0, 255), (255, 0, 230), (255, 0, 153), (255, 0, 76)),
)
"""Colours of the links of thumb, fore, middle, ring and little finger, from the wrist to the tip."""

_LEFT_HAND, _RIGHT_HAND = 92, 113


def _hand(root: int) -> Iterable[Link]:
    """A hand of 21 points: the root, then four of each finger."""
    for finger, colours in enumerate(_FINGERS):
        for joint, colour in enumerate(colours):
            end = root + 4 * finger + joint + 1
            # the model has learnt it with this one link of the right middle finger in white
            is_white = root == _RIGHT_HAND and (finger, joint) == (2, 2)
            yield Link(root if joint == 0 else end - 1, end, (255, 255, 255) if is_white else colour)


OPENPOSE = Skeleton(
    points=(*_BODY_POINTS, *[(0, 0, 0)] * 6, *[(255, 255, 255)] * 68, *[(0, 0, 255)] * 42),
    links=(*_BODY_LINKS, *_hand(_LEFT_HAND), *_hand(_RIGHT_HAND)),
)
"""134 points: 18 of the body, 3 of each foot, 68 of the face, 21 of each hand. Feet are black, so they only show where
they cover something."""


class SkeletonEstimator:
    """People's poses by rtmlib, an optional package, with its networks (YOLOX, RTMW) out of a folder.

    Args:
        folder: holds both as they are published, each in an archive, or beside that as `NAME.onnx`.
    Raises:
        InputError: rtmlib is not installed.
        CheckpointError: a network is missing or damaged.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        try:
            # any backend but ONNX Runtime would need packages of its own
            rtmlib = importlib.import_module("rtmlib")
            importlib.import_module("onnxruntime")
        except ImportError as error:
            raise InputError(
                f"needs the package {error.name or 'rtmlib'}, which is not installed.",
                where="keypoint",
                fix="Install it with `pip install 'cosmos-cli[keypoint]'`, or give the control video as input_control.",
            ) from error
        self._load, self._folder = rtmlib.Wholebody, folder
        self.move(device)

    def move(self, device: torch.device) -> None:
        """Load the networks on a device; the next frames are estimated there."""
        # what it is not given, rtmlib fetches; and it prints what it loads, but stdout is for results
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(sys.stderr):
            detector, estimator = (_network(self._folder / name, Path(place)) for name in NETWORKS)
            try:
                self._people: Any = self._load(
                    det=str(detector),
                    det_input_size=_DETECTOR_SIZE,
                    pose=str(estimator),
                    pose_input_size=_ESTIMATOR_SIZE,
                    backend="onnxruntime",
                    device=device.type,
                )
            except Exception as error:  # ONNX Runtime has kinds of its own for damage
                raise CheckpointError(
                    f"cannot be loaded as a network for people: {error}", where=str(self._folder), fix=DOWNLOAD_AGAIN
                ) from error
        if device.index:  # rtmlib takes the first GPU, whichever is current
            for network in (self._people.det_model, self._people.pose_model):
                network.session.set_providers(["CUDAExecutionProvider"], [{"device_id": device.index}])

    def estimate(self, frames_FHWC: np.ndarray, on_frame: Callable[[], None] = lambda: None) -> np.ndarray:
        """The skeletons of all people.

        Args:
            frames_FHWC: (F, H, W, 3) uint8 RGB.
            on_frame: called after every frame.
        Returns:
            (F, H, W, 3) uint8 RGB.
        Source: cosmos-transfer1, auxiliary/human_keypoint/human_keypoint.py (behaviour).
        """
        drawn_FHWC = np.zeros_like(frames_FHWC)
        for canvas_HWC, frame_HWC in zip(drawn_FHWC, frames_FHWC, strict=True):
            points_PK2, scores_PK = self._people(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))
            draw(canvas_HWC, *to_openpose(points_PK2, scores_PK), OPENPOSE)
            on_frame()
        return drawn_FHWC


def _network(archive: Path, place: Path) -> Path:
    """The network of an archive, unpacked into a folder, unless it lies beside the archive already.

    Raises:
        CheckpointError: there is no such archive, or it is damaged, or of something else.
    """
    beside = archive.with_suffix(".onnx")
    if beside.is_file():
        return beside
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [each for each in opened.infolist() if PurePosixPath(each.filename).name == _INSIDE]
            if len(inside) != 1 or inside[0].file_size > _MAX_BYTES:
                raise CheckpointError(f"holds no {_INSIDE}.", where=str(archive), fix=DOWNLOAD_AGAIN)
            with opened.open(inside[0]) as packed, (place / beside.name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    except FileNotFoundError as error:
        raise CheckpointError("does not exist.", where=str(archive), fix="Download it.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"is damaged: {error}", where=str(archive), fix=DOWNLOAD_AGAIN) from error
    return place / beside.name


def to_openpose(points_PK2: np.ndarray, scores_PK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 133 points of COCO-WholeBody as the 134 of OpenPose, in which the neck is the middle of the shoulders.

    Returns:
        points (P, 134, 2) and scores (P, 134); the neck's is that of the shoulder which is less sure.
    Source: cosmos-transfer1, datasets/augmentors/human_keypoint_utils.py (behaviour).
    """
    shoulders = [5, 6]
    neck_P12, neck_P1 = points_PK2[:, shoulders].mean(axis=1)[:, None], scores_PK[:, shoulders].min(axis=1)[:, None]
    neck, (nose, left_eye, right_eye, left_ear, right_ear) = 133, range(5)
    left_arm, right_arm, left_leg, right_leg = ((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16))
    head = (right_eye, left_eye, right_ear, left_ear)
    order = [nose, neck, *right_arm, *left_arm, *right_leg, *left_leg, *head, *range(17, 133)]
    points, scores = np.concatenate([points_PK2, neck_P12], axis=1), np.concatenate([scores_PK, neck_P1], axis=1)
    return points[:, order], scores[:, order]


def draw(canvas_HWC: np.ndarray, points_PK2: np.ndarray, scores_PK: np.ndarray, skeleton: Skeleton) -> None:
    """Draw people into an image, one after the other: their points, and on top the lines between them.

    Args:
        canvas_HWC: (H, W, 3) uint8 RGB, contiguous; changed in place.
    """
    for points_K2, scores_K in zip(points_PK2, scores_PK, strict=True):
        pixels = [(int(x), int(y)) for x, y in points_K2]
        is_sure = scores_K >= _SURE
        for pixel, sure, colour in zip(pixels, is_sure, skeleton.points, strict=True):
            if sure:
                cv2.circle(canvas_HWC, pixel, _RADIUS_PX, colour, cv2.FILLED)
        for link in skeleton.links:
            if is_sure[link.start] and is_sure[link.end]:
                cv2.line(canvas_HWC, pixels[link.start], pixels[link.end], link.colour, _THICKNESS_PX)
