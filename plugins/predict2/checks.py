"""What the models beside Video2World check before they load, and where their files lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, Repository, require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.runtime.files import check_writable
from cosmos_cli.runtime.workers.layout import choose_layout, parse_layout
from cosmos_cli.settings import ParallelSettings
from cosmos_plugins.predict2.checkpoints import TINY_ROOT
from cosmos_plugins.predict2.settings import DitSettings
from cosmos_plugins.predict2.variants import SampleVariant


@dataclass(frozen=True)
class Weights:
    """Where a run reads its weights, whether or not they are there."""

    dit: Path
    tokenizer: Path
    text_encoder: Path


def weights_of(settings: DitSettings, variant: SampleVariant, dit_file: str) -> Weights:
    """Where the weights of these settings lie; `dit_file` is the published one under the checkpoint folder."""
    root = TINY_ROOT if settings.model_size == "tiny" else settings.checkpoint_dir
    return Weights(
        dit=settings.dit_path or root / dit_file,
        tokenizer=root / variant.tokenizer_file,
        text_encoder=root / variant.text_encoder,
    )


def check_settings(settings: DitSettings) -> None:
    """Combinations that no single field can judge."""
    if settings.parallel is not None and settings.num_gpus == 1:
        raise InputError("has no effect on one GPU.", where="--parallel", fix="Pass --num-gpus too.")
    if settings.load_ema and not settings.dit_path:
        raise InputError(
            "needs --dit-path: the published files hold no averaged weights.", where="--load-ema", fix="Leave it out."
        )


def check_sharing(settings: ParallelSettings, num_heads: int, *, guided: bool) -> None:
    """The GPUs can share one picture or video; said before workers start.

    Args:
        num_heads: attention heads of the network.
        guided: whether it predicts with the prompt and with the negative prompt.
    """
    if settings.num_gpus == 1:
        return
    if settings.parallel is None:
        layout = choose_layout(settings.num_gpus, num_heads=num_heads, num_items=1, guided=guided)
    else:
        layout = parse_layout(settings.parallel, world_size=settings.num_gpus, num_heads=num_heads)
    if layout.dp > 1:
        raise InputError(
            f"dp={layout.dp} makes several at a time, but there is one to make.",
            where="--parallel",
            fix="Use cp and cfg.",
        )
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


def check_weights(settings: DitSettings, repositories: Iterable[Repository]) -> None:
    """All files of the model, and of the guardrails unless they are disabled, are there.

    Raises:
        CheckpointError: which are not, how large they are, and how to get them.
    """
    if settings.dit_path and not settings.dit_path.exists():
        raise CheckpointError(f"{settings.dit_path} does not exist.", where="--dit-path", fix="Check the path.")
    if settings.model_size == "tiny":
        return
    try:
        guardrails = () if settings.disable_guardrail else GUARDRAILS
        require([*repositories, *guardrails], settings.checkpoint_dir)
    except CheckpointError as error:
        way_out = Problem("Or try the model that ships with cosmos: --model tiny.")
        raise CheckpointError.from_problems([*error.problems, way_out]) from None


def video_paths(save_path: Path, *, preview: bool) -> dict[str, Path]:
    """The files of one video: "video", "sidecar", and "preview" where one is asked for."""
    video = save_path if save_path.suffix else save_path.with_suffix(".mp4")
    paths = {"video": video, "sidecar": video.with_suffix(".json")}
    return paths | ({"preview": video.with_suffix(".png")} if preview else {})


def check_outputs(
    save_path: Path, paths: Callable[[], Mapping[str, Path]], *, suffixes: tuple[str, ...] = (".mp4",), overwrite: bool
) -> None:
    """The files to write are of a kind that can be written, and replace nothing unasked.

    Args:
        paths: all of them, the one that `save_path` names first; not asked for if it is a folder.
    """
    if save_path.is_dir():
        raise InputError(f"{save_path} is a folder.", where="--save-path", fix="Give the name of a file.")
    named, *others = paths().values()
    if named.suffix.lower() not in suffixes:
        raise InputError(
            f"{save_path} does not end in {' or '.join(suffixes)}.",
            where="--save-path",
            fix=f"Give a name that ends in {suffixes[0]}.",
        )
    report_together(
        *(lambda path=path: check_writable(path, field="--save-path", overwrite=overwrite) for path in (named, *others))
    )


def check_file(path: Path, field: str, wanted: str) -> None:
    """A file that the request names is there."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}.", where=field, fix=f"Give {wanted}.")
