"""What `prepare-dataset` and `prepare-instruction-dataset` do. Torch is imported once videos were looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import TEXT_ENCODER_FORMS, Repository
from cosmos_cli.checkpoints.required import require
from cosmos_cli.errors import CheckpointError, InputError, Problem, report_together
from cosmos_cli.files.disk import free_bytes
from cosmos_cli.files.identity import fingerprint
from cosmos_cli.files.missing import is_file
from cosmos_cli.generation.variants import TINY_ROOT, Variant
from cosmos_cli.models.configs import GeneralDiTConfig
from cosmos_cli.models.t5_files import find_encoder
from cosmos_cli.runtime.workers.agreement import agree
from cosmos_cli.runtime.workers.launch import check_workers, spread
from cosmos_cli.training.data.prepare_command import text_encoder, text_precision
from cosmos_plugins.nemo_bridge.checkpoints import TOKENIZER
from cosmos_plugins.nemo_bridge.dataset.clips import Clip, find_clips
from cosmos_plugins.nemo_bridge.dataset.layout import KINDS, foreign_problems, list_samples
from cosmos_plugins.nemo_bridge.dataset.plan import Plan, draw_samples
from cosmos_plugins.nemo_bridge.dataset.record import WHERE, Place
from cosmos_plugins.nemo_bridge.dataset.requests import Chunks, DatasetSettings, SubjectDataset
from cosmos_plugins.nemo_bridge.model import is_published_tokenizer, tokenizer_folder
from cosmos_plugins.nemo_bridge.variants import VARIANTS

STATISTICS = "mean_std.pt"
"""Of the latents, without which a tokenizer is another one."""

if TYPE_CHECKING:
    from cosmos_plugins.nemo_bridge.dataset.prepare import Networks, Prepared


def run(request: Chunks, settings: DatasetSettings) -> None:
    """Make the samples of a data set, and tell of it.

    Raises:
        InputError: what is wrong with the videos, their instructions, the folder or the machine, before anything loads.
        CheckpointError: the tokenizer or the text encoder is missing or damaged.
    """
    own = check_workers(settings.num_gpus, settings.device)
    ahead: Plan | None = None
    if own is None or (own.rank == 0 and own.launcher_pid is None):  # a launcher has looked for its workers
        ahead = look_ahead(request, settings)
    with spread(settings.num_gpus, settings.device):
        # in a worker of a launcher, which has said everything already
        plan = agree(lambda: ahead or look_ahead(request, settings, was_said=own is not None), "looking at the videos")
        prepared = _prepare(plan, request, settings)
    output.result(prepared.summary(), {"status": "ok", **prepared.document()})


def look_ahead(request: Chunks, settings: DatasetSettings, *, was_said: bool = False) -> Plan:
    """The samples of a run, once everything has been found to be as it should be. Leaves the run's record.

    Args:
        was_said: another process has told what is to be told.
    Raises:
        InputError, CheckpointError: as `run`.
    """
    place, weights = Place(request.output_path), _weights(request, settings)
    prompt = request.prompt if isinstance(request, SubjectDataset) else None
    clips: list[Clip] = []

    def find() -> None:
        found, left_out = find_clips(
            request.dataset_path,
            prompt,
            chunk_frames=weights.variant.chunk_frames,
            skips_bad=request.skip_bad,
            known=place.known_clips(),
        )
        clips.extend(found)
        for problem in left_out:
            output.notice(f"left out: {Problem(problem.what, problem.where)}", was_said=was_said)

    report_together(place.check, find)
    weights.require(settings)
    about = _about(request, settings, weights)
    place.check_same(about, clips)
    samples = draw_samples(
        clips,
        num_chunks=request.num_chunks,
        chunk_frames=weights.variant.chunk_frames,
        seed=request.seed,
        repeats=prompt is not None,
    )
    plan = Plan(
        place.folder, tuple(clips), tuple(samples), weights.variant.chunk_frames, *_size(request, weights.variant)
    )
    _check_folder(plan, weights.text_channels)
    if few := _of_few_chunks(plan, request.num_chunks, repeats=prompt is not None):
        output.notice(few, was_said=was_said)
    place.begin(about, clips)
    return plan


@dataclass(frozen=True)
class _Weights:
    """Where the networks lie. published: what may have to be downloaded."""

    variant: Variant[GeneralDiTConfig]
    tokenizer: Path
    text_encoder: Path
    published: tuple[Repository, ...]

    @property
    def text_channels(self) -> int:
        return self.variant.dit.crossattn_emb_channels

    def require(self, settings: DatasetSettings) -> None:
        """Raises CheckpointError: something is missing."""
        require(self.published, settings.checkpoint_dir)
        if not is_file(self.tokenizer / STATISTICS):
            raise CheckpointError(
                f"holds no tokenizer of videos with its {STATISTICS}.",
                where=str(self.tokenizer),
                fix=f"Give --tokenizer-dir the folder that holds encoder.jit or autoencoder.jit, and {STATISTICS}.",
            )


def _weights(request: Chunks, settings: DatasetSettings) -> _Weights:
    is_tiny = settings.model_size == "tiny"
    tokenizer = tokenizer_folder(request.tokenizer_dir, settings.checkpoint_dir, is_tiny=is_tiny)
    if is_tiny:
        variant = VARIANTS["tiny"]
        return _Weights(variant, tokenizer, TINY_ROOT / variant.helpers.text_encoder, ())
    encoder = TEXT_ENCODER_FORMS[settings.text_encoder]
    published = (TOKENIZER, *encoder) if is_published_tokenizer(request.tokenizer_dir) else encoder
    return _Weights(VARIANTS["7B"], tokenizer, encoder[0].folder(settings.checkpoint_dir), published)


def _size(request: Chunks, variant: Variant[GeneralDiTConfig]) -> tuple[int, int]:
    return request.height or variant.height, request.width or variant.width


def _about(request: Chunks, settings: DatasetSettings, weights: _Weights) -> dict[str, Any]:
    """What the bytes of the samples follow from, beside the videos and their instructions."""
    from cosmos_cli.runtime.devices import choose_device, choose_dtype

    height, width = _size(request, weights.variant)
    encoder = find_encoder(weights.text_encoder, settings.text_encoder)
    return {
        "prompt": request.prompt if isinstance(request, SubjectDataset) else None,
        "num_chunks": request.num_chunks,
        "height": height,
        "width": width,
        "seed": request.seed,
        "tokenizer": fingerprint(weights.tokenizer)[:16],
        "text_encoder": _fingerprint_of(encoder.paths()),
        "tokenizer_precision": str(choose_dtype(settings.precision, choose_device(settings.device))).split(".")[-1],
        "text_precision": text_precision(settings),
    }


def _fingerprint_of(paths: Iterable[Path]) -> str:
    return hashlib.sha256("\n".join(map(fingerprint, paths)).encode()).hexdigest()[:16]


def _check_folder(plan: Plan, text_channels: int) -> None:
    """Raises InputError: there is something else in the folder, or no room for what is missing."""
    present = 0
    if plan.folder.is_dir():
        listing = list_samples(plan.folder)
        if problems := foreign_problems(plan.folder, listing.foreign):
            raise InputError.from_problems(problems)
        present = sum(len(kinds) == len(KINDS) for kinds in listing.samples.values())
    needed, free = (len(plan.samples) - present) * plan.sample_bytes(text_channels), free_bytes(plan.folder)
    if needed > free:
        raise InputError(
            f"needs {needed / 1e9:.1f} GB for {len(plan.samples) - present:,} samples, but its disk has "
            f"{free / 1e9:.1f} GB free.",
            where=f"{WHERE} {plan.folder}",
            fix="Make room, name a folder on another disk, or ask for fewer with --num-chunks.",
        )


def _of_few_chunks(plan: Plan, num_chunks: int, *, repeats: bool) -> str:
    """What it means that videos have fewer chunks than are asked for, if some have."""
    few = [clip for clip in plan.clips if clip.num_frames - plan.chunk_frames + 1 < num_chunks]
    what = "some of their samples are alike" if repeats else "they give fewer samples"
    return f"{len(few)} of {len(plan.clips)} videos have fewer than {num_chunks} chunks: {what}" if few else ""


def _prepare(plan: Plan, request: Chunks, settings: DatasetSettings) -> Prepared:
    from cosmos_cli.runtime.devices import choose_device, computing
    from cosmos_plugins.nemo_bridge.dataset.prepare import prepare

    device = choose_device(settings.device)
    with computing(device, settings.shortcuts):
        return prepare(plan, Place(plan.folder), _networks(_weights(request, settings), settings))


def _networks(weights: _Weights, settings: DatasetSettings) -> Networks:
    from cosmos_cli.models.cosmos_tokenizer_files import load_chunked_tokenizer
    from cosmos_cli.runtime.devices import choose_device, choose_dtype
    from cosmos_plugins.nemo_bridge.dataset.prepare import Networks

    device = choose_device(settings.device)
    load_tokenizer = partial(
        load_chunked_tokenizer,
        weights.tokenizer,
        config=weights.variant.helpers.tokenizer,
        chunk_frames=weights.variant.chunk_frames,
        sigma_data=1.0,  # a data set holds latents as they are; training multiplies
        dtype=choose_dtype(settings.precision, device),
        device=device,
    )
    return Networks(
        lambda: text_encoder(weights.text_encoder, settings, device).encode,
        weights.text_channels,
        load_tokenizer,
        device,
    )
