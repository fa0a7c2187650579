"""The `depth` control: how near everything is, estimated by Depth Anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoImageProcessor, DepthAnythingForDepthEstimation

from cosmos_cli.checkpoints.pretrained import load_model, reading
from cosmos_cli.runtime.finite import check_finite
from cosmos_plugins.transfer1.controls.parallel import on_all_cores

# B frames at once, F frames, H and W pixel height and width, C = 3 colours

_BATCH = 4
_WHAT = "a depth estimator"


class DepthEstimator:
    """Depth Anything from a folder in the layout of transformers.

    Args:
        folder: holds config.json, preprocessor_config.json and the weights.
        dtype: float16 on a GPU as in the original, float32 on the CPU.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of this model.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._model = load_model(DepthAnythingForDepthEstimation, folder, _WHAT, dtype)
        with reading(folder, _WHAT):
            # the original resizes with Pillow; the processor built on torchvision rounds differently
            self._processor: Any = AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
        self.move(device)

    def move(self, device: torch.device) -> None:
        """Bring the weights to a device; the next frames are estimated there."""
        self._device = device
        self._model.to(device)

    def estimate(self, frames_FHWC: np.ndarray, on_frame: Callable[[], None] = lambda: None) -> np.ndarray:
        """Grey pictures, near is bright: black is the farthest and white the nearest point of the whole video.

        Args:
            frames_FHWC: (F, H, W, 3) uint8 RGB, at least one frame.
            on_frame: called after every frame.
        Returns:
            (F, H, W, 3) uint8, the three colours equal.
        Source: cosmos-transfer1, auxiliary/depth_anything/model/depth_anything.py (behaviour).
        """
        depths = []
        size = 1 if self._device.type == "cpu" else _BATCH
        parts = (frames_FHWC[start : start + size] for start in range(0, len(frames_FHWC), size))
        estimated = on_all_cores(self._inverse_depth, parts) if size == 1 else map(self._inverse_depth, parts)
        for depth_BHW in estimated:
            for depth_HW in depth_BHW:
                depths.append(depth_HW)
                on_frame()
        return _as_grey(depths)

    @torch.inference_mode()  # which every thread has to say for itself
    def _inverse_depth(self, frames_BHWC: np.ndarray) -> np.ndarray:
        """(B, H, W) in the model's dtype; a larger number is nearer."""
        pixels: Tensor = self._processor(
            images=list(frames_BHWC), return_tensors="pt", input_data_format="channels_last"
        )["pixel_values"]
        predicted_Bhw = self._model(pixels.to(self._device, self._dtype)).predicted_depth
        resized = F.interpolate(
            predicted_Bhw[:, None], size=frames_BHWC.shape[1:3], mode="bicubic", align_corners=False
        )
        check_finite(resized, "the depths that the estimator gives")  # as grey they would be black
        return resized[:, 0].cpu().numpy()


def _as_grey(depths: list[np.ndarray]) -> np.ndarray:
    low, high = min(depth.min() for depth in depths), max(depth.max() for depth in depths)
    # a video of one depth is black; in float16 the small constant vanishes, and dividing by 0 would leave noise
    span = depths[0].dtype.type(float(high) - float(low) + 1e-8) or 1
    grey_FHWC = np.empty((len(depths), *depths[0].shape, 3), np.uint8)
    for frame_HWC, depth_HW in zip(grey_FHWC, depths, strict=True):
        frame_HWC[:] = ((depth_HW - low) / span * 255.0).astype(np.uint8)[..., None]
    return grey_FHWC
