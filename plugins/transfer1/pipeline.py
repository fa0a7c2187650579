"""Transfer: load once, generate many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_cli import output
from cosmos_cli.generation import tiny_rewriter
from cosmos_cli.generation.load import Models, OwnRefiner, load_models
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import VideoResult
from cosmos_cli.generation.settings import negative_prompt_of
from cosmos_cli.generation.steps import Clock
from cosmos_cli.generation.upsampler import choose_upsampler
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.preview import Row
from cosmos_cli.media.video import write_video
from cosmos_cli.models.prompts import Refiner, checked_prompt
from cosmos_plugins.transfer1 import inputs, needs
from cosmos_plugins.transfer1.checkpoints import choose_control
from cosmos_plugins.transfer1.chunks import plan_chunks
from cosmos_plugins.transfer1.generation import Generation, Texts
from cosmos_plugins.transfer1.networks import networks
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.samples import Sample
from cosmos_plugins.transfer1.upsampler import published_upsampler, upsampler
from cosmos_plugins.transfer1.videos import map_frames_of

# F frames, H and W pixel height and width


@dataclass(frozen=True, kw_only=True)
class TransferResult(VideoResult):
    """A video that was written. controls: modality to the control video that was computed and saved."""

    controls: dict[str, str]
    num_chunks: int


class TransferPipeline(Pipeline[Sample, TransferResult]):
    """A loaded Transfer1 model with the control branches of some requests; it serves every request with these.

    >>> request = TransferRequest(controls={"edge": {}}, input_video_path="street.mp4", video_save_folder="out")
    >>> TransferPipeline.load(TransferSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos transfer run"
    tiny_note = "knows rendered rooms alone, and follows edges and depth; branches of other controls are random"
    needs_requests = True

    @classmethod
    def load_models(
        cls, settings: TransferSettings, requests: Sequence[TransferRequest], guardrails: Guardrails
    ) -> Models[Any, Any]:
        works = [inputs.work_of(settings, request) for request in requests]
        names = dict.fromkeys(name for request in requests for name in request.active_controls)
        refiner, refiners = refiners_of(settings, list(names))
        return load_models(
            settings,
            works,
            guardrails,
            networks(settings, inputs.weight_paths(settings, requests[0]), inputs.branch_files(works)),
            what=f"{settings.model_size} with {', '.join(names)}",
            refiner=refiner,
            refiners=refiners,
        )

    def before(self, sample: Sample) -> None:
        self.models.check_branches(sample.paths.controls)

    def lacks(self, sample: Sample) -> Iterable[str]:
        if needs.upsamples_by_rule(self.settings, [control.name for control in sample.controls]):
            yield tiny_rewriter.says_so("prompt upsampler")

    def check_prompts(self, sample: Sample) -> str:
        frames = {control.name: control.frames_FHWC for control in sample.controls}
        shown = choose_control(list(frames))
        if self.models.refiners and shown is None:
            output.notice("the prompt upsampler looks at vis, edge, seg or depth; the prompt is used as given")
        prompt = checked_prompt(
            sample.request.prompt,
            frames[shown or sample.controls[0].name],
            self.guardrails,
            self.models.refiners if shown else {},
            way_out="Leave out --upsample-prompt.",
        )
        for region in sample.regions:
            self.guardrails.check_prompt(region.prompt)
        return prompt

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        with clock("encode_text"):
            text, negative = self.models.encode_prompts(prompt, negative_prompt_of(self.settings, sample.request))
            texts = Texts(text, negative, tuple(self.models.encode_text(region.prompt) for region in sample.regions))
        branches = [self.models.branches[sample.paths.controls[control.name]] for control in sample.controls]
        return Generation(
            self.models,
            sample,
            branches,
            texts,
            clock,
            guidance=inputs.guidance_used(self.settings, sample.request),
            is_distilled=self.settings.use_distilled,
        ).frames()

    def result(self, generated: Generated[Sample], **common: Any) -> TransferResult:
        sample, request = generated.sample, generated.sample.request
        computed = {
            key.removeprefix("control:"): str(path)
            for key, path in sample.outputs.items()
            if key.startswith("control:")
        }
        return TransferResult.of(
            generated.frames,
            sample.outputs,
            request.fps,
            controls=computed,
            num_chunks=len(
                plan_chunks(sample.num_frames, request.num_input_frames, self.models.tokenizer.chunk_frames)
            ),
            **common,
        )

    def write_media(self, generated: Generated[Sample]) -> None:
        sample, request = generated.sample, generated.sample.request
        rows = [*preview_rows(sample), Row(f"output, seed {request.seed}", generated.frames)]
        self.write_video(generated, generated.frames, request.fps, rows)
        write_computed(sample, sample.outputs)

    def tells(self, generated: Generated[Sample]) -> Mapping[str, Any]:
        return {"prompt_used": generated.prompt}


def refiners_of(
    settings: TransferSettings, controls: list[str]
) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
    """What rewrites prompts of videos with these controls.

    The server asked for, else what another package brings, else the published model or the rule of the tiny one.
    """
    if not settings.upsample_prompt:
        return None, dict
    if needs.upsamples_by_rule(settings, controls):
        return None, tiny_rewriter.by_rule
    own = None
    if needs.upsamples_itself(settings, controls):
        own = published_upsampler(settings.checkpoint_dir, controls)
    return choose_upsampler(settings, upsampler, own)


def write_computed(sample: Sample, paths: Mapping[str, Path]) -> None:
    """Write the control videos and the pictures of weight maps that were made out of the input video."""
    for control in sample.controls:
        if (path := paths.get(f"control:{control.name}")) is not None:
            write_video(path, control.frames_FHWC, sample.request.fps)
        if (path := paths.get(f"weight:{control.name}")) is not None:
            write_video(path, map_frames_of(control, sample.height, sample.width), sample.request.fps)


def preview_rows(sample: Sample) -> Iterator[Row]:
    """Titles and frames of what a sample starts from: the input, the controls and their weight maps."""
    if sample.frames_FHWC is not None:
        yield Row("input", sample.frames_FHWC)
    for control in sample.controls:
        if isinstance(control.weight, float):
            yield Row(f"{control.name}, weight {control.weight:g}", control.frames_FHWC)
        else:
            yield Row(control.name, control.frames_FHWC)
            yield Row(f"{control.name}, weight map", map_frames_of(control, sample.height, sample.width))
