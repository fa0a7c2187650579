"""Finding objects named by a text in one picture, with Grounding DINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoTokenizer, GroundingDinoForObjectDetection, GroundingDinoProcessor

from cosmos_cli.checkpoints.pretrained import load_model, reading

# H and W pixel height and width, C = 3 colours

_WHAT = "an object detector"
_MAX_WORDS = 128

# How sure the detector must be of a box, and of a word to belong to its label; the second pair when the first finds
# nothing.
_THRESHOLDS = ((0.15, 0.25), (0.1, 0.1))


class Detection(NamedTuple):
    """label: the words of the prompt that the box goes with. score: 0 to 1. box_px: left, top, right, bottom."""

    label: str
    score: float
    box_px: tuple[float, float, float, float]


class ObjectDetector:
    """Grounding DINO from a folder in the layout of transformers.

    Args:
        folder: holds config.json, preprocessor_config.json, the tokenizer files and the weights.
        dtype: of the arithmetic where that is safe; weights stay float32.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of this model.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._model = load_model(GroundingDinoForObjectDetection, folder, _WHAT, torch.float32)
        with reading(folder, _WHAT):
            images: Any = AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            self._processor: Any = GroundingDinoProcessor(images, tokenizer)
        self.move(device)

    def move(self, device: torch.device) -> None:
        """Bring the weights to a device; the next picture is looked at there."""
        self._device = device
        self._model.to(device)

    @torch.inference_mode()
    def detect(self, image_HWC: np.ndarray, prompt: str) -> list[Detection]:
        """The objects of the prompt, best first; none if there are none.

        Args:
            image_HWC: (H, W, 3) uint8 RGB.
            prompt: words, or several objects separated by " . "; what follows the first 128 words is ignored.
        Source: cosmos-transfer1, auxiliary/sam2/sam2_model.py (behaviour); Liu et al. 2023, arXiv:2303.05499.
        """
        text = " ".join(prompt.split()[:_MAX_WORDS])
        # 128 long words can be more tokens than the network takes, at which it fails
        inputs = self._processor(
            images=image_HWC,
            text=text,
            truncation=True,
            max_length=self._model.config.max_text_len,
            input_data_format="channels_last",
            return_tensors="pt",
        ).to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            outputs = self._model(**inputs)
        outputs.logits, outputs.pred_boxes = outputs.logits.float().cpu(), outputs.pred_boxes.float().cpu()
        for threshold, text_threshold in _THRESHOLDS:
            [found] = self._processor.post_process_grounded_object_detection(
                outputs,
                inputs["input_ids"].cpu(),
                threshold=threshold,
                text_threshold=text_threshold,
                target_sizes=[image_HWC.shape[:2]],
            )
            if len(found["scores"]):
                break
        order = np.argsort(found["scores"].numpy())[::-1]
        return [
            Detection(found["text_labels"][i], found["scores"][i].item(), tuple(found["boxes"][i].tolist()))
            for i in order
        ]
