"""Everything about a request that can be known before a model loads: checked, first frame and actions read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import output
from cosmos_cli.errors import InputError, report_together
from cosmos_plugins.predict2.action.actions import FIELD, read_actions
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.checkpoints import action_repositories
from cosmos_plugins.predict2.checks import (
    Weights,
    check_file,
    check_outputs,
    check_settings,
    check_sharing,
    check_weights,
    video_paths,
    weights_of,
)
from cosmos_plugins.predict2.variants import ACTION, ACTIONS_PER_CHUNK

if TYPE_CHECKING:
    import numpy as np

# K chunks, N = 12 actions of a chunk, A = 7 numbers of one action; H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """One video to make.

    frames_FHWC: its first frame, (1, height, width, 3) uint8.
    actions_KNA: the actions of every chunk, scaled as the network reads them, (K, 12, 7).
    """

    request: ActionRequest
    frames_FHWC: np.ndarray
    actions_KNA: np.ndarray

    @property
    def height(self) -> int:
        return self.frames_FHWC.shape[1]

    @property
    def width(self) -> int:
        return self.frames_FHWC.shape[2]


def prepare(settings: ActionSettings, request: ActionRequest) -> Sample:
    """Check one request as far as that goes without a model, and read its input.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
        CheckpointError: weights are missing.
    """
    frames_FHWC, actions_KNA = check(settings, request)
    check_weights(settings, action_repositories(own_dit=settings.dit_path is not None))

    from cosmos_cli.media.resize import cover_and_crop

    height, width = ACTION[settings.model_size].sizes["4:3"]
    return Sample(request, cover_and_crop(frames_FHWC, height, width), actions_KNA)


def check(settings: ActionSettings, request: ActionRequest) -> tuple[np.ndarray, np.ndarray]:
    """The first frame in its own size, (1, H, W, 3) uint8, and the actions of a request that is as it should be.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    num_heads = ACTION[settings.model_size].dit.num_heads
    frames: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=False),
        lambda: check_outputs(request.save_path, lambda: output_paths(request), overwrite=request.overwrite),
        lambda: frames.append(read_first_frame(request.input_video)),
        lambda: actions.append(read_chunks(request)),
    )
    return frames[0], actions[0]


def output_paths(request: ActionRequest) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", and "preview" where one is asked for."""
    return video_paths(request.save_path, preview=request.preview)


def weight_paths(settings: ActionSettings) -> Weights:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = ACTION[settings.model_size]
    return weights_of(settings, variant, variant.dit_file)


def read_first_frame(path: Path) -> np.ndarray:
    """A picture, or the first frame of a video, (1, H, W, 3) uint8.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    check_file(path, "--input-video", "a video or a picture")

    from cosmos_cli.media.image import is_image, read_image
    from cosmos_cli.media.video import read_video

    return read_image(path)[None] if is_image(path) else read_video(path).frames_FHWC[:1]


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
