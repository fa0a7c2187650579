"""The published guardrails, out of a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

import torch

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.errors import CheckpointError, Problem
from cosmos_cli.guardrails import Guardrail
from cosmos_cli.guardrails.blocklist import Blocklist
from cosmos_cli.guardrails.content_filter import VideoContentFilter
from cosmos_cli.guardrails.face_blur import FaceBlur
from cosmos_cli.guardrails.moderation import LlamaGuard

LISTS = "nvidia/Cosmos-Guardrail1/blocklist"
CONTENT_CLASSIFIER = "nvidia/Cosmos-Guardrail1/video_content_safety_filter/safety_filter.pt"
FACE_DETECTOR = "nvidia/Cosmos-Guardrail1/face_blur_filter/Resnet50_Final.pth"
LLAMA_GUARD = "meta-llama/Llama-Guard-3-8B"
IMAGE_ENCODER = "google/siglip-so400m-patch14-384"


def text_guardrails(checkpoints: Path, *, device: torch.device, offload: bool) -> dict[str, Guardrail]:
    """The checks of prompts, by name, in the order to run them.

    Args:
        checkpoints: the folder that holds the published repositories.
        offload: keep networks in host memory except while they work.
    Raises:
        CheckpointError: files are missing, all named at once, or damaged.
    """
    _require(checkpoints, f"{LISTS}/custom", f"{LLAMA_GUARD}/config.json")
    return {
        "blocklist": Blocklist.read(checkpoints / LISTS),
        "llama-guard": LlamaGuard(checkpoints / LLAMA_GUARD, device=device, dtype=torch.bfloat16, offload=offload),
    }


def video_guardrails(
    checkpoints: Path, *, device: torch.device, offload: bool, min_safe_share: float
) -> dict[str, Guardrail]:
    """The checks of videos, by name, in the order to run them: what is refused need not be blurred.

    Args:
        checkpoints: the folder that holds the published repositories.
        offload: keep networks in host memory except while they work.
        min_safe_share: the least share of safe frames in a video that may be written, from 0 to 1.
    Raises:
        CheckpointError: files are missing, all named at once, or damaged.
    """
    encoder = _image_encoder(checkpoints)
    _require(checkpoints, str(encoder.relative_to(checkpoints) / "config.json"), CONTENT_CLASSIFIER, FACE_DETECTOR)
    return {
        "video-content": VideoContentFilter(
            encoder,
            checkpoints / CONTENT_CLASSIFIER,
            min_safe_share=min_safe_share,
            device=device,
            offload=offload,
        ),
        "face-blur": FaceBlur(checkpoints / FACE_DETECTOR, device=device, offload=offload),
    }


def _image_encoder(checkpoints: Path) -> Path:
    """Folder of the image encoder. The original keeps it beside the classifier, in the layout of the Hub's cache."""
    cached = (checkpoints / CONTENT_CLASSIFIER).parent / f"models--{IMAGE_ENCODER.replace('/', '--')}" / "snapshots"
    snapshots = sorted(path.parent for path in cached.glob("*/config.json"))
    plain = checkpoints / IMAGE_ENCODER
    return snapshots[-1] if snapshots and not plain.is_dir() else plain


def _require(checkpoints: Path, *paths: str) -> None:
    missing = [checkpoints / path for path in paths if not (checkpoints / path).exists()]
    if missing:
        raise CheckpointError.from_problems(
            Problem("a file of the guardrails is missing.", str(path), DOWNLOAD_AGAIN) for path in missing
        )
