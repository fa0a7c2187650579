"""Everything about an episode that can be known before a model loads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.missing import exists, why_missing
from cosmos_cli.generation.checks import check_all_writable, check_sharing
from cosmos_cli.generation.foresight import Job
from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.generation.settings import as_made
from cosmos_cli.generation.work import Frames, Work
from cosmos_cli.settings import MACHINE_ONLY
from cosmos_plugins.transfer1 import checks, needs
from cosmos_plugins.transfer1 import inputs as plain
from cosmos_plugins.transfer1.checkpoints import weight_paths
from cosmos_plugins.transfer1.guided.requests import OF_EPISODES, GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.guided.samples import Asked, GuidedSample, Size, output_paths, seed_of
from cosmos_plugins.transfer1.prompts.two_views import Chosen, choose, read_prompt
from cosmos_plugins.transfer1.requests import TransferRequest
from cosmos_plugins.transfer1.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from cosmos_plugins.transfer1.guided.episodes.episode import Episode

PIPELINE = "cosmos_plugins.transfer1.guided.pipeline:GuidedPipeline"


def check(
    settings: GuidedSettings, request: GuidedRequest, *, writes: bool = True, needs_weights: bool = True
) -> Callable[[], GuidedSample]:
    """See `cosmos_cli.generation.pipeline.Inputs`; the request is about one episode, all of which is read once."""
    num_heads = VARIANTS[settings.model_size].dit.num_heads
    report_together(
        lambda: check_request(settings, request),
        lambda: check_outputs(request) if writes else None,
        lambda: check_sharing(settings, num_heads, guided=request.guidance > 0),
    )
    if needs_weights:
        check_checkpoints(settings, request)
    return lambda: read(settings, request)


def check_request(settings: GuidedSettings, request: GuidedRequest) -> None:
    """All that can be wrong with the settings and one episode. Raises InputError."""
    report_together(lambda: check_common(settings, request), lambda: check_episode(request))


def check_common(settings: GuidedSettings, request: GuidedRequest) -> None:
    """All that can be wrong for every episode alike. Raises InputError."""
    report_together(
        lambda: checks.check_settings(settings.of_transfer),
        lambda: check_source(request),
        lambda: _check_controls(request),
        lambda: _check_prompt(request),
    )


def check_source(request: GuidedRequest) -> None:
    """There are episodes to look at. Raises InputError."""
    source = request.source_data_dir
    if source is None:
        raise InputError(
            "is required.",
            where="--source-data-dir",
            fix="Give the folder of the episodes; --demo-episode demo_0.hdf5 makes one to try with.",
        )
    if not exists(source):
        raise InputError(f"{source} {why_missing(source)}.", where="--source-data-dir", fix=checks.CHECK_PATH)


def _check_controls(request: GuidedRequest) -> None:
    problems = []
    for name, control in request.controls.items():
        where = f"--controlnet-specs, {name}"
        if name not in OF_EPISODES:
            known = f"{', '.join(OF_EPISODES[:-1])} and {OF_EPISODES[-1]}"
            problems.append(Problem("cannot be made out of an episode.", where, f"Use {known}."))
        elif isinstance(control.control_weight, Path) or control.control_weight_prompt is not None:
            problems.append(Problem("has a weight map.", where, "Give one number, which holds for both views."))
    if not problems and not request.active_controls:
        problems.append(Problem("no control takes part.", "--controlnet-specs", "Give one of them a weight above 0."))
    if problems:
        raise InputError.from_problems(problems)


def _check_prompt(request: GuidedRequest) -> None:
    read_prompt(request.prompt)


def check_episode(request: GuidedRequest) -> None:
    """The episode can be used. Raises InputError."""
    if request.source_data_dir is not None and exists(request.source_data_dir):
        episode_of(request)


def episode_of(request: GuidedRequest) -> Episode:
    """The episode of a request, all of which is looked at. Raises InputError: it cannot be used."""
    path = request.source_data_dir
    assert path is not None
    try:
        found = path.stat()
        stamp: tuple[int, ...] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError:
        stamp = ()
    return _opened(path, stamp, request.foreground)


@functools.lru_cache(maxsize=4096)
def _opened(path: Path, _stamp: tuple[int, ...], foreground: tuple[int, ...]) -> Episode:
    """Looked at once as long as the file stays the same: all of it is read."""
    from cosmos_plugins.transfer1.guided.episodes.episode import open_episode

    return open_episode(path, foreground)


def check_outputs(request: GuidedRequest) -> None:
    """The files to write can be written and replace nothing unasked. Raises InputError."""
    field = "--source-data-dir" if request.output_data_dir is None else "--output-data-dir"
    if request.source_data_dir is None:
        return
    check_no_original(request)
    check_all_writable(output_paths(request).values(), field=field, overwrite=request.overwrite)


def check_no_original(request: GuidedRequest) -> None:
    """A copy replaces at most another copy: recordings beside it cannot be made again. Raises InputError."""
    path, source = output_paths(request)["episode"], request.source_data_dir
    if source is None or not exists(path) or not exists(source):
        return
    is_own = path.samefile(source)
    if is_own or (path.parent.samefile(source.parent) and not is_made_here(path)):
        raise InputError(
            f"would be replaced by {'its own copy' if is_own else f'the copy of {source}'}.",
            where=str(path),
            fix="Give --output-data-dir, or --save-name-offset to write beside the originals.",
        )


def is_made_here(path: Path) -> bool:
    """Whether a file is an episode that guided generation has written."""
    from cosmos_plugins.transfer1.guided.episodes.written import read_provenance

    try:
        return read_provenance(path) is not None
    except InputError:  # what is wrong with it is told later
        return False


def check_checkpoints(settings: GuidedSettings, request: GuidedRequest) -> None:
    """All files of the models are there. Raises CheckpointError: as `cosmos transfer run`."""
    needs.check_checkpoints(settings.of_transfer, _plain(request, "", 0))


def prompts_of(settings: GuidedSettings, request: GuidedRequest) -> list[str]:
    """What an episode is to look like, in both views."""
    chosen = prompts_for(request)
    return list(dict.fromkeys([chosen.room, _of_wrist(request, chosen)]))


def prompts_for(request: GuidedRequest) -> Chosen:
    """The prompts that the seed of an episode chooses."""
    return choose(read_prompt(request.prompt), seed_of(request))


def _of_wrist(request: GuidedRequest, chosen: Chosen) -> str:
    return chosen.stacked if request.concat_video_second_view else chosen.wrist


def read(settings: GuidedSettings, request: GuidedRequest) -> GuidedSample:
    """An episode that was checked, with all that its views are asked. Raises InputError: it has changed since."""
    episode, seed, prompts = episode_of(request), seed_of(request), prompts_for(request)
    asked = _asked(settings, request, episode, prompts, seed)
    outputs, paths = output_paths(request), weight_paths(settings.of_transfer, asked.room)
    return GuidedSample(request, episode, prompts, seed, asked, outputs, paths)


def _asked(settings: GuidedSettings, request: GuidedRequest, episode: Episode, prompts: Chosen, seed: int) -> Asked:
    variant = VARIANTS[settings.model_size]
    return Asked(
        room=_plain(request, prompts.room, seed),
        wrist=_plain(request, _of_wrist(request, prompts), seed),
        room_size=_generated_size(variant, episode.height, episode.width),
        wrist_size=_generated_size(variant, episode.height * (1 + request.concat_video_second_view), episode.width),
    )


def _generated_size(variant: Variant, height: int, width: int) -> Size:
    from cosmos_cli.media.resize import nearest_aspect_ratio

    return variant.sizes[nearest_aspect_ratio(height, width)]


def _plain(request: GuidedRequest, prompt: str, seed: int) -> TransferRequest:
    """What a view is asked, as a plain transfer."""
    shared = ("negative_prompt", "sigma_max", "guidance", "num_steps", "fps", "num_input_frames")
    of_episode = {"input_control": request.source_data_dir}  # so that no network is wanted to make it
    return TransferRequest(
        controls={name: control.model_copy(update=of_episode) for name, control in request.controls.items()},
        input_video_path=request.source_data_dir,
        prompt=prompt or request.prompt,
        seed=seed,
        blur_strength=request.blur_strength,
        canny_threshold=request.canny_threshold,
        **{name: getattr(request, name) for name in shared},
    )


_WITHOUT_EFFECT = MACHINE_ONLY | {
    *("overwrite", "preview", "source_data_dir", "output_data_dir", "save_name_offset", "prompt", "seed"),
    *("input_video_path", "video_save_folder", "model_config_file"),
    *GuidedSettings.offload_options,
}
"""Fields that do not change what a view shows, or that stand in what an episode got by them."""


def key_of(settings: GuidedSettings, request: GuidedRequest) -> str:
    """What decides what the views of an episode show, see `cosmos_cli.generation.identity.work_key`."""
    weights = weight_paths(settings.of_transfer, _plain(request, "", 0))
    document = describe_work(as_made(settings, weights.text_encoder), request, without=_WITHOUT_EFFECT)
    document |= {"prompts": prompts_of(settings, request), "seed": seed_of(request)}
    assert request.source_data_dir is not None
    return work_key(document, [request.source_data_dir], weights.named())


def works_of(settings: GuidedSettings, request: GuidedRequest) -> list[Work]:
    """What the room view and the wrist view ask of the networks. Raises InputError: the episode cannot be used."""
    return [work for work, _, _ in _measures(settings, request)]


def _measures(settings: GuidedSettings, request: GuidedRequest) -> list[tuple[Work, Frames, TransferRequest]]:
    from cosmos_plugins.transfer1.chunks import plan_chunks

    episode, variant = episode_of(request), VARIANTS[settings.model_size]
    asked = _asked(settings, request, episode, prompts_for(request), seed_of(request))
    measures: list[tuple[Work, Frames, TransferRequest]] = []
    for of_view, (height, width) in ((asked.room, asked.room_size), (asked.wrist, asked.wrist_size)):
        chunks = plan_chunks(episode.num_frames, request.num_input_frames, variant.chunk_frames)
        num_frames = episode.num_frames
        frames = Frames(num_frames, num_frames, chunks[-1].stop, len(chunks), height, width, request.fps)
        # the controls, and the view itself, which parts are held to
        num_encoded = len(request.active_controls) + 1
        work = plain.work_on(settings.of_transfer, of_view, frames, (height, width), num_encoded)
        # frames are read chunk by chunk
        pixels = num_encoded * chunks[0].stop * height * width
        measures.append((replace(work, held_px=pixels, follows=bool(measures)), frames, of_view))
    return measures


def jobs_of(settings: GuidedSettings, request: GuidedRequest) -> list[Job]:
    """What the two views of an episode that was checked will cost. Raises InputError: it cannot be used."""
    jobs = []
    for view, (work, frames, of_view) in zip(("room", "wrist"), _measures(settings, request), strict=True):
        jobs.append(
            Job(
                f"transfer guided {settings.model_size}",
                {
                    "source_data_dir": str(request.source_data_dir),
                    "view": view,
                    "controls": list(request.active_controls),
                    "num_steps": request.num_steps,
                    "guidance": request.guidance,
                    "sigma_threshold": request.sigma_threshold,
                    "seed": request.seed,
                },
                work,
                frames,
                needs.files_needed(settings.of_transfer, of_view),
                output_paths(request)["episode"],
            )
        )
    return jobs
