"""What `cosmos predict2 action` will do and cost, without loading anything."""

from __future__ import annotations

from cosmos_cli.generation.plan import Frames, Plan
from cosmos_cli.models.costs import cost_of, tokenizer_cost_of
from cosmos_plugins.predict2.action.inputs import check, output_paths, weight_paths
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.checkpoints import action_repositories
from cosmos_plugins.predict2.estimates import Work, estimate_work, files_of
from cosmos_plugins.predict2.variants import ACTION, ACTION_FPS, ACTIONS_PER_CHUNK
from cosmos_plugins.predict2.video2world.long_video import num_frames_of


def plan(settings: ActionSettings, request: ActionRequest) -> Plan:
    """Check a request and its input, and say what it will cost. Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    _, actions_KNA = check(settings, request)
    return estimate(settings, request, num_chunks=len(actions_KNA))


def estimate(settings: ActionSettings, request: ActionRequest, *, num_chunks: int) -> Plan:
    """What a request that was checked will cost. Raises InputError: there is no such device."""
    variant, weights = ACTION[settings.model_size], weight_paths(settings)
    height, width = variant.sizes["4:3"]
    chunk_frames = 1 + ACTIONS_PER_CHUNK
    return estimate_work(
        settings,
        weights,
        cost_of(variant.dit),
        tokenizer_cost_of(variant.vae),
        Work(
            clip_px=(chunk_frames, height, width),
            num_passes=request.num_steps + 1,
            num_given=1,
            num_rounds=num_chunks,
        ),
        model=f"predict2 action {settings.model_size}",
        request={
            "input_video": str(request.input_video),
            "input_annotation": str(request.input_annotation),
            "num_steps": request.num_steps,
            "seed": request.seed,
        },
        files=files_of(
            settings,
            weights,
            [settings.dit_path],
            lambda: action_repositories(own_dit=settings.dit_path is not None),
        ),
        frames=Frames(
            given=1,
            made=num_frames_of(num_chunks, chunk_frames, 1),
            computed=num_chunks * chunk_frames,
            chunks=num_chunks,
            height=height,
            width=width,
            fps=ACTION_FPS,
        ),
        output=output_paths(request)["video"],
    )
