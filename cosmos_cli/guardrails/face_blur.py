"""Making faces in videos unrecognisable."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.guardrails.retinaface import MEAN_BGR, RetinaFace, decode, priors, suppress
from cosmos_cli.runtime.memory.offload import helper_at_work

# F frames, C colour channels, H and W height and width, P priors, N boxes

MIN_SCORE = 0.7
MAX_CANDIDATES = 5000
MAX_OVERLAP = 0.4
MAX_FACES = 750
MIN_SIZE_PX = 20
FARTHEST_PX = 1_000_000
MOSAIC = 5
"""Tiles of a blurred face in each direction."""

FRAMES_AT_A_TIME = 4


class FaceBlur:
    """Finds faces of at least 20 x 20 pixels in every frame and turns each into a mosaic of 5 x 5. Prompts pass.

    Args:
        detector: `Resnet50_Final.pth` of the published guardrail files.
    Raises:
        CheckpointError: the weights are missing or damaged.
    """

    def __init__(self, detector: Path, *, device: torch.device, offload: bool) -> None:
        self._network = load_network(
            RetinaFace,
            detector,
            naming=Naming(unlearnt=("*num_batches_tracked", "LandmarkHead.*")),
            dtype=torch.float32,
            device="cpu" if offload else device,
        )
        self._device, self._offload = device, offload

    def check_prompt(self, prompt: str) -> None:
        """Prompts are not its matter."""

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """A copy of the frames with the faces blurred; everything else is bit by bit as it came.

        Raises:
            RuntimeError: the detector gives no finite numbers.
        Source: cosmos-transfer1, auxiliary/guardrail/face_blur_filter (behaviour).
        """
        checked_FHWC = frames_FHWC.copy()
        with helper_at_work([self._network], self._device, offload=self._offload) as place:
            priors_P4 = priors(*frames_FHWC.shape[1:3]).to(place)
            for i in range(0, len(frames_FHWC), FRAMES_AT_A_TIME):
                chunk_FHWC = checked_FHWC[i : i + FRAMES_AT_A_TIME]
                for frame_HWC, boxes_N4 in zip(chunk_FHWC, self._faces(chunk_FHWC, priors_P4), strict=True):
                    for box in boxes_N4:
                        _blur(frame_HWC, *box.astype(int))
        return checked_FHWC

    @torch.inference_mode()
    def _faces(self, frames_FHWC: np.ndarray, priors_P4: Tensor) -> list[np.ndarray]:
        """Boxes (N, 4) of the faces in each frame: left, top, right, bottom in pixels, the likeliest first."""
        height, width = frames_FHWC.shape[1:3]
        place = priors_P4.device
        bgr_FHWC = torch.from_numpy(frames_FHWC).to(place, torch.float32).flip(-1)
        bgr_FHWC -= torch.tensor(MEAN_BGR, device=place)
        offsets_FP4, scores_FP = self._network(bgr_FHWC.permute(0, 3, 1, 2))
        boxes_FP4 = decode(offsets_FP4, priors_P4)
        boxes_FP4 *= torch.tensor([width, height, width, height], device=place)
        if not (boxes_FP4.isfinite().all() and scores_FP.isfinite().all()):
            raise RuntimeError("the face detector gives no finite numbers")
        # the area of a box must stay a number, and its border an integer, however wild the detector
        boxes_FP4 = boxes_FP4.clamp(-FARTHEST_PX, FARTHEST_PX)
        return [
            select(boxes_P4, scores_P)
            for boxes_P4, scores_P in zip(boxes_FP4.cpu().numpy(), scores_FP.cpu().numpy(), strict=True)
        ]


def select(boxes_P4: np.ndarray, scores_P: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) of different faces, the likeliest first."""
    likely = np.flatnonzero(scores_P > MIN_SCORE)
    best_first = likely[np.argsort(-scores_P[likely], kind="stable")][:MAX_CANDIDATES]
    boxes_N4 = boxes_P4[best_first]
    return boxes_N4[suppress(boxes_N4, MAX_OVERLAP)][:MAX_FACES]


def _blur(frame_HWC: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    """Turn a box into a mosaic, in place, as far as it lies in the frame; one below the least size is left."""
    if right - left < MIN_SIZE_PX or bottom - top < MIN_SIZE_PX:
        return
    face_HWC = frame_HWC[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if face_HWC.size:
        mosaic_HWC = cv2.resize(face_HWC, (MOSAIC, MOSAIC), interpolation=cv2.INTER_LINEAR)
        face_HWC[:] = cv2.resize(mosaic_HWC, face_HWC.shape[1::-1], interpolation=cv2.INTER_NEAREST)
