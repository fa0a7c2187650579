"""From a prompt over its first frame to the video: the two models take turns, so that only one is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, InputError, report_together
from cosmos_cli.requests import read_json, request_document
from cosmos_cli.runtime.files import write_json
from cosmos_plugins.predict2 import inputs
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.settings import TextSettings
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings

if TYPE_CHECKING:
    from cosmos_plugins.predict2.pipeline import Video2WorldResult
    from cosmos_plugins.predict2.text2image.pipeline import Text2ImageResult


@dataclass(frozen=True)
class Stages:
    """What each of the two models is asked."""

    image_settings: Text2ImageSettings
    image_request: Text2ImageRequest
    video_settings: Video2WorldSettings
    video_request: Video2WorldRequest


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
    stages = prepare(settings, request)
    first_frame = _make_first_frame(stages)
    return _make_video(stages, first_frame, settings, request)


def prepare(settings: Text2WorldSettings, request: Text2WorldRequest) -> Stages:
    """Check one request as far as that goes without a model.

    Raises:
        InputError: all that is wrong with the settings and the output.
        CheckpointError: weights of either model are missing.
    """
    stages = divide(settings, request)
    report_together(
        lambda: _check_ema(settings),
        lambda: settings.check_single(),
        lambda: inputs.check_settings(stages.video_settings),
        lambda: inputs.check_outputs(stages.video_request),
        lambda: image_inputs.check_files(stages.image_request),
    )
    problems = []
    for check in (
        lambda: image_inputs.check_checkpoints(stages.image_settings),
        lambda: inputs.check_checkpoints(stages.video_settings),
    ):
        try:
            check()
        except CheckpointError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise CheckpointError.from_problems(problems)
    return stages


def _check_ema(settings: Text2WorldSettings) -> None:
    if settings.load_ema and not (settings.dit_path_text2image or settings.dit_path_video2world):
        raise InputError(
            "needs --dit-path-text2image or --dit-path-video2world: the published files hold no averaged weights.",
            where="--load-ema",
            fix="Leave it out.",
        )


def divide(settings: Text2WorldSettings, request: Text2WorldRequest) -> Stages:
    """What the two models are asked, unchecked."""
    shared = {name: getattr(settings, name) for name in TextSettings.model_fields}
    of_request = {
        name: getattr(request, name)
        for name in ("prompt", "negative_prompt", "aspect_ratio", "seed", "num_steps", "overwrite")
    }
    first_frame = request.save_path.parent / f"{request.save_path.stem}_first_frame.png"
    return Stages(
        Text2ImageSettings(
            **shared,
            dit_path=settings.dit_path_text2image,
            load_ema=settings.load_ema and settings.dit_path_text2image is not None,
            distill_steps=settings.distill_steps,
        ),
        Text2ImageRequest(**of_request, save_path=first_frame),
        Video2WorldSettings(
            **shared,
            dit_path=settings.dit_path_video2world,
            load_ema=settings.load_ema and settings.dit_path_video2world is not None,
            resolution=settings.resolution,
            fps=settings.fps,
            natten=settings.natten,
            disable_prompt_refiner=settings.disable_prompt_refiner,
            offload_prompt_refiner=settings.offload_prompt_refiner,
            use_cuda_graphs=settings.use_cuda_graphs,
        ),
        Video2WorldRequest(
            **of_request,
            input_path=first_frame,
            num_frames=request.num_frames,
            guidance=request.guidance,
            save_path=request.save_path,
            preview=request.preview,
        ),
    )


def _make_first_frame(stages: Stages) -> Text2ImageResult:
    from cosmos_cli.runtime.offload import release_memory
    from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline

    try:
        return Text2ImagePipeline.load(stages.image_settings, [stages.image_request.prompt])(stages.image_request)
    finally:
        release_memory()


def _make_video(
    stages: Stages, first_frame: Text2ImageResult, settings: Text2WorldSettings, request: Text2WorldRequest
) -> Text2WorldResult:
    from cosmos_plugins.predict2.pipeline import Video2WorldPipeline

    video = Video2WorldPipeline.load(stages.video_settings, [stages.video_request])(stages.video_request)
    result = Text2WorldResult(first_frame, video)
    _rewrite_sidecar(result, settings, request)
    return result


def _rewrite_sidecar(result: Text2WorldResult, settings: Text2WorldSettings, request: Text2WorldRequest) -> None:
    """Have the video's sidecar tell of both models; the first frame has one of its own."""
    path = result.video.sidecar
    document = read_json(path)
    weights = read_json(result.first_frame.sidecar)["weights"]
    document |= {
        "command": "cosmos predict2 text2world",
        # to make a video again must not mean to replace one
        "request": request_document(settings, request.model_copy(update={"overwrite": False})),
        "result": result.document(),
        "notices": output.notices(),
        "weights": document["weights"] | {f"first_frame_{name}": file for name, file in weights.items()},
    }
    write_json(path, document)
