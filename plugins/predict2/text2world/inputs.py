"""A request divided among the two models, and everything about it that can be known before one of them loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cosmos_cli.errors import InputError, report_together
from cosmos_cli.generation.checks import check_sharing
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.plan import Plan, one_after_another, renamed
from cosmos_cli.generation.settings import guidance_of
from cosmos_plugins.predict2.settings import RefinerSettings, TextSettings
from cosmos_plugins.predict2.text2image import inputs as image_inputs
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE, VARIANTS
from cosmos_plugins.predict2.video2world import inputs as video_inputs
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

PIPELINE = "cosmos_plugins.predict2.text2world.pipeline:Text2WorldPipeline"
PICTURE = "first_frame_"
"""Begins the names of the picture's stages and weights beside those of the video."""


@dataclass(frozen=True)
class Sample:
    """What each of the two models is asked."""

    request: Text2WorldRequest
    image_settings: Text2ImageSettings
    image_request: Text2ImageRequest
    video_settings: Video2WorldSettings
    video_request: Video2WorldRequest

    @property
    def outputs(self) -> Mapping[str, Path]:
        return video_inputs.output_paths(self.video_request)

    @property
    def weights(self) -> Mapping[str, Path]:
        of_picture = image_inputs.weight_paths(self.image_settings).items()
        return video_inputs.weight_paths(self.video_settings) | {f"{PICTURE}{name}": path for name, path in of_picture}


def check(
    settings: Text2WorldSettings, request: Text2WorldRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`."""
    sample = divide(settings, request)
    report_together(
        lambda: _check_ema(settings),
        lambda: _check_sharing(sample),
        lambda: video_inputs.check_settings(sample.video_settings),
        lambda: video_inputs.check_files(sample.video_request) if writes else None,
        lambda: image_inputs.check_files(sample.image_request) if writes else None,
    )
    if needs_weights:
        video_inputs.check_checkpoints(
            sample.video_settings,
            also=lambda: image_inputs.published(sample.image_settings),
            missing=image_inputs.unpublished(sample.image_settings),
        )
    return lambda: sample


def prompts_of(settings: Text2WorldSettings, request: Text2WorldRequest) -> list[str]:
    return [request.prompt]


def plan_of(settings: Text2WorldSettings, request: Text2WorldRequest) -> Plan:
    """What a request that was checked will cost: a picture, and then a video."""
    picture, video = plans_of(settings, request)
    both = one_after_another(
        [renamed(picture, PICTURE), video],
        model=f"predict2 text2world {settings.model_size}{' sparse' if settings.natten else ''}",
        request=video.request,
    )
    return replace(both, frames=replace(video.frames, given=0), num_items=1)


def plans_of(settings: Text2WorldSettings, request: Text2WorldRequest) -> tuple[Plan, Plan]:
    """What the picture and the video will cost, each with a model of its own."""
    sample = divide(settings, request)
    picture = plan_job(sample.image_settings, image_inputs.job_of(sample.image_settings, sample.image_request))
    video = plan_job(
        sample.video_settings, video_inputs.job_of(sample.video_settings, sample.video_request, num_given=1)
    )
    return picture, video


def _check_sharing(sample: Sample) -> None:
    """The GPUs can share the picture, and then the video. Of a picture without guidance both halves are the same."""
    num_heads = TEXT2IMAGE[sample.image_settings.model_size].dit.num_heads
    check_sharing(sample.image_settings, num_heads, guided=True)
    num_heads = VARIANTS[sample.video_settings.model_size].dit.num_heads
    check_sharing(
        sample.video_settings, num_heads, guided=bool(guidance_of(sample.video_settings, sample.video_request))
    )


def _check_ema(settings: Text2WorldSettings) -> None:
    if settings.load_ema and not (settings.dit_path_text2image or settings.dit_path_video2world):
        raise InputError(
            "needs --dit-path-text2image or --dit-path-video2world: the published files hold no averaged weights.",
            where="--load-ema",
            fix="Leave it out.",
        )


def divide(settings: Text2WorldSettings, request: Text2WorldRequest) -> Sample:
    """What the two models are asked, unchecked."""
    shared = {name: getattr(settings, name) for name in RefinerSettings.model_fields}
    of_request = {
        name: getattr(request, name)
        for name in ("prompt", "negative_prompt", "aspect_ratio", "seed", "num_steps", "overwrite")
    }
    first_frame = request.save_path.parent / f"{request.save_path.stem}_first_frame.png"
    of_text = {name: shared[name] for name in TextSettings.model_fields}
    return Sample(
        request,
        Text2ImageSettings(
            **of_text,
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
