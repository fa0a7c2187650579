"""Load once, generate many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.files.writing import write_json
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import write_video
from cosmos_cli.requests import request_document
from cosmos_drift.requests import DriftRequest, DriftSettings
from cosmos_drift.weights import Weights

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """A request and its picture (H, W, 3), or the frames (F, H, W, 3) that were made of it."""

    request: DriftRequest
    pixels: np.ndarray


@dataclass(frozen=True)
class DriftResult:
    """What was written."""

    video: Path

    def document(self) -> dict[str, str]:
        """For `--json`."""
        return {"video": str(self.video)}


class DriftPipeline:
    """A world that drifts at a constant velocity; what leaves on one side returns on the other."""

    def __init__(self, settings: DriftSettings, weights: Weights, guardrails: Guardrails) -> None:
        self.settings, self.weights, self.guardrails = settings, weights, guardrails

    @classmethod
    def load(cls, settings: DriftSettings) -> DriftPipeline:
        """Read the weights. Raises CheckpointError if they are missing or damaged."""
        checks = registry.current().create_extensions(
            "guardrails", device="cpu", offload=False, checkpoint_dir=settings.checkpoint_dir, settings=settings
        )
        return cls(settings, Weights.load(settings.weights), Guardrails(checks))

    def __call__(self, request: DriftRequest) -> DriftResult:
        """Write the video and its sidecar.

        Raises:
            InputError: the picture cannot be read, or the video cannot be written.
            GuardrailBlocked: the prompt or the video was refused; nothing is written.
        """
        check_writable(request.save_path, field="--save-path", overwrite=request.overwrite)
        with making([request.save_path, request.save_path.with_suffix(".json")], overwrite=request.overwrite):
            return self.write(self.make(self.prepare(request)))

    def prepare(self, request: DriftRequest) -> Sample:
        """What needs no model: read the input."""
        if request.save_path.suffix != ".mp4":
            raise InputError(f"{request.save_path} is not an mp4.", where="--save-path", fix="End it in .mp4.")
        return Sample(request, read_image(request.input_path))

    def make(self, sample: Sample) -> Sample:
        """The frames, checked before and after."""
        request = sample.request
        self.guardrails.check_prompt(request.prompt)
        with output.progress("Drifting", request.num_frames, unit="frames") as advance:
            frames_FHWC = np.stack(list(self._frames(sample.pixels, request.num_frames, advance)))
        return Sample(request, self.guardrails.check_video(frames_FHWC))

    def write(self, made: Sample) -> DriftResult:
        """The video, and last the sidecar, which vouches for it."""
        request = made.request
        write_video(request.save_path, made.pixels, request.fps)
        write_json(request.save_path.with_suffix(".json"), {"request": request_document(self.settings, request)})
        return DriftResult(request.save_path)

    def _frames(self, picture_HWC: np.ndarray, num_frames: int, advance: Callable[[], None]) -> Iterator[np.ndarray]:
        H, W = (size // 2 * 2 for size in picture_HWC.shape[:2])  # video players want even sizes
        right, down = self.weights.velocity
        for time in range(num_frames):
            yield np.roll(picture_HWC[:H, :W], (round(down * time), round(right * time)), axis=(0, 1))
            advance()
