"""Refusing videos whose frames show what must not be shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import SiglipVisionModel

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.pretrained import load_model
from cosmos_cli.errors import GuardrailBlocked
from cosmos_cli.guardrails.batch_norm import BatchNorm
from cosmos_cli.runtime.memory.offload import helper_at_work

# F frames, C colour channels, H and W height and width, D features of the image encoder, K classes

CLASSES = ("safe", "sexual content", "class 2", "drugs", "child abuse", "hate and harassment", "self-harm")
"""Class 2 has no published name. Only class 0 lets a frame pass."""

FRAMES_AT_A_TIME = 8


class FrameClassifier(nn.Module):
    """The class of a frame by its features. Parameters as published, under `network`.

    Args:
        num_features: D, 1152 as published.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(num_features, 512), BatchNorm(512), nn.ReLU()),
            *(nn.Linear(512, 256), BatchNorm(256), nn.ReLU()),
            nn.Linear(256, len(CLASSES)),
        )

    def forward(self, features_FD: Tensor) -> Tensor:
        """Logits (F, K)."""
        return self.layers(features_FD)


class VideoContentFilter:
    """Classifies every frame and refuses the video when too many are not safe. Prompts pass.

    Args:
        encoder: folder of SigLIP, in the layout of transformers.
        classifier: `safety_filter.pt` of the published guardrail files.
        min_safe_share: the least share of safe frames in a video that may be written, from 0 to 1.
    Raises:
        CheckpointError: weights are missing or damaged.
    """

    def __init__(
        self, encoder: Path, classifier: Path, *, min_safe_share: float, device: torch.device, offload: bool
    ) -> None:
        self._encoder = load_model(SiglipVisionModel, encoder, "an image encoder", torch.float32)
        self._classifier = load_network(
            lambda: FrameClassifier(self._encoder.config.hidden_size),
            classifier,
            naming=Naming(("network.", ""), unlearnt=("*num_batches_tracked",)),
            dtype=torch.float32,
        )
        self._min_safe_share, self._device, self._offload = min_safe_share, device, offload
        if not offload:
            self._encoder.to(device)
            self._classifier.to(device)

    def check_prompt(self, prompt: str) -> None:
        """Prompts are not its matter."""

    @torch.inference_mode()
    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """The frames as they came.

        Raises:
            GuardrailBlocked: there are no frames, or too many are not safe; names them, their classes and scores.
            RuntimeError: a frame could not be classified.
        Source: cosmos-transfer1, auxiliary/guardrail/video_content_safety_filter (behaviour).
        """
        if not len(frames_FHWC):
            raise GuardrailBlocked("the video has no frames.", where="guardrail video-content")
        networks = [self._encoder, self._classifier]
        with helper_at_work(networks, self._device, offload=self._offload) as place:
            probabilities_FK = torch.cat(list(self._probabilities(frames_FHWC, place)))
        if not probabilities_FK.isfinite().all():
            raise RuntimeError("the image classifier gives no finite numbers")
        scores_F, classes_F = probabilities_FK.max(dim=1)
        num_safe = int((classes_F == 0).sum())
        if num_safe / len(frames_FHWC) < self._min_safe_share:
            raise GuardrailBlocked(
                f"{len(frames_FHWC) - num_safe} of {len(frames_FHWC)} frames are not safe: "
                f"{_describe(classes_F.tolist(), scores_F.tolist())}.",
                where="guardrail video-content",
                fix="Change the prompt or the input.",
            )
        return frames_FHWC

    def _probabilities(self, frames_FHWC: np.ndarray, place: torch.device) -> Iterator[Tensor]:
        """Probabilities (F, K) on the CPU, of a few frames at a time."""
        size = self._encoder.config.image_size
        for i in range(0, len(frames_FHWC), FRAMES_AT_A_TIME):
            pixels_FCHW = to_pixels(frames_FHWC[i : i + FRAMES_AT_A_TIME], size).to(place)
            features_FD = functional.normalize(self._encoder(pixel_values=pixels_FCHW).pooler_output, dim=-1)
            yield self._classifier(features_FD).softmax(dim=-1).cpu()


def to_pixels(frames_FHWC: np.ndarray, size: int) -> Tensor:
    """Frames as SigLIP sees them: (F, C, size, size) from -1 to 1, stretched by Pillow's bicubic filter."""
    bicubic = Image.Resampling.BICUBIC
    resized = [np.asarray(Image.fromarray(frame).resize((size, size), bicubic)) for frame in frames_FHWC]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _describe(classes: list[int], scores: list[float]) -> str:
    """Like "frames 3-5, 9 drugs (score 0.98)", for every class but the safe one."""
    frames_of = defaultdict(list)
    for frame, found in enumerate(classes):
        frames_of[found].append(frame)
    return "; ".join(
        f"frames {_ranges(frames)} {CLASSES[found]} (score {max(scores[frame] for frame in frames):.2f})"
        for found, frames in sorted(frames_of.items())
        if found
    )


def _ranges(numbers: Iterable[int]) -> str:
    """Like "3-5, 9", for numbers in order; at least one."""
    numbers = list(numbers)
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
