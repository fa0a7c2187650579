"""From a prompt over its first frame to the video: the two models take turns, so that only one is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.generation.plan import Watch
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.requests import read_json, request_document
from cosmos_cli.runtime.files import write_json
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2world.inputs import Stages, prepare
from cosmos_plugins.predict2.text2world.planning import estimate_picture, estimate_video, together
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world import inputs

if TYPE_CHECKING:
    from cosmos_plugins.predict2.text2image.pipeline import Text2ImageResult
    from cosmos_plugins.predict2.video2world.pipeline import Video2WorldResult


@dataclass(frozen=True)
class Text2WorldResult:
    """What was written: the first frame, and the video with its sidecar."""

    first_frame: Text2ImageResult
    video: Video2WorldResult

    def summary(self) -> str:
        """One line for people."""
        return self.video.summary()

    def document(self) -> dict[str, Any]:
        """For `--json`: what is said about the video, with the picture's path and times."""
        seconds = {f"first_frame_{stage}": value for stage, value in self.first_frame.seconds.items()}
        video = self.video.document()
        return {**video, "first_frame": str(self.first_frame.image), "seconds": {**seconds, **video["seconds"]}}


def run(settings: Text2WorldSettings, request: Text2WorldRequest) -> Text2WorldResult:
    """Make one video.

    Raises:
        InputError: all that is wrong with the settings and the output.
        CheckpointError: weights are missing, damaged or of another network.
        GuardrailBlocked: the prompt, the first frame or the video was refused.
    """
    return make(prepare(settings, request), settings, request)


def make(
    stages: Stages, settings: Text2WorldSettings, request: Text2WorldRequest, *, is_planned: bool = False
) -> Text2WorldResult:
    """Make one prepared video; of several processes, every one must call this.

    Args:
        is_planned: whether the process exists for this run alone, so that plan and run stand side by side in the
            sidecar.
    Raises:
        CheckpointError, GuardrailBlocked: as for `run`.
    """
    from cosmos_cli.runtime.memory.offload import release_memory
    from cosmos_plugins.predict2.networks import checked_guardrails

    guardrails = checked_guardrails(stages.video_settings, [request.prompt])
    try:
        first_frame = _make_first_frame(stages, guardrails, is_planned=is_planned)
    finally:
        release_memory()
    return _make_video(stages, first_frame, guardrails, settings, request, is_planned=is_planned)


def _make_first_frame(stages: Stages, guardrails: Guardrails, *, is_planned: bool) -> Text2ImageResult:
    from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline

    sample = image_inputs.prepare(stages.image_settings, stages.image_request)
    pipeline = Text2ImagePipeline.load(stages.image_settings, [sample], guardrails)
    watch = Watch(estimate_picture(stages), from_process_start=True) if is_planned else None
    result = pipeline.write(pipeline.make(sample), watch)
    pipeline.team.gather(())  # from here on the picture is there for all processes
    return result


def _make_video(
    stages: Stages,
    first_frame: Text2ImageResult,
    guardrails: Guardrails,
    settings: Text2WorldSettings,
    request: Text2WorldRequest,
    *,
    is_planned: bool,
) -> Text2WorldResult:
    from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

    sample = inputs.prepare(stages.video_settings, stages.video_request)
    pipeline = Video2WorldPipeline.load(stages.video_settings, [stages.video_request], guardrails)
    watch = Watch(estimate_video(stages), from_process_start=False) if is_planned else None
    result = Text2WorldResult(first_frame, pipeline.write(pipeline.make(sample), watch))
    if pipeline.team.is_writer:
        _rewrite_sidecar(result, settings, request)
    return result


def _rewrite_sidecar(result: Text2WorldResult, settings: Text2WorldSettings, request: Text2WorldRequest) -> None:
    """Have the video's sidecar tell of both models; the first frame has one of its own."""
    path = result.video.sidecar
    document = read_json(path)
    of_picture = read_json(result.first_frame.sidecar)
    weights = of_picture["weights"]
    document |= {
        "command": "cosmos predict2 text2world",
        # to make a video again must not mean to replace one
        "request": request_document(settings, request.model_copy(update={"overwrite": False})),
        "result": result.document(),
        "notices": output.notices(),
        "weights": document["weights"] | {f"first_frame_{name}": file for name, file in weights.items()},
    }
    for side in ("planned", "actual"):
        if side in document:
            document[side] = together(of_picture[side], document[side])
    write_json(path, document)
