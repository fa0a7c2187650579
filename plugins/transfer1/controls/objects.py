"""Objects named by a text, and where they are throughout a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cosmos_plugins.transfer1.controls.detector import ObjectDetector
from cosmos_plugins.transfer1.controls.tracker import ObjectTracker

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True, eq=False)
class FoundObject:
    """One object of a video.

    label: the words of the prompt it was found by. score: how sure the detector is, 0 to 1.
    masks_FHW: where it is, (F, H, W) bool.
    """

    label: str
    score: float
    masks_FHW: np.ndarray


class ObjectFinder:
    """Finds objects in the first frame and follows them through the video.

    Args:
        detector_folder: of Grounding DINO. tracker_folder: of SAM 2; both in the layout of transformers.
        dtype: of the arithmetic where that is safe, bfloat16 on a GPU as in the original, float32 on the CPU.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of these models.
    """

    def __init__(
        self, detector_folder: Path, tracker_folder: Path, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._detector = ObjectDetector(detector_folder, device=device, dtype=dtype)
        self._tracker = ObjectTracker(tracker_folder, device=device, dtype=dtype)

    def move(self, device: torch.device) -> None:
        """Bring the weights to a device; the next video is searched there."""
        self._detector.move(device)
        self._tracker.move(device)

    def find(
        self,
        frames_FHWC: np.ndarray,
        prompt: str,
        *,
        best_only: bool = False,
        on_frame: Callable[[], None] = lambda: None,
    ) -> list[FoundObject]:
        """The objects of the prompt that are in the first frame, best first; none if nothing was found.

        Args:
            frames_FHWC: (F, H, W, 3) uint8 RGB, at least one frame.
            prompt: words, or several objects separated by " . "; what follows the first 128 words is ignored.
            best_only: only the object that the detector is surest of.
            on_frame: called after every frame.
        """
        detections = self._detector.detect(frames_FHWC[0], prompt)[: 1 if best_only else None]
        if not detections:
            return []
        masks_NFHW = self._tracker.track(frames_FHWC, [detection.box_px for detection in detections], on_frame)
        return [
            FoundObject(detection.label, detection.score, masks_FHW)
            for detection, masks_FHW in zip(detections, masks_NFHW, strict=True)
        ]


def union(found: Sequence[FoundObject], num_frames: int, height: int, width: int) -> np.ndarray:
    """Where any of the objects is, (F, H, W) bool; nowhere if there are none."""
    anywhere_FHW = np.zeros((num_frames, height, width), bool)
    for each in found:
        anywhere_FHW |= each.masks_FHW
    return anywhere_FHW
