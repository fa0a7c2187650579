"""Refusing videos whose frames show what must not be shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from cosmos_cli.checkpoints.keys import Naming
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.checkpoints.pretrained import load_model
from cosmos_cli.errors import GuardrailBlocked
from cosmos_cli.guardrails.batch_norm import BatchNorm
from cosmos_cli.runtime.memory.offload import helper_at_work

# F frames, C colour channels, H and W height and width, D features of the image encoder, K classes

CLASSES = ("safe", "sexual content", "violence", "drugs", "child abuse", "hate and harassment", "self-harm")
"""Names of the classes, by their number; families differ on which are safe. Source: cosmos-predict2 661da47."""

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
        safe_classes: names of the classes whose frames are safe.
    Raises:
        CheckpointError: weights are missing or damaged.
        ValueError: there is no such class.
    """

    def __init__(
        self,
        encoder: Path,
        classifier: Path,
        *,
        min_safe_share: float,
        safe_classes: Collection[str],
        device: torch.device,
        offload: bool,
    ) -> None:
        # takes seconds to import, which runs without it are spared
        from transformers import SiglipVisionModel

        if unknown := set(safe_classes) - set(CLASSES):
            raise ValueError(f"no classes of frames: {', '.join(sorted(unknown))}")
        self._safe = {CLASSES.index(name) for name in safe_classes}
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
        unsafe = {
            frame: (found, score)
            for frame, (found, score) in enumerate(zip(classes_F.tolist(), scores_F.tolist(), strict=True))
            if found not in self._safe
        }
        if (len(frames_FHWC) - len(unsafe)) / len(frames_FHWC) < self._min_safe_share:
            raise GuardrailBlocked(
                f"{len(unsafe)} of {len(frames_FHWC)} frames are not safe: {_describe(unsafe)}.",
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


def _describe(unsafe: Mapping[int, tuple[int, float]]) -> str:
    """Like "frames 3-5, 9 drugs (score 0.98)", for every class.

    Args:
        unsafe: frame, in order, to its class and score.
    """
    frames_of = defaultdict(list)
    for frame, (found, _) in unsafe.items():
        frames_of[found].append(frame)
    return "; ".join(
        f"frames {_ranges(frames)} {CLASSES[found]} (score {max(unsafe[frame][1] for frame in frames):.2f})"
        for found, frames in sorted(frames_of.items())
    )


def _ranges(numbers: Iterable[int]) -> str:
    """Like "3-5, 9", for numbers in order; at least one."""
    numbers = list(numbers)
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
