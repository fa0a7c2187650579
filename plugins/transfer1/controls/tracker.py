"""Following objects through a video from their boxes in the first frame, with SAM 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import Sam2VideoInferenceSession, Sam2VideoModel

from cosmos_cli.checkpoints.pretrained import load_model
from cosmos_cli.errors import CheckpointError

# N objects, F frames, H and W pixel height and width, C = 3 colours; h and w of the network's masks

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TOP_LEFT, _BOTTOM_RIGHT = 2, 3
"""What the network calls the corners of a box."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class ObjectTracker:
    """SAM 2 for videos from a folder in the layout of transformers.

    Args:
        folder: holds config.json and the weights.
        dtype: of the arithmetic where that is safe, bfloat16 on a GPU as in the original; weights stay float32.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of this model.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        _check_layout(folder)
        self._model = load_model(Sam2VideoModel, folder, "an object tracker", torch.float32)
        self.move(device)

    def move(self, device: torch.device) -> None:
        """Bring the weights to a device; the next video is followed there."""
        self._device = device
        self._model.to(device)

    @torch.inference_mode()
    def track(
        self, frames_FHWC: np.ndarray, boxes: Sequence[Box], on_frame: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Where each object is in every frame.

        Args:
            frames_FHWC: (F, H, W, 3) uint8 RGB.
            boxes: of at least one object, in the first frame.
            on_frame: called after every frame.
        Returns:
            (N, F, H, W) bool.
        Source: cosmos-transfer1, auxiliary/sam2/sam2_model.py (behaviour); Ravi et al. 2024, arXiv:2408.00714.
        """
        num_frames, height, width = frames_FHWC.shape[:3]
        config = self._model.config
        session = _Session(frames_FHWC, config.image_size, self._device)
        for number, box in enumerate(boxes):
            session.add_box(number, box)
        # what the network looks back at: so many masks, and the pointers of so many frames
        lookback = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        masks_NFHW = np.zeros((len(boxes), num_frames, height, width), bool)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            for i in range(num_frames):
                logits_N1hw = self._model(session, frame_idx=i).pred_masks
                for number, logits_1hw in enumerate(logits_N1hw):
                    masks_NFHW[number, i] = _at_size(logits_1hw, height, width).cpu().numpy()
                session.forget(i, lookback)
                on_frame()
        return masks_NFHW


class _Session(Sam2VideoInferenceSession):
    """What the network remembers of a video. Frames are prepared when it looks at them, and not kept.

    Not the streaming of transformers, which leaves the number of frames open: clips shorter than the network's memory
    of object pointers would come out differently.
    """

    def __init__(self, frames_FHWC: np.ndarray, size_px: int, device: torch.device) -> None:
        super().__init__(inference_device=device, inference_state_device=device, dtype=torch.float32)
        self._frames_FHWC, self._size_px = frames_FHWC, size_px

    @property
    def num_frames(self) -> int:
        return len(self._frames_FHWC)

    def get_frame(self, frame_idx: int) -> Tensor:
        """(3, size, size) float32, stretched to a square."""
        image = Image.fromarray(self._frames_FHWC[frame_idx])
        pixels_HWC = np.asarray(image.resize((self._size_px, self._size_px), Image.Resampling.BICUBIC)) / 255.0
        pixels_CHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1).to(self.inference_device, torch.float32)
        mean, std = (pixels_CHW.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return (pixels_CHW - mean) / std

    def add_box(self, number: int, box: Box) -> None:
        """A new object, by its box in the first frame."""
        height, width = self._frames_FHWC.shape[1:3]
        scale = torch.tensor([self._size_px / width, self._size_px / height])
        corners = torch.tensor(box, dtype=torch.float32).reshape(1, 1, 2, 2) * scale
        labels = torch.tensor([[[_TOP_LEFT, _BOTTOM_RIGHT]]], dtype=torch.int32)
        self.add_point_inputs(self.obj_id_to_idx(number), 0, {"point_coords": corners, "point_labels": labels})
        self.obj_with_new_inputs.append(number)

    def forget(self, frame_idx: int, lookback: int) -> None:
        """Drop what no later frame needs: else every object of every frame stays, megabytes each."""
        for outputs in self.output_dict_per_obj.values():
            for kept in outputs.values():
                for name in ("pred_masks", "high_res_masks"):
                    kept.get(frame_idx, {}).pop(name, None)
            outputs["non_cond_frame_outputs"].pop(frame_idx - lookback, None)


def _at_size(logits_1hw: Tensor, height: int, width: int) -> Tensor:
    """(H, W) bool: what is more likely the object than not."""
    resized = F.interpolate(logits_1hw[None].float(), size=(height, width), mode="bilinear", align_corners=False)
    return resized[0, 0] > 0


def _check_layout(folder: Path) -> None:
    """The published folder also holds the same weights in the format of the first release, which has other keys."""
    first_release = sorted(path.name for path in folder.glob("*.pt"))
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if first_release and missing:
        raise CheckpointError(
            f"holds {first_release[0]}, but not {' and '.join(missing)}, which the object tracker reads.",
            where=str(folder),
            fix="Download the other files of the same repository into it.",
        )
