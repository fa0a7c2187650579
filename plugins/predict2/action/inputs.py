"""Everything about a request that can be known before a model loads: checked, read, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import InputError, report_together
from cosmos_cli.generation.checks import check_file, check_sharing
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.work import Frames, Work
from cosmos_cli.media.source import Source
from cosmos_plugins.predict2.action.actions import FIELD, read_actions
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.checkpoints import action_repositories, weights_of
from cosmos_plugins.predict2.inputs import check_files, check_settings, check_weights, job, networks_of, output_paths
from cosmos_plugins.predict2.variants import ACTION, ACTION_FPS, ACTIONS_PER_CHUNK

if TYPE_CHECKING:
    import numpy as np

# K chunks, N = 12 actions of a chunk, A = 7 numbers of one action; H and W pixel height and width, C = 3 colours

PIPELINE = "cosmos_plugins.predict2.action.pipeline:ActionPipeline"


@dataclass(frozen=True)
class Sample:
    """One video to make.

    frames_FHWC: its first frame, (1, height, width, 3) uint8.
    actions_KNA: the actions of every chunk, scaled as the network reads them, (K, 12, 7).
    """

    request: ActionRequest
    frames_FHWC: np.ndarray
    actions_KNA: np.ndarray
    outputs: Mapping[str, Path]
    weights: Mapping[str, Path]


def check(
    settings: ActionSettings, request: ActionRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`."""
    num_heads = ACTION[settings.model_size].dit.num_heads
    frames: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=False),
        lambda: check_files(request) if writes else None,
        lambda: frames.append(read_first_frame(request.input_video)),
        lambda: actions.append(read_chunks(request)),
    )
    if needs_weights:
        check_weights(settings, lambda: _repositories(settings))
    return lambda: _sample(settings, request, frames[0], actions[0])


def read(settings: ActionSettings, request: ActionRequest) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return _sample(settings, request, read_first_frame(request.input_video), read_chunks(request))


def _sample(
    settings: ActionSettings, request: ActionRequest, frames_FHWC: np.ndarray, actions_KNA: np.ndarray
) -> Sample:
    from cosmos_cli.media.resize import cover_and_crop

    size = ACTION[settings.model_size].sizes["4:3"]
    return Sample(
        request, cover_and_crop(frames_FHWC, *size), actions_KNA, output_paths(request), weight_paths(settings)
    )


def prompts_of(settings: ActionSettings, request: ActionRequest) -> list[str]:
    return []


def weight_paths(settings: ActionSettings) -> dict[str, Path]:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = ACTION[settings.model_size]
    return weights_of(settings, variant, variant.dit_file)


def _repositories(settings: ActionSettings) -> list[Repository]:
    return action_repositories(own_dit=settings.dit_path is not None)


def work_of(settings: ActionSettings, request: ActionRequest | None = None) -> Work:
    """What a request asks of the networks; without one, the most that is usual. Raises InputError: no actions."""
    variant = ACTION[settings.model_size]
    return Work(
        networks_of(variant, weight_paths(settings), variant.dit),
        clip_px=(1 + ACTIONS_PER_CHUNK, *variant.sizes["4:3"]),
        num_passes=(request.num_steps if request else 35) + 1,
        num_rounds=len(read_chunks(request)) if request else 1,
        encoded=((1, 1),),
        encode_stage="encode_frames",
    )


def job_of(settings: ActionSettings, request: ActionRequest) -> Job:
    """What a request that was checked will cost. Raises InputError: its actions cannot be read."""
    work = work_of(settings, request)
    computed, height, width = work.clip_px
    frames = Frames(
        given=1,
        # the frame that two chunks share is shown once
        made=1 + work.num_rounds * ACTIONS_PER_CHUNK,
        computed=work.num_rounds * computed,
        chunks=work.num_rounds,
        height=height,
        width=width,
        fps=ACTION_FPS,
    )
    return job(
        settings,
        weight_paths(settings),
        work,
        frames,
        kind=f"action {settings.model_size}",
        request={
            "input_video": str(request.input_video),
            "input_annotation": str(request.input_annotation),
            "num_steps": request.num_steps,
            "seed": request.seed,
        },
        output=output_paths(request)["video"],
        needed=lambda: _repositories(settings),
    )


def read_first_frame(path: Source) -> np.ndarray:
    """A picture, or the first frame of a video, (1, H, W, 3) uint8.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    check_file(path, "--input-video", "a video or a picture")

    from cosmos_cli.media.image import is_image, read_image
    from cosmos_cli.media.video import read_first_frame as first_of_video

    return (read_image(path) if is_image(path) else first_of_video(path))[None]


def read_chunks(request: ActionRequest) -> np.ndarray:
    """The actions that the request uses, (K, 12, 7): the first 12, or as many times 12 as there are.

    Raises:
        InputError: the file cannot be read, or has fewer than 12 actions.
    """
    check_file(request.input_annotation, FIELD, "a JSON file or a .npy array")
    actions_MA = read_actions(request.input_annotation)
    num_chunks = len(actions_MA) // ACTIONS_PER_CHUNK
    if not num_chunks:
        raise InputError(
            f"{request.input_annotation} has {len(actions_MA)} actions, fewer than the {ACTIONS_PER_CHUNK} of a clip.",
            where=FIELD,
            fix="Give more actions.",
        )
    if not request.autoregressive:
        num_chunks = 1
    num_used = num_chunks * ACTIONS_PER_CHUNK
    if num_used < len(actions_MA):
        more = "" if request.autoregressive else "; --autoregressive goes on"
        output.notice(f"{num_used} of the {len(actions_MA)} actions are used, in chunks of {ACTIONS_PER_CHUNK}{more}")
    return actions_MA[:num_used].reshape(num_chunks, ACTIONS_PER_CHUNK, -1)
