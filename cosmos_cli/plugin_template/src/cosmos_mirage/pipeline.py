"""Load once, make many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cosmos_cli import output, registry
from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.files.writing import write_json
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.image import read_image
from cosmos_cli.media.video import write_video
from cosmos_cli.requests import request_document
from cosmos_cli.runtime.devices import choose_device
from cosmos_mirage.network import MirageNetwork, rolled_out
from cosmos_mirage.requests import MirageRequest, MirageSettings
from cosmos_mirage.task import to_uint8

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """A request and its picture (H, W, C), or the frames (F, H, W, C) that were made of it; uint8."""

    request: MirageRequest
    pixels: np.ndarray


@dataclass(frozen=True)
class MirageResult:
    """What was written."""

    video: Path

    def document(self) -> dict[str, str]:
        """For `--json`."""
        return {"video": str(self.video)}


class MiragePipeline:
    """A request in three steps, as batches want them: while one video is made, the next picture is read."""

    def __init__(
        self, settings: MirageSettings, network: MirageNetwork, device: torch.device, guardrails: Guardrails
    ) -> None:
        self.settings, self.network, self.device, self.guardrails = settings, network, device, guardrails

    @classmethod
    def load(cls, settings: MirageSettings) -> MiragePipeline:
        """Read the weights. Raises CheckpointError: they are missing, damaged or of another network."""
        device = choose_device(settings.device)
        checks = registry.current().create_extensions(
            "guardrails", device=str(device), offload=False, checkpoint_dir=settings.checkpoint_dir, settings=settings
        )
        network = load_network(
            MirageNetwork, newest(settings.weights), naming=PUBLISHED, dtype=torch.float32, device=device
        )
        return cls(settings, network, device, Guardrails(checks))

    def __call__(self, request: MirageRequest) -> MirageResult:
        """Write the video and its sidecar.

        Raises:
            InputError: the picture cannot be read, or the video cannot be written.
            GuardrailBlocked: the prompt or the video was refused; nothing is written.
        """
        check_writable(request.save_path, field="--save-path", overwrite=request.overwrite)
        with making([request.save_path, request.save_path.with_suffix(".json")], overwrite=request.overwrite):
            return self.write(self.make(self.prepare(request)))

    def prepare(self, request: MirageRequest) -> Sample:
        """What needs no network: read the picture."""
        if request.save_path.suffix != ".mp4":
            raise InputError(f"{request.save_path} is not an mp4.", where="--save-path", fix="End it in .mp4.")
        picture_HWC = read_image(request.input_path)
        H, W = (size // 2 * 2 for size in picture_HWC.shape[:2])  # video players want even sizes
        if not H or not W:
            raise InputError("is one pixel wide or high.", where=str(request.input_path), fix="Give a larger picture.")
        return Sample(request, picture_HWC[:H, :W])

    def make(self, sample: Sample) -> Sample:
        """The frames; guardrails see the prompt before and the video after."""
        self.guardrails.check_prompt(sample.request.prompt)
        output.status(f"Making {sample.request.num_frames} frames")
        picture_HWC = torch.from_numpy(sample.pixels).to(self.device)
        picture_BCHW = picture_HWC.permute(2, 0, 1)[None] / 127.5 - 1
        made_BCFHW = rolled_out(self.network, picture_BCHW, sample.request.num_frames)
        frames_FHWC = to_uint8(made_BCFHW)[0].cpu().numpy()
        return Sample(sample.request, self.guardrails.check_video(frames_FHWC))

    def write(self, made: Sample) -> MirageResult:
        """The video, and last the sidecar, which vouches for it."""
        request = made.request
        write_video(request.save_path, made.pixels, request.fps)
        write_json(request.save_path.with_suffix(".json"), {"request": request_document(self.settings, request)})
        return MirageResult(request.save_path)


def newest(weights: Path) -> Path:
    """The file itself, or the newest averaged weights in the folder of a post-training. Raises CheckpointError."""
    if not weights.is_dir():
        return weights
    exports = sorted((weights / "checkpoints").glob("iter_*_ema_model.pt"))
    if not exports:
        raise CheckpointError(
            "has no averaged weights.",
            where=str(weights),
            fix="Train: cosmos mirage post-train --experiment mirage_worlds",
        )
    return exports[-1]
