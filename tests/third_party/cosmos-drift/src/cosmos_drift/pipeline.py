"""Load once, generate many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cosmos_cli import output, registry
from cosmos_cli.errors import InputError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import write_video
from cosmos_cli.requests import request_document
from cosmos_cli.runtime.files import check_writable, write_json
from cosmos_drift.requests import DriftRequest, DriftSettings
from cosmos_drift.weights import Weights

# F frames, H and W pixel height and width, C = 3 colours


class DriftPipeline:
    """A world that drifts at a constant velocity; what leaves on one side returns on the other."""

    def __init__(self, settings: DriftSettings, weights: Weights, guardrails: Guardrails) -> None:
        self.settings, self.weights, self.guardrails = settings, weights, guardrails

    @classmethod
    def load(cls, settings: DriftSettings) -> DriftPipeline:
        """Read the weights. Raises CheckpointError if they are missing or damaged."""
        checks = registry.current().create_extensions("guardrails", device="cpu", offload=False)
        return cls(settings, Weights.load(settings.weights), Guardrails(checks))

    def __call__(self, request: DriftRequest) -> Path:
        """Write the video and its sidecar.

        Raises:
            InputError: the picture cannot be read, or the video cannot be written.
            GuardrailBlocked: the prompt or the video was refused; nothing is written.
        """
        check_writable(request.save_path, field="--save-path", overwrite=request.overwrite)
        if request.save_path.suffix != ".mp4":
            raise InputError(f"{request.save_path} is not an mp4.", where="--save-path", fix="End it in .mp4.")
        self.guardrails.check_prompt(request.prompt)
        picture_HWC = read_image(request.input_path)
        with output.progress("Drifting", request.num_frames, unit="frames") as advance:
            frames_FHWC = np.stack(list(self._frames(picture_HWC, request.num_frames, advance)))
        write_video(request.save_path, self.guardrails.check_video(frames_FHWC), request.fps)
        write_json(request.save_path.with_suffix(".json"), {"request": request_document(self.settings, request)})
        return request.save_path

    def _frames(self, picture_HWC: np.ndarray, num_frames: int, advance: Callable[[], None]) -> Iterator[np.ndarray]:
        H, W = (size // 2 * 2 for size in picture_HWC.shape[:2])  # video players want even sizes
        right, down = self.weights.velocity
        for time in range(num_frames):
            yield np.roll(picture_HWC[:H, :W], (round(down * time), round(right * time)), axis=(0, 1))
            advance()
