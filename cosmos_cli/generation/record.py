"""What is told about a generation: notices before it, its result, and the sidecar after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import T5_BFLOAT16
from cosmos_cli.files.writing import write_json
from cosmos_cli.generation.settings import GenerationSettings, as_made
from cosmos_cli.requests import StrictModel, request_document
from cosmos_cli.runtime import provenance

if TYPE_CHECKING:
    import numpy as np

    from cosmos_cli.generation.load import Models
    from cosmos_cli.models.t5 import CachedTextEncoder

V = TypeVar("V", bound="VideoResult")


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """What was written, and how long its stages took.

    seconds: stage to wall time in seconds.
    not_run: stages that did not take part.
    """

    sidecar: Path
    height: int
    width: int
    seconds: dict[str, float]
    not_run: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        return f"{self._file()}  ({self._size()}, {self.seconds['total']:.1f} s)"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    @abstractmethod
    def _file(self) -> Path: ...

    def _size(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, kw_only=True)
class PictureResult(Result):
    """A picture that was written."""

    image: Path

    def _file(self) -> Path:
        return self.image


@dataclass(frozen=True, kw_only=True)
class VideoResult(Result):
    """A video that was written. preview: its contact sheet, where one was asked for."""

    video: Path
    preview: Path | None
    num_frames: int
    fps: int

    @classmethod
    def of(cls: type[V], frames: np.ndarray, outputs: Mapping[str, Path], fps: int, **others: Any) -> V:
        """Of frames (F, H, W, 3), or of those of several views (V, F, H, W, 3); others: all other fields."""
        num_frames, height, width = frames.shape[-4:-1]
        return cls(
            video=outputs["video"],
            preview=outputs.get("preview"),
            num_frames=num_frames,
            height=height,
            width=width,
            fps=fps,
            **others,
        )

    def _file(self) -> Path:
        return self.video

    def _size(self) -> str:
        return f"{self.num_frames} frames, {super()._size()}, {self.fps} fps"


def write_sidecar(
    path: Path,
    command: str,
    settings: GenerationSettings,
    request: StrictModel,
    models: Models[Any, Any],
    *,
    result: Result,
    weights: Mapping[str, Path],
    num_threads: int,
    more: Mapping[str, Any],
) -> None:
    """Write how something was made; `--from-file` makes it again from the part under "request".

    Args:
        num_threads: of torch while it was made.
        more: what only this kind tells, and what was planned beside what it took, see `Watch.finish`.
    """
    encoder = models.text_encoder
    settings = as_made(settings, None if encoder is None else encoder.files.folder)
    document = {
        "command": command,
        # to make something again must not mean to replace it
        "request": request_document(settings, request.model_copy(update={"overwrite": False})),
        "result": result.document(),
        "checked_by": models.guardrails.names,
        "notices": output.notices(),
        "weights": provenance.weights(weights),
        **({} if encoder is None else {"text_encoder": _text_encoder(settings, encoder)}),
        "environment": provenance.environment(models.device, models.dtype, settings.shortcuts, num_threads=num_threads),
        "parallel": str(models.team.layout),
        **more,
    }
    write_json(path, document)


def _text_encoder(settings: GenerationSettings, encoder: CachedTextEncoder) -> dict[str, str]:
    """Which text encoder a run read prompts with."""
    document = encoder.document()
    is_published = document["stored_in"] == "bfloat16" and not settings.is_tiny
    return document | ({"note": T5_BFLOAT16.note} if is_published else {})
