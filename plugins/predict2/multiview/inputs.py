"""Everything about a scene that can be known before a model loads: checked, read, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.checkpoints.catalogue import Repository
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.documents import read_text
from cosmos_cli.files.missing import exists, why_missing
from cosmos_cli.files.paths import given_anywhere
from cosmos_cli.generation.checks import check_sharing
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.settings import negative_prompt_of
from cosmos_cli.generation.work import Frames, Work
from cosmos_cli.media.source import GivenFrames, Source
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_plugins.predict2.checkpoints import multiview_repositories, weights_of
from cosmos_plugins.predict2.inputs import check_files, check_settings, check_weights, job, networks_of, output_paths
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.variants import MAX_VIEWS, MULTIVIEW, VIEW_FPS, VIEW_FRAMES

if TYPE_CHECKING:
    import numpy as np

# V views, F frames, H and W pixel height and width, C = 3 colours

PIPELINE = "cosmos_plugins.predict2.multiview.pipeline:MultiviewPipeline"


@dataclass(frozen=True)
class Sample:
    """One scene to make.

    request: its prompt is what the first camera shall see, read out of the file if it named one.
    given_VFHWC: the conditioning frames of every view, (V, 0, 1 or 5, height, width, 3) uint8.
    first_given: number of the first of them in the video of each view; empty where there are none.
    """

    request: MultiviewRequest
    given_VFHWC: np.ndarray
    outputs: Mapping[str, Path]
    weights: Mapping[str, Path]
    first_given: Sequence[int] = ()


def check(
    settings: MultiviewSettings, request: MultiviewRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], Sample]:
    """See `cosmos_cli.generation.pipeline.Inputs`."""
    num_heads = MULTIVIEW[settings.model_size].dit.num_heads
    views: list[list[tuple[np.ndarray, int]]] = []
    report_together(
        lambda: check_settings(settings),
        lambda: check_sharing(settings, num_heads, guided=bool(request.guidance)),
        lambda: read_prompt(request.prompt),
        lambda: check_files(request) if writes else None,
        lambda: views.append(read_views(request)),
    )
    if needs_weights:
        check_weights(settings, lambda: _repositories(settings))
    return lambda: _sample(settings, request, views[0])


def read(settings: MultiviewSettings, request: MultiviewRequest) -> Sample:
    """The input of a request that was checked. Raises InputError if it can no longer be read."""
    return _sample(settings, request, read_views(request))


def _sample(settings: MultiviewSettings, request: MultiviewRequest, views: Sequence[tuple[np.ndarray, int]]) -> Sample:
    import numpy as np

    from cosmos_cli.media.resize import cover_and_crop

    height, width = MULTIVIEW[settings.model_size].sizes["16:9"]
    given_VFHWC = np.zeros((request.n_views, 0, height, width, 3), np.uint8)
    if views:
        given_VFHWC = np.stack([cover_and_crop(view_FHWC, height, width) for view_FHWC, _ in views])
    # a prompt out of a file that may change is kept as it was
    request = request.model_copy(update={"prompt": read_prompt(request.prompt)})
    first_given = [first for _, first in views]
    return Sample(request, given_VFHWC, output_paths(request), weight_paths(settings), first_given)


def prompts_of(settings: MultiviewSettings, request: MultiviewRequest) -> list[str]:
    return [read_prompt(request.prompt)]


def weight_paths(settings: MultiviewSettings) -> dict[str, Path]:
    """Where the weights of these settings lie, whether or not they are there."""
    variant = MULTIVIEW[settings.model_size]
    return weights_of(settings, variant, variant.dit_file)


def _repositories(settings: MultiviewSettings) -> list[Repository]:
    return multiview_repositories(own_dit=settings.dit_path is not None)


def work_of(settings: MultiviewSettings, request: MultiviewRequest | None = None) -> Work:
    """What a request asks of the networks; without one, the most that is usual."""
    variant = MULTIVIEW[settings.model_size]
    num_views, num_given = (request.n_views, request.num_conditional_frames) if request else (MAX_VIEWS, 5)
    guided, num_steps = (bool(request.guidance), request.num_steps) if request else (True, 35)
    return Work(
        networks_of(variant, weight_paths(settings), variant.dit),
        clip_px=(VIEW_FRAMES, *variant.sizes["16:9"]),
        num_passes=(num_steps + 1) * (1 + guided),
        num_clips=num_views,
        encoded=((num_views, num_given),) if num_given else (),
        num_texts=1 + bool(request is None or negative_prompt_of(settings, request)),
        num_contexts=1 + guided,
        is_guided=guided,
        encode_stage="encode_frames",
    )


def job_of(settings: MultiviewSettings, request: MultiviewRequest) -> Job:
    """What a request that was checked will cost."""
    work = work_of(settings, request)
    _, height, width = work.clip_px
    frames = Frames(
        given=request.num_conditional_frames,
        made=VIEW_FRAMES,
        computed=VIEW_FRAMES,
        chunks=1,
        height=request.n_views * height,
        width=width,
        fps=VIEW_FPS,
    )
    told = ("n_views", "num_steps", "guidance", "seed", "num_conditional_frames")
    return job(
        settings,
        weight_paths(settings),
        work,
        frames,
        kind=f"multiview {settings.model_size}",
        request={"input_path": str(request.input_path), **{name: getattr(request, name) for name in told}},
        output=output_paths(request)["video"],
        needed=lambda: _repositories(settings),
    )


def read_prompt(prompt: str) -> str:
    """The prompt itself, or the first line of the text file that it names.

    Raises:
        InputError: the file cannot be read, or its first line is empty, or longer than a prompt may be.
    """
    if not prompt.endswith(".txt"):
        return prompt
    try:
        path = given_anywhere(prompt)
    except ValueError as error:
        raise InputError(str(error), where="--prompt", fix="Give a text file.") from error
    first_line = read_text(path).partition("\n")[0].strip()
    if not first_line:
        raise InputError(f"{path} has an empty first line.", where="--prompt", fix="Write the prompt there.")
    check_prompt_length(first_line, where=f"--prompt, {path} line 1")
    return first_line


def read_views(request: MultiviewRequest) -> list[tuple[np.ndarray, int]]:
    """The last frames of every view of the input; nothing where none are needed.

    Returns:
        (1 or 5, H, W, 3) uint8, and the number of the first of them in the view.
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
    if isinstance(path, GivenFrames):
        return _read_video(path, num_views, count)
    if not exists(path):
        raise InputError(
            f"{path} {why_missing(path)}.", where="--input-path", fix="Give a video or a folder of videos."
        )
    return _read_folder(path, num_views, count) if path.is_dir() else _read_video(path, num_views, count)


def _read_video(path: Source, num_views: int, count: int) -> list[tuple[np.ndarray, int]]:
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
    first = num_each - count
    return [(frames_FHWC[view * num_each + first : (view + 1) * num_each], first) for view in range(num_views)]


def _read_folder(folder: Path, num_views: int, count: int) -> list[tuple[np.ndarray, int]]:
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
        views.append((clip.frames_FHWC, clip.num_source_frames - count))
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
