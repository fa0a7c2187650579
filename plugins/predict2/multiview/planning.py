"""What `cosmos predict2 multiview` will do and cost, without loading anything."""

from __future__ import annotations

from cosmos_cli.generation.plan import Frames, Plan
from cosmos_cli.models.costs import cost_of, tokenizer_cost_of
from cosmos_plugins.predict2.checkpoints import multiview_repositories
from cosmos_plugins.predict2.estimates import Work, estimate_work, files_of
from cosmos_plugins.predict2.multiview.inputs import check, output_paths, weight_paths
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.variants import MULTIVIEW, VIEW_FPS, VIEW_FRAMES


def plan(settings: MultiviewSettings, request: MultiviewRequest) -> Plan:
    """Check a request and its input, and say what it will cost. Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    check(settings, request)
    return estimate(settings, request)


def estimate(settings: MultiviewSettings, request: MultiviewRequest) -> Plan:
    """What a request that was checked will cost. Raises InputError: there is no such device."""
    variant, weights = MULTIVIEW[settings.model_size], weight_paths(settings)
    height, width = variant.sizes["16:9"]
    num_halves = 2 if request.guidance else 1
    return estimate_work(
        settings,
        weights,
        cost_of(variant.dit),
        tokenizer_cost_of(variant.vae),
        Work(
            clip_px=(VIEW_FRAMES, height, width),
            num_passes=(request.num_steps + 1) * num_halves,
            num_given=request.num_conditional_frames,
            num_texts=1 + bool(request.negative_prompt),
            num_contexts=num_halves,
            num_clips=request.n_views,
        ),
        model=f"predict2 multiview {settings.model_size}",
        request={
            "input_path": str(request.input_path),
            "n_views": request.n_views,
            "num_steps": request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
            "num_conditional_frames": request.num_conditional_frames,
        },
        files=files_of(
            settings,
            weights,
            [settings.dit_path],
            lambda: multiview_repositories(own_dit=settings.dit_path is not None),
        ),
        frames=Frames(
            given=request.num_conditional_frames,
            made=VIEW_FRAMES,
            computed=VIEW_FRAMES,
            chunks=1,
            height=request.n_views * height,
            width=width,
            fps=VIEW_FPS,
        ),
        output=output_paths(request)["video"],
    )
