"""What `cosmos predict2 text2image` will do and cost, without loading anything."""

from __future__ import annotations

from cosmos_cli.errors import report_together
from cosmos_cli.generation.plan import Frames, Plan
from cosmos_cli.models.costs import cost_of, tokenizer_cost_of
from cosmos_plugins.predict2.checkpoints import text2image_repositories
from cosmos_plugins.predict2.estimates import Work, estimate_work, files_of
from cosmos_plugins.predict2.text2image.inputs import (
    check_files,
    check_settings,
    check_sharing,
    output_paths,
    weight_paths,
)
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.variants import TEXT2IMAGE


def plan(settings: Text2ImageSettings, request: Text2ImageRequest) -> Plan:
    """Check a request, and say what it will cost. Missing weights are part of the plan, no error.

    Raises:
        InputError: all that is wrong with the settings and the output.
    """
    report_together(
        lambda: check_settings(settings), lambda: check_sharing(settings, request), lambda: check_files(request)
    )
    return estimate(settings, request)


def estimate(settings: Text2ImageSettings, request: Text2ImageRequest) -> Plan:
    """What a request that was checked will cost. Raises InputError: there is no such device."""
    variant, weights = TEXT2IMAGE[settings.model_size], weight_paths(settings)
    height, width = variant.sizes[request.aspect_ratio]
    num_halves = 1 if settings.distill_steps or not request.guidance else 2
    return estimate_work(
        settings,
        weights,
        cost_of(variant.dit),
        tokenizer_cost_of(variant.vae),
        Work(
            clip_px=(1, height, width),
            num_passes=settings.distill_steps or (request.num_steps + 1) * num_halves,
            num_texts=1 + bool(request.negative_prompt),
            num_contexts=num_halves,
        ),
        model=f"predict2 text2image {settings.model_size}{' distilled' if settings.distill_steps else ''}",
        request={
            "num_steps": settings.distill_steps or request.num_steps,
            "guidance": request.guidance,
            "seed": request.seed,
        },
        files=files_of(
            settings,
            weights,
            [settings.dit_path],
            lambda: text2image_repositories(
                settings.model_size, distilled=settings.distill_steps > 0, own_dit=settings.dit_path is not None
            ),
        ),
        frames=Frames(given=0, made=1, computed=1, chunks=1, height=height, width=width, fps=0),
        output=output_paths(request)["image"],
    )
