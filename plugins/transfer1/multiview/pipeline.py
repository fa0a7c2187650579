"""Transfer to several cameras: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.errors import InputError
from cosmos_cli.generation.load import Models, load_models
from cosmos_cli.generation.mosaic import mosaic_frames
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.steps import Clock
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.preview import Row
from cosmos_cli.media.video import write_video
from cosmos_plugins.transfer1.multiview import inputs
from cosmos_plugins.transfer1.multiview.cameras import cameras_of
from cosmos_plugins.transfer1.multiview.generation import FRONT, Generation
from cosmos_plugins.transfer1.multiview.networks import networks
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.samples import Sample
from cosmos_plugins.transfer1.multiview.variants import Kind

if TYPE_CHECKING:
    from typing_extensions import Self

# V views, F frames of one, H and W height and width; B batch, L text tokens, D embedding width


@dataclass(frozen=True, kw_only=True)
class MultiviewResult(VideoResult):
    """A scene that was written.

    video: the views one after the other. mosaic: all of them in one picture.
    cameras: names of the views, in order. num_frames: of each view.
    """

    mosaic: Path
    cameras: list[str]
    num_clips: int

    def _size(self) -> str:
        return f"{len(self.cameras)} views of {super()._size()}"


class MultiviewPipeline(Pipeline[Sample, MultiviewResult]):
    """A loaded model with the control branches of some requests of one kind; it serves every request with these.

    >>> request = MultiviewRequest(controls={"hdmap": {"input_control": maps}}, view_condition_video="front.mp4")
    >>> MultiviewPipeline.load(MultiviewSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos transfer multiview"
    tiny_note = "has random weights: all cameras but the front one show noise, after frames that are given"
    needs_requests = True
    kind: Kind

    @classmethod
    def load_models(
        cls, settings: MultiviewSettings, requests: Sequence[MultiviewRequest], guardrails: Guardrails
    ) -> Models[Any, Any]:
        works = [inputs.work_of(settings, request) for request in requests]
        files = inputs.branch_files(works)
        return load_models(
            settings,
            works,
            guardrails,
            networks(settings, inputs.weight_paths(settings, requests[0]), files),
            what=f"{settings.model_size} for {len(cameras_of(settings.waymo_example))} cameras",
        )

    @classmethod
    def load(
        cls,
        settings: MultiviewSettings,
        requests: Sequence[MultiviewRequest] = (),
        guardrails: Guardrails | None = None,
    ) -> Self:
        pipeline = super().load(settings, requests, guardrails)
        pipeline.kind = requests[0].kind
        return pipeline

    def before(self, sample: Sample) -> None:
        request = sample.request
        if request.kind != self.kind:
            raise InputError(
                f"the loaded model is {self.kind}, but this request needs {request.kind}.",
                where="initial_condition_video",
            )
        self.models.check_branches(sample.paths.controls)

    def lacks(self, sample: Sample) -> Iterable[str]:
        if not sample.controls:
            yield "control: every one has weight 0, only the front video and the prompts act"

    def make_all(self, sample: Sample, clock: Clock) -> tuple[np.ndarray, list[str]]:
        frames_VFHWC, _ = self.make_clip(sample, clock)
        return frames_VFHWC, inputs.prompts_of_cameras(sample.cameras, sample.request)

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        with clock("encode_text"):
            text = self.encode_text(inputs.prompts_of_cameras(sample.cameras, sample.request))
        return self.generation(sample, text, clock).frames()

    def generation(self, sample: Sample, text_BLD: Tensor, clock: Clock) -> Generation:
        """The making of a sample with the loaded networks, of which it must not need others."""
        branches = {
            control.name: self.models.branches[sample.paths.controls[control.name]] for control in sample.controls
        }
        return Generation(self.models, sample, branches, text_BLD, clock)

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Contexts of all prompts, one after the other, (1, V * L, D)."""
        return torch.cat([self.models.encode_prompts(prompt, "")[0] for prompt in prompts], dim=1)

    def result(self, generated: Generated[Sample], **common: Any) -> MultiviewResult:
        sample = generated.sample
        return MultiviewResult.of(
            generated.frames,
            sample.outputs,
            sample.request.fps,
            mosaic=sample.outputs["mosaic"],
            cameras=[camera.name for camera in sample.cameras],
            num_clips=len(sample.clips),
            **common,
        )

    def write_media(self, generated: Generated[Sample]) -> None:
        sample, fps, frames_VFHWC = generated.sample, generated.sample.request.fps, generated.frames
        one_after_the_other = (frame for view in frames_VFHWC for frame in view)
        self.write_video(generated, one_after_the_other, fps, _preview_rows(generated))
        write_video(sample.outputs["mosaic"], mosaic_frames(frames_VFHWC, sample.cameras), fps)

    def title(self, generated: Generated[Sample]) -> str:
        return generated.prompts[FRONT]

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        names = (camera.name for camera in generated.sample.cameras)
        return {"prompts_used": dict(zip(names, generated.prompts, strict=True))}


def _preview_rows(generated: Generated[Sample]) -> Iterator[Row]:
    sample = generated.sample
    yield Row("front video", sample.front_FHWC)
    for number, camera in enumerate(sample.cameras):
        for control in sample.controls:
            yield Row(f"{camera.name}, {control.name}, weight {control.weight:g}", control.frames_VFHWC[number])
        yield Row(f"{camera.name}, output, seed {sample.request.seed}", generated.frames[number])
