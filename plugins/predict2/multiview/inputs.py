"""Everything about a scene that can be known before a model loads: checked, and the first frames of all views read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.requests import read_text
from cosmos_plugins.predict2.checkpoints import multiview_repositories
from cosmos_plugins.predict2.checks import (
    Weights,
    check_outputs,
    check_settings,
    check_sharing,
    check_weights,
    video_paths,
    weights_of,
)
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.variants import MULTIVIEW

if TYPE_CHECKING:
    import numpy as np

# V views, F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class Sample:
    """One scene to make.

    prompt: what the first camera shall see.
    given_VFHWC: the conditioning frames of every view, (V, 0, 1 or 5, height, width, 3) uint8.
    """

    request: MultiviewRequest
    prompt: str
    given_VFHWC: np.ndarray
    height: int
    width: int


def prepare(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """Check one request as far as that goes without a model, and read its input.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
        CheckpointError: weights are missing.
    """
    prompt, views_FHWC = check(settings, request)
    check_weights(settings, multiview_repositories(own_dit=settings.dit_path is not None))

    import numpy as np

    from cosmos_cli.media.resize import cover_and_crop

    height, width = MULTIVIEW[settings.model_size].sizes["16:9"]
    if not views_FHWC:
        return Sample(request, prompt, np.zeros((request.n_views, 0, height, width, 3), np.uint8), height, width)
    given_VFHWC = np.stack([cover_and_crop(view_FHWC, height, width) for view_FHWC in views_FHWC])
    return Sample(request, prompt, given_VFHWC, height, width)


def check(settings: MultiviewSettings, request: MultiviewRequest) -> tuple[str, list[np.ndarray]]:
    """The prompt and the last frames of every view, in their own size, of a request that is as it should be.

    Raises:
        InputError: all that is wrong with the settings, the input and the output.
    """
    num_heads = MULTIVIEW[settings.model_size].dit.num_heads
    prompts: list[str] = []
    views: list[list[np.ndarray]] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=bool(request.guidance)),
        lambda: prompts.append(read_prompt(request.prompt)),
        lambda: check_outputs(request.save_path, lambda: output_paths(request), overwrite=request.overwrite),
        lambda: views.append(read_views(request)),
    )
    return prompts[0], views[0]


def output_paths(request: MultiviewRequest) -> dict[str, Path]:
    """The files of one scene: "video", "sidecar", and "preview" where one is asked for."""
    return video_paths(request.save_path, preview=request.preview)


def weight_paths(settings: MultiviewSettings) -> Weights:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = MULTIVIEW[settings.model_size]
    return weights_of(settings, variant, variant.dit_file)


def read_prompt(prompt: str) -> str:
    """The prompt itself, or the first line of the text file that it names."""
    if not prompt.endswith(".txt"):
        return prompt
    lines = read_text(Path(prompt)).splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"{prompt} has an empty first line.", where="--prompt", fix="Write the prompt there.")
    return lines[0].strip()


def read_views(request: MultiviewRequest) -> list[np.ndarray]:
    """The last frames of every view of the input, (1 or 5, H, W, 3) uint8 each; nothing where none are needed.

    Raises:
        InputError: the input is missing, unreadable, too short, or not of as many views.
    """
    num_views, count = request.n_views, request.num_conditional_frames
    if count == 0:
        return []
    path = request.input_path
    if path is None:
        raise InputError(
            f"is required by --num-conditional-frames {count}.",
            where="--input-path",
            fix="Give a video or a folder of videos, or pass --num-conditional-frames 0.",
        )
    if not path.exists():
        raise InputError(f"{path} does not exist.", where="--input-path", fix="Give a video or a folder of videos.")
    return _read_folder(path, num_views, count) if path.is_dir() else _read_video(path, num_views, count)


def _read_video(path: Path, num_views: int, count: int) -> list[np.ndarray]:
    """Of one video with the views one after the other."""
    from cosmos_cli.media.video import read_video

    frames_FHWC = read_video(path).frames_FHWC
    num_each, rest = divmod(len(frames_FHWC), num_views)
    if rest or num_each < count:
        reason = "do not divide among" if rest else f"are fewer than {count} for each of"
        raise InputError(
            f"{path} has {len(frames_FHWC)} frames, which {reason} {num_views} views.",
            where="--input-path",
            fix="Give one video with equally long views one after the other, or a folder, and pass --n-views.",
        )
    return [frames_FHWC[(view + 1) * num_each - count : (view + 1) * num_each] for view in range(num_views)]


def _read_folder(folder: Path, num_views: int, count: int) -> list[np.ndarray]:
    """Of one video per view."""
    from cosmos_cli.media.video import read_last_frames

    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(files) != num_views:
        raise InputError(
            f"{folder} has {len(files)} files for {num_views} views.",
            where="--input-path",
            fix="Keep one video per view in it, or pass --n-views.",
        )
    views, problems = [], []
    for view, path in enumerate(files):
        clip = read_last_frames(path, count)
        views.append(clip.frames_FHWC)
        if len(clip.frames_FHWC) < count:
            problems.append(
                Problem(
                    f"{path} has {clip.num_source_frames} frames, fewer than {count}.",
                    f"--input-path, view {view}",
                    "Give a longer clip, or pass --num-conditional-frames 1.",
                )
            )
    if problems:
        raise InputError.from_problems(problems)
    return views
