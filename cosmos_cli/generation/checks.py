"""What every kind of generation checks before it loads anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cosmos_cli.catalogues import command_for
from cosmos_cli.checkpoints.catalogue import GUARDRAILS, Repository, with_text_encoder
from cosmos_cli.checkpoints.required import require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.files.missing import exists, lies_there, why_missing
from cosmos_cli.files.names import check_name
from cosmos_cli.files.outputs import check_writable
from cosmos_cli.generation.settings import GenerationSettings, UpsamplerSettings
from cosmos_cli.generation.work import Work, asked_of
from cosmos_cli.media.source import Source, is_there
from cosmos_cli.runtime.workers.layout import Layout, layout_of
from cosmos_cli.settings import ParallelSettings

OTHER_OUTPUT = "Choose another name, or pass --numbered for the next that is free, or --overwrite."
TRY_TINY = Problem("Or try the model that ships with cosmos: --model tiny.")


def check_parallel(settings: ParallelSettings) -> None:
    """A way to share work is given only where there are several to share it."""
    if settings.parallel is not None and settings.num_gpus == 1:
        raise InputError("has no effect on one GPU.", where="--parallel", fix="Pass --num-gpus too.")


def check_num_video_frames(asked: int | None, made: int) -> None:
    """As many frames are asked for as the model makes, if any number is. Raises InputError."""
    if asked not in (None, made):
        raise InputError(
            f"is {asked}, but the model makes {made} frames.", where="--num-video-frames", fix="Leave it out."
        )


def check_upsampler(settings: UpsamplerSettings, *, is_used: bool, fix: str) -> None:
    """A server that writes prompts out is named whole, and only where one is asked. Raises InputError.

    Args:
        is_used: whether prompts are to be written out. fix: what to do if not.
    """
    if settings.upsampler_url is not None and not is_used:
        raise InputError("has no effect alone.", where="--upsampler-url", fix=fix)
    if settings.upsampler_url is not None and settings.upsampler_model is None:
        raise InputError("is required with --upsampler-url.", where="--upsampler-model", fix="Name the server's model.")
    if settings.upsampler_url is not None:
        from cosmos_cli.models.chat_server import completions_url

        completions_url(settings.upsampler_url)


def check_sharing(settings: ParallelSettings, num_heads: int, *, guided: bool) -> None:
    """The GPUs can share one picture or video; said before workers start.

    Args:
        num_heads: attention heads of the network.
        guided: whether it predicts with the prompt and with the negative prompt.
    Raises:
        InputError: no such layout for so many GPUs, one that is for several videos, or one that cannot be compiled.
    """
    layout = _checked_layout(settings, num_heads, num_items=1, guided=guided)
    if layout.dp > 1:
        raise InputError(
            f"dp={layout.dp} makes several at a time, but there is one to make.",
            where="--parallel",
            fix="Use cp and cfg.",
        )


def check_sharing_many(settings: ParallelSettings, works: Sequence[Work]) -> None:
    """The GPUs can share what one model will be asked, if anything; said before workers start.

    Raises:
        InputError: no such layout for so many GPUs, or one that cannot be compiled.
    """
    if works:
        _checked_layout(settings, **asked_of(works))


def _checked_layout(settings: ParallelSettings, num_heads: int, *, num_items: int, guided: bool) -> Layout:
    if settings.num_gpus == 1:
        return Layout()
    layout = layout_of(settings, num_heads=num_heads, num_items=num_items, guided=guided)
    if layout.cfg > 1 and not guided:
        raise InputError(
            "cfg=2 shares the halves of guidance, but there is no guidance.", where="--parallel", fix="Use cp alone."
        )
    if layout.cp > 1 and settings.compile:
        raise InputError(
            f"cannot compile a network whose tokens {layout.cp} GPUs share.",
            where="--compile",
            fix="Leave it out, or use one GPU" + (", or two with --parallel cfg=2." if guided else "."),
        )
    return layout


def check_weights(
    settings: GenerationSettings,
    repositories: Callable[[], Iterable[Repository]],
    *,
    own: Mapping[str, Path | None] | None = None,
    missing: Iterable[Problem] = (),
    ways_out: Iterable[Problem] = (),
) -> None:
    """All files of the model, and of its guardrails, are there.

    Args:
        repositories: tells what is published of them; not asked for the tiny model.
        own: option to the file or folder that a user brings.
        missing: what else is.
        ways_out: what to do without these files, besides using the tiny model.
    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    for option, path in (own or {}).items():
        if path is not None and not exists(path):
            raise CheckpointError(f"{path} does not exist.", where=option, fix="Check the path.")
    problems = list(missing)
    try:
        guardrails = GUARDRAILS if settings.is_guarded else ()
        require_published(settings, () if settings.is_tiny else (*repositories(), *guardrails))
    except CheckpointError as error:
        problems += [*error.problems, *ways_out]
    if problems:
        raise CheckpointError.from_problems(problems)


_STATISTICS = "mean_std.pt"
_WEIGHTS = {".jit", ".pt", ".pth", ".safetensors", ".bin", ".ckpt"}


def tokenizer_problems(folder: Path) -> list[Problem]:
    """What is wrong with the folder of a tokenizer that a user names, as far as the names in it tell."""
    if not exists(folder):
        return [Problem(f"{folder} does not exist.", "--tokenizer-dir", "Check the name.")]
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    has_weights = any(Path(name).suffix in _WEIGHTS and name != _STATISTICS for name in names)
    lacking = [*([] if has_weights else ["autoencoder.jit"]), *([] if _STATISTICS in names else [_STATISTICS])]
    if lacking:
        what = f"{folder} is no folder of a tokenizer: it has no {' and no '.join(lacking)}."
        return [Problem(what, "--tokenizer-dir", "Give the folder of a Cosmos-Tokenize1 model.")]
    return []


def check_lora(path: Path | None, alpha: float | None) -> None:
    """Raises InputError: a strength is given, and nothing whose strength it is."""
    if alpha is not None and path is None:
        raise InputError("needs --lora-path.", where="--lora-alpha", fix="Give the LoRA, or leave it out.")


def require_published(settings: GenerationSettings, repositories: Iterable[Repository]) -> None:
    """All files of these repositories are there, unless the model is the tiny one. Raises CheckpointError."""
    if settings.is_tiny:
        return
    try:
        require(with_text_encoder(settings.text_weights, repositories), settings.checkpoint_dir, command_for)
    except CheckpointError as error:
        raise CheckpointError.from_problems([*error.problems, TRY_TINY]) from None


def video_paths(save_path: Path, *, preview: bool) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", and "preview" where one is asked for."""
    video = save_path if save_path.suffix else save_path.with_suffix(".mp4")
    paths = {"video": video, "sidecar": video.with_suffix(".json")}
    return paths | ({"preview": video.with_suffix(".png")} if preview else {})


def check_outputs(
    save_path: Path,
    paths: Callable[[], Mapping[str, Path]],
    *,
    suffixes: tuple[str, ...] = (".mp4",),
    overwrite: bool,
    field: str = "--save-path",
) -> None:
    """The files to write are of a kind that can be written, and replace nothing unasked.

    Args:
        paths: all of them, the one that `save_path` names first; not asked for if it is a folder.
        field: the option that names it.
    """
    if os.path.isdir(save_path):  # noqa: PTH112  # it takes any name
        raise InputError(f"{save_path} is a folder.", where=field, fix="Give the name of a file.")
    named = next(iter(paths().values()))
    if named.suffix.lower() not in suffixes:
        raise InputError(
            f"{save_path} does not end in {' or '.join(suffixes)}.",
            where=field,
            fix=f"Give a name that ends in {suffixes[0]}.",
        )
    check_all_writable(paths().values(), field=field, overwrite=overwrite)


def check_all_writable(paths: Iterable[Path], *, field: str, overwrite: bool) -> None:
    """Every file can be written, and replaces nothing unasked. Raises InputError for all that cannot.

    Those that are there already are told of together.
    """
    paths = list(paths)
    check_name(paths[0], field=field)  # what goes beside it has the same fault, which need not be told twice
    report_together(
        *(lambda path=path: check_writable(path, field=field, overwrite=True) for path in paths),
        lambda: None if overwrite else _check_absent(paths, field),
    )


def _check_absent(paths: Iterable[Path], field: str) -> None:
    there = [path for path in paths if lies_there(path) and not path.is_dir()]
    if there:
        beside = f", with {' and '.join(path.name for path in there[1:])} beside it" if there[1:] else ""
        raise InputError(f"{there[0]} exists already{beside}.", where=field, fix=OTHER_OUTPUT)


def check_file(path: Source, field: str, wanted: str) -> None:
    """A file that the request names is there, unless it gives frames."""
    if not is_there(path):
        assert isinstance(path, Path)
        raise InputError(f"{path} {why_missing(path)}.", where=field, fix=f"Give {wanted}.")
