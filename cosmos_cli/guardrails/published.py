"""The published guardrails, out of a checkpoint folder."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from cosmos_cli.checkpoints import catalogue
from cosmos_cli.checkpoints.catalogue import Repository, download_command
from cosmos_cli.errors import CheckpointError, Problem
from cosmos_cli.guardrails import Guardrail
from cosmos_cli.guardrails.blocklist import Blocklist
from cosmos_cli.guardrails.content_filter import VideoContentFilter
from cosmos_cli.guardrails.face_blur import FaceBlur
from cosmos_cli.guardrails.moderation import LlamaGuard

LISTS = f"{catalogue.COSMOS_GUARDRAIL.name}/{catalogue.BLOCKLIST}"
CONTENT_CLASSIFIER = f"{catalogue.COSMOS_GUARDRAIL.name}/{catalogue.CONTENT_CLASSIFIER.path}"
FACE_DETECTOR = f"{catalogue.COSMOS_GUARDRAIL.name}/{catalogue.FACE_DETECTOR.path}"
LLAMA_GUARD = catalogue.LLAMA_GUARD.name
IMAGE_ENCODER = catalogue.SIGLIP.name


def text_guardrails(checkpoints: Path, *, device: torch.device, offload: bool) -> dict[str, Guardrail]:
    """The checks of prompts, by name, in the order to run them.

    Args:
        checkpoints: the folder that holds the published repositories.
        offload: keep networks in host memory except while they work.
    Raises:
        CheckpointError: files are missing, all named at once, or damaged.
    """
    _require(
        (catalogue.COSMOS_GUARDRAIL, checkpoints / LISTS / "custom"),
        (catalogue.LLAMA_GUARD, checkpoints / LLAMA_GUARD / "config.json"),
        root=checkpoints,
    )
    return {
        "blocklist": Blocklist.read(checkpoints / LISTS),
        "llama-guard": LlamaGuard(checkpoints / LLAMA_GUARD, device=device, dtype=torch.bfloat16, offload=offload),
    }


def video_guardrails(
    checkpoints: Path, *, device: torch.device, offload: bool, min_safe_share: float, safe_classes: Collection[str]
) -> dict[str, Guardrail]:
    """The checks of videos, by name, in the order to run them: what is refused need not be blurred.

    Args:
        checkpoints: the folder that holds the published repositories.
        offload: keep networks in host memory except while they work.
        min_safe_share: the least share of safe frames in a video that may be written, from 0 to 1.
        safe_classes: names of the classes whose frames are safe, see `content_filter.CLASSES`.
    Raises:
        CheckpointError: files are missing, all named at once, or damaged.
    """
    encoder = catalogue.SIGLIP.folder(checkpoints)
    _require(
        (catalogue.SIGLIP, encoder / "config.json"),
        (catalogue.COSMOS_GUARDRAIL, checkpoints / CONTENT_CLASSIFIER),
        (catalogue.COSMOS_GUARDRAIL, checkpoints / FACE_DETECTOR),
        root=checkpoints,
    )
    return {
        "video-content": VideoContentFilter(
            encoder,
            checkpoints / CONTENT_CLASSIFIER,
            min_safe_share=min_safe_share,
            safe_classes=safe_classes,
            device=device,
            offload=offload,
        ),
        "face-blur": FaceBlur(checkpoints / FACE_DETECTOR, device=device, offload=offload),
    }


def _require(*needed: tuple[Repository, Path], root: Path) -> None:
    """All these files and folders, each of its repository, are there."""
    missing = [(repository, path) for repository, path in needed if not path.exists()]
    if missing:
        *others, last = [Problem("a file of the guardrails is missing.", str(path)) for _, path in missing]
        fetch = download_command((repository.name for repository, _ in missing), root)
        raise CheckpointError.from_problems([*others, Problem(last.what, last.where, fetch)])
