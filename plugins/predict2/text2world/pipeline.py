"""From a prompt over its first frame to the video: the two models take turns, so that only one is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosmos_cli import output
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.transactions import pending, transaction
from cosmos_cli.files.writing import write_json
from cosmos_cli.generation.load import Models, checked_guardrails
from cosmos_cli.generation.outputs import making_together
from cosmos_cli.generation.pipeline import Generated
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.record import PictureResult, VideoResult
from cosmos_cli.generation.steps import OnStep
from cosmos_cli.generation.watch import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.requests import request_document
from cosmos_cli.runtime.memory.offload import release_memory
from cosmos_plugins.predict2.pipeline import Predict2Pipeline, S
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2world import inputs
from cosmos_plugins.predict2.text2world.inputs import PICTURE, Sample
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world import inputs as video_inputs
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Text2WorldResult:
    """What was written: the first frame, and the video with its sidecar."""

    first_frame: PictureResult
    video: VideoResult

    def summary(self) -> str:
        """One line for people."""
        return self.video.summary()

    def document(self) -> dict[str, Any]:
        """For `--json`: what is said about the video, with the picture's path and times."""
        video = self.video.document()
        seconds = _together(self.first_frame.seconds, video["seconds"])
        return {**video, "first_frame": str(self.first_frame.image), "seconds": seconds}


class Text2WorldPipeline:
    """Predict2 Text2Image and Video2World, each loaded when it works.

    >>> pipeline = Text2WorldPipeline.load(Text2WorldSettings(model_size="tiny"))
    >>> pipeline(Text2WorldRequest(prompt="A bus drives off in the rain.", save_path="out.mp4"))
    """

    def __init__(self, settings: Text2WorldSettings, guardrails: Guardrails) -> None:
        self.settings, self.guardrails = settings, guardrails
        self._at_work: Models[Any, Any] | None = None

    @property
    def models(self) -> Models[Any, Any]:
        """Those that a step comes from, while it is told to who asked for `on_step`."""
        assert self._at_work is not None
        return self._at_work

    def _make(self, pipeline: Predict2Pipeline[S, Any], sample: S, on_step: OnStep | None) -> Generated[S]:
        self._at_work = pipeline.models
        try:
            return pipeline.make(sample, on_step=on_step)
        finally:
            self._at_work = None  # so that they go with their pipeline

    @classmethod
    def load(
        cls,
        settings: Text2WorldSettings,
        requests: Sequence[Text2WorldRequest] = (),
        guardrails: Guardrails | None = None,
    ) -> Text2WorldPipeline:
        """Load the guardrails alone. Arguments and errors as for `cosmos_cli.generation.pipeline.Pipeline.load`."""
        prompts = [inputs.prompts_of(settings, request) for request in requests]
        return cls(settings, guardrails or checked_guardrails(settings, prompts))

    def __call__(self, request: Text2WorldRequest, *, on_step: OnStep | None = None) -> Text2WorldResult:
        """Make one video and write its files. Raises what `check` of the inputs, and both pipelines raise."""
        sample = inputs.check(self.settings, request)()
        with making_together(sample.outputs.values(), overwrite=request.overwrite):
            return self.run(sample, on_step=on_step)

    def run(self, sample: Sample, *, plans: Sequence[Plan] = (), on_step: OnStep | None = None) -> Text2WorldResult:
        """Make and write a prepared sample; of several processes, every one must call this.

        Args:
            plans: of the picture and of the video, if the process exists for this run alone, see
                `cosmos_cli.generation.pipeline.Pipeline.run`.
        """
        of_picture, of_video = plans or (None, None)
        with transaction(sample.outputs.values()):
            frames_FHWC, first_frame = self._make_picture(sample, on_step, of_picture)
            pipeline, made = self._make_video(sample, frames_FHWC, on_step)
            watch = Watch(of_video, from_process_start=False) if of_video else None
            result = Text2WorldResult(first_frame, pipeline.write(made, watch))
            if pipeline.team.is_writer:
                self._rewrite_sidecar(result, sample.request)
        return result

    def generate(self, request: Text2WorldRequest, *, on_step: OnStep | None = None) -> Generated[Any]:
        """Make one video and write nothing; arguments and errors as for a call."""
        sample = inputs.check(self.settings, request, writes=False)()
        image_sample = image_inputs.read(sample.image_settings, sample.image_request)
        picture = self._make(self._load_picture(sample), image_sample, on_step)
        release_memory()
        _, made = self._make_video(sample, picture.frames, on_step)
        return Generated(sample, made.frames, _together(picture.seconds, made.seconds), made.prompts, made.not_run)

    def _load_picture(self, sample: Sample) -> Text2ImagePipeline:
        pipeline: Text2ImagePipeline = Text2ImagePipeline.load(
            sample.image_settings, [sample.image_request], self.guardrails
        )
        return pipeline

    def _make_picture(
        self, sample: Sample, on_step: OnStep | None, plan: Plan | None
    ) -> tuple[np.ndarray, PictureResult]:
        """The first frame, (1, H, W, 3) uint8; the model has gone from memory then."""
        pipeline = self._load_picture(sample)
        watch = Watch(plan, from_process_start=True) if plan else None
        made = self._make(pipeline, image_inputs.read(sample.image_settings, sample.image_request), on_step)
        return made.frames, pipeline.write(made, watch)

    def _make_video(
        self, sample: Sample, frames_FHWC: np.ndarray, on_step: OnStep | None
    ) -> tuple[Video2WorldPipeline, Generated[video_inputs.Sample]]:
        release_memory()
        settings, request = sample.video_settings, sample.video_request
        pipeline: Video2WorldPipeline = Video2WorldPipeline.load(settings, [request], self.guardrails)
        return pipeline, self._make(pipeline, video_inputs.with_frames(settings, request, frames_FHWC), on_step)

    def _rewrite_sidecar(self, result: Text2WorldResult, request: Text2WorldRequest) -> None:
        """Have the video's sidecar tell of both models; the first frame has one of its own."""
        path = result.video.sidecar
        document, of_picture = read_json(pending(path)), read_json(pending(result.first_frame.sidecar))
        weights = {f"{PICTURE}{name}": file for name, file in of_picture["weights"].items()}
        # the same text encoder reads the prompt for both
        settings = self.settings.model_copy(update={"text_encoder": document["request"]["text_encoder"]})
        document |= {
            "command": "cosmos predict2 text2world",
            # to make a video again must not mean to replace one
            "request": request_document(settings, request.model_copy(update={"overwrite": False})),
            "result": result.document(),
            "notices": output.notices(),
            "weights": document["weights"] | weights,
        }
        for side in ("planned", "actual"):
            if side in document:
                document[side] = _figures_together(of_picture[side], document[side])
        write_json(path, document)


def _together(picture: Mapping[str, float], video: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the stages of both."""
    return {**{f"{PICTURE}{stage}": value for stage, value in picture.items()}, **video}


def _figures_together(picture: Mapping[str, Any], video: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of both, planned or actual, as those of one run; see `Plan.figures`."""
    of_picture = {stage: value for stage, value in picture["seconds"].items() if stage != "total"}
    total = picture["seconds"]["total"] + video["seconds"]["total"]
    peaks = {
        name: max((figures[name] for figures in (picture, video) if figures[name] is not None), default=None)
        for name in ("device_peak_bytes", "host_peak_bytes")
    }
    return {**peaks, "seconds": {**_together(of_picture, video["seconds"]), "total": round(total, 3)}}
