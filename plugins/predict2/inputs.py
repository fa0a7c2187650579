"""What the inputs of all kinds have in common: checks of settings, and what a request costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.generation import checks
from cosmos_cli.generation.checks import check_outputs, video_paths
from cosmos_cli.generation.files import files_of
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.work import Frames, Networks, Work
from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_plugins.predict2.settings import DitSettings
from cosmos_plugins.predict2.variants import SampleVariant, Variant


def check_settings(settings: DitSettings) -> None:
    """Combinations that no single field can judge."""
    checks.check_parallel(settings)
    if settings.load_ema and not settings.dit_path:
        raise InputError(
            "needs --dit-path: the published files hold no averaged weights.", where="--load-ema", fix="Leave it out."
        )


def check_weights(
    settings: DitSettings, repositories: Callable[[], Iterable[Repository]], missing: Iterable[Problem] = ()
) -> None:
    """All files of the model are there. Raises CheckpointError that says how to get those that are not.

    Args:
        missing: what is, and nobody publishes.
    """
    checks.check_weights(settings, repositories, own={"--dit-path": settings.dit_path}, missing=missing)


class VideoRequest(Protocol):
    """What a request for one video says about its files."""

    @property
    def save_path(self) -> Path: ...
    @property
    def preview(self) -> bool: ...
    @property
    def overwrite(self) -> bool: ...


def output_paths(request: VideoRequest) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", and "preview" where one is asked for."""
    return video_paths(request.save_path, preview=request.preview)


def check_files(request: VideoRequest) -> None:
    """The files to write are mp4 and its companions, can be written, and replace nothing unasked."""
    check_outputs(request.save_path, lambda: output_paths(request), overwrite=request.overwrite)


def networks_of(
    variant: Variant | SampleVariant, weights: Mapping[str, Path], dit: MinimalDiTConfig, *, refiner_bytes: int = 0
) -> Networks:
    """What a model loads, by its cost."""
    text_folder = weights.get("text_encoder")
    return Networks(cost_of(dit), tokenizer_cost_of(variant.vae), {}, text_folder, refiner_bytes)


def job(
    settings: DitSettings,
    weights: Mapping[str, Path],
    work: Work,
    frames: Frames,
    *,
    kind: str,
    request: Mapping[str, Any],
    output: Path,
    needed: Callable[[], Iterable[Repository]],
    notices: Iterable[str] = (),
) -> Job:
    """What a request that was checked will cost.

    Args:
        weights: as `checkpoints.weights_of` names them, and "lora" where there is one.
        kind: what makes it, in words, such as "text2image 2B".
        needed: tells what is published of the model; not asked for the tiny one.
    """
    own = [settings.dit_path, weights.get("lora")]
    shipped = [path for path in weights.values() if path not in own]
    files = files_of(settings, own=own, shipped=shipped, needed=needed)
    return Job(f"predict2 {kind}", request, work, frames, files, output, notices=tuple(notices))
