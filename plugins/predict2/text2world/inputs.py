"""A request divided among the two models, and everything about it that can be known before one of them loads."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_cli.errors import CheckpointError, InputError, report_together
from cosmos_plugins.predict2.checks import check_sharing
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.predict2.settings import TextSettings
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE, VARIANTS
from cosmos_plugins.predict2.video2world import inputs


@dataclass(frozen=True)
class Stages:
    """What each of the two models is asked."""

    image_settings: Text2ImageSettings
    image_request: Text2ImageRequest
    video_settings: Video2WorldSettings
    video_request: Video2WorldRequest


def prepare(settings: Text2WorldSettings, request: Text2WorldRequest) -> Stages:
    """Check one request as far as that goes without a model.

    Raises:
        InputError: all that is wrong with the settings and the output.
        CheckpointError: weights of either model are missing.
    """
    stages = divide(settings, request)
    check(settings, stages)
    problems = []
    for look in (
        lambda: image_inputs.check_checkpoints(stages.image_settings),
        lambda: inputs.check_checkpoints(stages.video_settings),
    ):
        try:
            look()
        except CheckpointError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise CheckpointError.from_problems(problems)
    return stages


def check(settings: Text2WorldSettings, stages: Stages) -> None:
    """All but the weights. Raises InputError: all that is wrong with the settings and the output."""
    report_together(
        lambda: _check_ema(settings),
        lambda: _check_sharing(stages),
        lambda: inputs.check_settings(stages.video_settings),
        lambda: inputs.check_outputs(stages.video_request),
        lambda: image_inputs.check_files(stages.image_request),
    )


def _check_sharing(stages: Stages) -> None:
    """The GPUs can share the picture, and then the video. Of a picture without guidance both halves are the same."""
    num_heads = TEXT2IMAGE[stages.image_settings.model_size].dit.num_heads
    check_sharing(stages.image_settings, num_heads, guided=True)
    num_heads = VARIANTS[stages.video_settings.model_size].dit.num_heads
    check_sharing(stages.video_settings, num_heads, guided=bool(stages.video_request.guidance))


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
