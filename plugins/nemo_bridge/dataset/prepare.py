"""Filling a folder with samples, by one process or several; killed at any time, it goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cosmos_cli import interrupts, output
from cosmos_cli.files.failures import writing
from cosmos_cli.files.outputs import Claim, claim
from cosmos_cli.files.writing import json_bytes, replacing
from cosmos_cli.media.resize import stretch_smoothly
from cosmos_cli.media.video import read_windows
from cosmos_cli.runtime.memory.exhaustion import telling_of_memory
from cosmos_cli.runtime.workers.agreement import agree, together
from cosmos_cli.training.data.checking import in_threads, tell
from cosmos_plugins.nemo_bridge.dataset.clips import Clip
from cosmos_plugins.nemo_bridge.dataset.encoding import EncodeText, VideoEncoder, encode_chunk, mask_of_text, text_of
from cosmos_plugins.nemo_bridge.dataset.layout import (
    CONDITIONING,
    INFO,
    KINDS,
    MASK,
    NUM_TOKENS,
    TEXT,
    VIDEO,
    file_of,
    foreign_problems,
    list_samples,
)
from cosmos_plugins.nemo_bridge.dataset.plan import Chunk, Plan, chunks_of, share_of
from cosmos_plugins.nemo_bridge.dataset.record import Place
from cosmos_plugins.nemo_bridge.dataset.samples import Shapes, read_tensor, sample_problems

_SMALLER_TEXTS = "Pass --precision bfloat16, which takes half of it, or --device cpu. What was finished before is kept."
_SMALLER_CHUNKS = "Free the device of other work, or give a smaller --height and --width. What was finished is kept."


@dataclass(frozen=True)
class Networks:
    """What encodes. The text encoder is large, and gone before the tokenizer loads.

    text_channels: of an embedding.
    """

    load_text_encoder: Callable[[], EncodeText]
    text_channels: int
    load_tokenizer: Callable[[], VideoEncoder]
    device: torch.device


@dataclass(frozen=True)
class Prepared:
    """num_written, num_kept: samples that were made now, and that were there. num_texts: that were encoded now."""

    folder: Path
    num_videos: int
    num_written: int
    num_kept: int
    num_texts: int

    def summary(self) -> str:
        """In a sentence."""
        kept = f", {self.num_kept} were there already" if self.num_kept else ""
        return f"Wrote {self.num_written} samples of {self.num_videos} videos{kept}: {self.folder}"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "folder": str(self.folder),
            "videos": self.num_videos,
            "written": self.num_written,
            "kept": self.num_kept,
            "texts": self.num_texts,
        }


def prepare(plan: Plan, place: Place, networks: Networks) -> Prepared:
    """Make the samples of a plan that are not there; every process of a run must call this.

    Raises:
        InputError: another process fills the folder, or something else is in it; a video has changed meanwhile.
        CheckpointError: weights are missing or damaged.
        DiskFull, CosmosError: the folder cannot be written.
    """
    shapes = Shapes(plan.latents_CTHW, networks.text_channels)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with _claimed(place, is_first=rank == 0):
        todo = agree(partial(_begin, plan, place, shapes), "looking for samples that are there")
        samples = [sample for sample in plan.samples if sample.number in todo]
        with telling_of_memory(networks.device, "the text encoder", fix=_SMALLER_TEXTS):
            texts = _encode_texts(plan, place, shapes, todo, networks.load_text_encoder)
        with telling_of_memory(networks.device, "chunks of this size", fix=_SMALLER_CHUNKS):
            if own := share_of(chunks_of(samples), rank, world):
                _encode_videos(plan, place, shapes, own, networks)
        together(lambda: None)  # all are done
        if rank == 0:
            place.clear()
    return Prepared(plan.folder, len(plan.clips), len(samples), len(plan.samples) - len(samples), texts)


@contextlib.contextmanager
def _claimed(place: Place, *, is_first: bool) -> Iterator[None]:
    """A block in which no other run writes to the folder."""
    taken: list[Claim] = []
    together(lambda: taken.append(claim([place.folder])) if is_first else None)

    def release() -> None:
        while taken:
            taken.pop().release()

    try:
        with interrupts.at_leave(release):
            yield
    finally:
        release()


def _begin(plan: Plan, place: Place, shapes: Shapes) -> set[int]:
    """The numbers of the samples that are to be made. Raises InputError: there is something else in the folder."""
    with writing(place.folder / "0"):
        place.folder.mkdir(parents=True, exist_ok=True)
        place.texts.mkdir(parents=True, exist_ok=True)
        for left in place.making.iterdir():
            if left.is_file():
                left.unlink()
    listing = list_samples(place.folder)
    own = {str(sample.number) for sample in plan.samples}
    tell(foreign_problems(place.folder, (*listing.foreign, *sorted(listing.samples.keys() - own))))
    whole = [name for name, kinds in listing.samples.items() if len(kinds) == len(KINDS)]
    done = _sound(whole, place, shapes) if whole else set()
    return {sample.number for sample in plan.samples} - done


def _sound(names: Sequence[str], place: Place, shapes: Shapes) -> set[int]:
    """The samples whose files are as they should be."""
    with output.progress(f"Checking {len(names)} samples", len(names), "samples") as advance:
        found = in_threads(lambda name: sample_problems(place.folder, name, KINDS, shapes), names, advance)
    return {int(name) for name, problems in zip(names, found, strict=True) if not problems}


def _encode_texts(plan: Plan, place: Place, shapes: Shapes, todo: set[int], load: Callable[[], EncodeText]) -> int:
    """Have the texts of some samples ready in files, and say how many were encoded."""

    def missing() -> list[str]:
        needed = dict.fromkeys(plan.clips[sample.clip].text for sample in plan.samples if sample.number in todo)
        return [text for text in needed if sample_problems(place.texts, _named(text), [TEXT], shapes)]

    texts = agree(missing, "looking for texts that are encoded")
    if not texts:
        return 0
    encode, num_cut = load(), 0
    with output.progress("Encoding", len(texts), "texts") as advance:
        for text in texts:
            context_1LD, num_tokens = encode(text)
            num_cut += num_tokens > NUM_TOKENS
            if not dist.is_initialized() or dist.get_rank() == 0:
                _save(file_of(place.texts, _named(text), TEXT), text_of(context_1LD))
            advance()
    if num_cut:
        output.notice(f"{num_cut} texts have more than {NUM_TOKENS} tokens; the networks read so many")
    together(lambda: None)  # the last is written
    return len(texts)


def _named(text: str) -> str:
    """A name for the file of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _encode_videos(
    plan: Plan, place: Place, shapes: Shapes, own: Mapping[int, Sequence[Chunk]], networks: Networks
) -> None:
    tokenizer, mask = networks.load_tokenizer(), mask_of_text()

    def scaled(image_HWC: Any) -> Any:
        return stretch_smoothly(image_HWC, plan.height, plan.width)

    with output.progress("Encoding", sum(map(len, own.values())), "chunks") as advance:
        for number, chunks in own.items():
            clip = plan.clips[number]
            text = read_tensor(place.texts, _named(clip.text), TEXT, shapes)
            windows = read_windows(clip.path, [chunk.start for chunk in chunks], plan.chunk_frames, scaled)
            for chunk, (_, frames_FHWC) in zip(chunks, windows, strict=True):
                video, conditioning = encode_chunk(tokenizer, frames_FHWC, networks.device)
                tensors = {VIDEO: video, CONDITIONING: conditioning, TEXT: text, MASK: mask}
                for sample in chunk.numbers:
                    _write(place, sample, tensors, _info(clip, plan, chunk))
                advance()


def _info(clip: Clip, plan: Plan, chunk: Chunk) -> dict[str, Any]:
    return {
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
        "num_frames": plan.chunk_frames,
        "video_path": clip.path.name,
        "start_frame": chunk.start,
    }


def _write(place: Place, sample: int, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """All files of a sample: beside the folder first, and then into it one right after another."""
    for kind, tensor in tensors.items():
        _save(file_of(place.making, sample, kind), tensor)
    with replacing(file_of(place.making, sample, INFO)) as temporary:
        temporary.write_bytes(json_bytes({}, as_they_are=info))
    with writing(file_of(place.folder, sample, INFO)):
        try:
            _move(place, sample)
        except KeyboardInterrupt:
            _move(place, sample)  # a moment's work, and then no sample stays half there
            raise


def _move(place: Place, sample: int) -> None:
    for kind in KINDS:
        if (source := file_of(place.making, sample, kind)).exists():
            source.replace(file_of(place.folder, sample, kind))


def _save(path: Path, tensor: Tensor) -> None:
    # to memory first: torch makes other errors out of a full disk, and a file's name would stand in its bytes
    content = io.BytesIO()
    torch.save(tensor, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
