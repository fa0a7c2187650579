"""The guidance of the wrist view: the warped room view, its gaps on the table filled, and the simulated foreground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_cli.media.resize import stretch
from cosmos_plugins.transfer1.guided.views import LABELS, Seen
from cosmos_plugins.transfer1.guided.warp.zbuffer import Warped

# F frames, H and W pixel height and width

REFERENCE_SIZE = 224
ERODED, BLURRED = 14, 21
"""Width of what is eroded and blurred, in pixels of a view of `REFERENCE_SIZE`."""


@dataclass(frozen=True)
class Composition:
    """What guides the wrist view, and where.

    frames_FHWC: uint8. planes_2FHW: uint8, 0 or 1: the background that is guided, and the foreground that is.
    """

    frames_FHWC: np.ndarray
    planes_2FHW: np.ndarray


def compose(
    warped: Warped, wrist: Seen, *, foreground: Sequence[int], fill: bool, reference: bool = False
) -> Composition:
    """Fill the table's gaps and paste the simulated foreground, at the size of the warped frames.

    Args:
        wrist: what the simulation shows; it is brought to that size.
        foreground: labels of the wrist view that stay as they are simulated.
        fill: gaps on the table get the median colour of what is known in that frame. A frame in which nothing is known
            keeps its gaps, and is then free to become anything.
        reference: as the published workflow does it: the same sizes for views of any size, the table's colour spread
            over what is known beside the foreground, and gaps that darken towards what is unknown.
    """
    num_frames, height, width = warped.covered_FHW.shape
    scale = min(height, width) / REFERENCE_SIZE
    frames_FHWC = np.empty_like(warped.frames_FHWC)
    planes_2FHW = np.zeros((2, num_frames, height, width), np.uint8)
    for i in range(num_frames):
        labels_HW = stretch(wrist.labels_FHW[i], height, width, interpolation=cv2.INTER_NEAREST)
        simulated_HWC = stretch(wrist.rgb_FHW3[i], height, width, interpolation=cv2.INTER_LINEAR)
        frame_HWC, covered_HW = warped.frames_FHWC[i], warped.covered_FHW[i]
        kept_HW = np.isin(labels_HW, list(foreground))
        if fill and covered_HW.any():
            table_HW = labels_HW == LABELS["table"]
            if reference:
                frame_HWC, covered_HW = fill_table(frame_HWC, covered_HW, table_HW, covered_HW, 1.0)
            else:
                frame_HWC, covered_HW = _fill_sharply(frame_HWC, covered_HW, table_HW, scale)
        frames_FHWC[i] = np.where(kept_HW[..., None], simulated_HWC, frame_HWC)
        planes_2FHW[0, i], planes_2FHW[1, i] = covered_HW & ~kept_HW, kept_HW
    return Composition(frames_FHWC, planes_2FHW)


def below_room(planes_2FHW: np.ndarray) -> np.ndarray:
    """The planes of one tall video, the room view above, (2, F, 2 H, W). The room is finished, so it is foreground."""
    above_2FHW = np.zeros_like(planes_2FHW)
    above_2FHW[1] = 1
    return np.concatenate([above_2FHW, planes_2FHW], axis=2)


def fill_table(
    frame_HWC: np.ndarray, covered_HW: np.ndarray, table_HW: np.ndarray, whole_HW: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the table's gaps, and a rim around them, the median colour of what is known; and what is known then.

    Args:
        whole_HW: where there is no gap; a rim inside it is filled too.
        scale: size of the view as a part of `REFERENCE_SIZE`.
    Source: i4h-workflows, warper_transfered_video_gpu.py (behaviour).
    """
    colour_C = np.median(frame_HWC[covered_HW], axis=0)
    eroded = max(1, round(ERODED * scale))
    blurred = max(1, round(BLURRED * scale)) | 1  # a Gaussian has a middle
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (eroded, eroded))
    sure_HW = cv2.erode(whole_HW.astype(np.uint8), ellipse) > 0
    gaps_HW = table_HW & ~sure_HW
    soft_HW = cv2.GaussianBlur(gaps_HW.astype(np.uint8) * 255, (blurred, blurred), 0)
    alpha_HW1 = soft_HW[..., None].astype(np.float32) / 255
    filled_HWC = (frame_HWC * (1 - alpha_HW1) + colour_C * alpha_HW1).clip(0, 255).astype(np.uint8)
    return filled_HWC, covered_HW | gaps_HW


def _fill_sharply(
    frame_HWC: np.ndarray, covered_HW: np.ndarray, table_HW: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Only what is known next to a gap is blended into it: neither the rim of the foreground, nor the unknown."""
    open_HW = table_HW & ~covered_HW
    base_HWC = frame_HWC.copy()
    base_HWC[open_HW] = np.median(frame_HWC[covered_HW], axis=0)
    # what is not table has no gaps, so that the table is known up to its own edge
    filled_HWC, now_covered_HW = fill_table(base_HWC, covered_HW, table_HW, ~open_HW, scale)
    still_open_HW = ~covered_HW & ~table_HW
    filled_HWC[still_open_HW] = frame_HWC[still_open_HW]
    return filled_HWC, now_covered_HW
