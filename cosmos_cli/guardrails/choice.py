"""Which guardrails a run has: the published ones, or what ships with cosmos, and those of plugins."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli import registry
from cosmos_cli.guardrails import Guardrail, Guardrails
from cosmos_cli.guardrails.builtin import builtin_guardrails
from cosmos_cli.guardrails.published import text_guardrails, video_guardrails

if TYPE_CHECKING:
    from pydantic import BaseModel

ONLY_WORDS = "guardrail: this model has a short word list for prompts, and nothing that looks at videos"


def load_guardrails(
    checkpoint_dir: Path,
    settings: BaseModel,
    *,
    is_published: bool,
    device: torch.device,
    offload: bool,
    min_safe_share: float,
    safe_classes: Collection[str],
) -> Guardrails:
    """The guardrails of a run, which are built when they are first needed.

    Args:
        checkpoint_dir: the folder that holds the published repositories, and the weights of plugins.
        settings: what the run is loaded with, for those of plugins.
        is_published: whether the model is a published one; one that ships with cosmos has the guardrails that do.
        offload: keep their networks in host memory except while they work.
        min_safe_share: the least share of safe frames in a video that may be written, from 0 to 1.
        safe_classes: names of the classes whose frames are safe, see `content_filter.CLASSES`.
    Building them raises:
        CheckpointError: files of the published ones are missing or damaged.
        CosmosError: one of a plugin cannot be built.
    """

    def build() -> dict[str, Guardrail]:
        of_plugins = registry.current().create_extensions(
            "guardrails", device=str(device), offload=offload, checkpoint_dir=checkpoint_dir, settings=settings
        )
        if not is_published:
            return _together(builtin_guardrails(), of_plugins)
        own = text_guardrails(checkpoint_dir, device=device, offload=offload)
        own |= video_guardrails(
            checkpoint_dir, device=device, offload=offload, min_safe_share=min_safe_share, safe_classes=safe_classes
        )
        return _together(own, of_plugins)

    return Guardrails(build, gap="" if is_published else ONLY_WORDS)


def load_text_guardrails(checkpoint_dir: Path, settings: BaseModel, *, device: torch.device) -> Guardrails:
    """Those of a run that makes texts alone: the published checks of prompts, and those of plugins.

    Args and errors as for `load_guardrails`.
    """

    def build() -> dict[str, Guardrail]:
        of_plugins = registry.current().create_extensions(
            "guardrails", device=str(device), offload=False, checkpoint_dir=checkpoint_dir, settings=settings
        )
        return _together(text_guardrails(checkpoint_dir, device=device, offload=False), of_plugins)

    return Guardrails(build)


def _together(own: dict[str, Guardrail], of_plugins: dict[str, Guardrail]) -> dict[str, Guardrail]:
    """Both, own ones first; a plugin can add a check, but not replace one by taking its name."""
    return own | {f"{name} of a plugin" if name in own else name: check for name, check in of_plugins.items()}
