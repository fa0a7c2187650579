"""Clips as networks read them, kept on disk by their number: a training that finds one need not decode or encode it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from cosmos_cli.errors import InputError
from cosmos_cli.files.cache import Cache
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.task import Batch

_EXTRA = "extra."


@dataclass(frozen=True)
class Gathered:
    """Clips of one forward pass, of which some are encoded already.

    numbers: of the clips in the data set.
    encoded: one clip each, None in the places of `others`, which stand in the same order.
    """

    numbers: tuple[int, ...]
    encoded: tuple[Batch | None, ...]
    others: Examples | None


class Kept:
    """Clips by number, each in a file of its own that appears whole or not at all; it is copied to other processes.

    Any number of trainings may read and write at a time: whoever writes a clip writes the same.

    Args:
        folder: of all latents.
        clips: name of the folder in it that holds these clips. hint, of_hint: name of the control whose latents go
            along, and of their folder; "" is none.
    """

    def __init__(self, folder: Path, clips: str, hint: str = "", of_hint: str = "") -> None:
        self._clips = Cache(folder, clips, limit_bytes=None)
        self._hint, self._of_hint = hint, Cache(folder, of_hint, limit_bytes=None) if hint else None

    def get(self, number: int) -> Batch | None:
        """One clip, on the CPU; None where not all of it is there."""
        content = self._clips.get(str(number))
        hint = None if self._of_hint is None else self._of_hint.get(str(number))
        if content is None or (hint is None and self._of_hint is not None):
            return None
        found = load(content)
        extras = {name.removeprefix(_EXTRA): each for name, each in found.items() if name.startswith(_EXTRA)}
        text_BLC = found["text"].new_zeros(1, int(found["text_rows"]), found["text"].shape[2])
        text_BLC[:, : found["text"].shape[1]] = found["text"]
        hints = {} if hint is None else {self._hint: load(hint)["latents"]}
        return Batch(found["latents"], text_BLC, float(found["fps"]), found.get("padding_mask"), hints, extras)

    def put(self, number: int, clip: Batch) -> None:
        """Keep one clip, on the CPU."""
        text_LC = clip.text_BLC[0]
        used = text_LC.any(1).nonzero()  # rows behind the text are zeros, and most of it
        tensors = {
            "latents": clip.latents_BCTHW,
            "text": text_LC[: int(used.max()) + 1 if len(used) else 0][None],
            "text_rows": torch.tensor(len(text_LC)),
            "fps": torch.tensor(clip.fps, dtype=torch.float64),
            **{f"{_EXTRA}{name}": each for name, each in clip.extras.items()},
        }
        if clip.padding_mask_B1HW is not None:
            tensors["padding_mask"] = clip.padding_mask_B1HW
        if self._of_hint is not None:
            self._of_hint.put(str(number), _bytes({"latents": clip.hints[self._hint]}))
        self._clips.put(str(number), _bytes(tensors))


def apart(batch: Batch) -> Iterator[Batch]:
    """Each clip by itself, on the CPU, as it is kept: in float16."""
    half = on_each(batch, lambda tensor: _half(tensor.detach().cpu()))
    for place in range(len(half.latents_BCTHW)):
        yield on_each(half, partial(_only, place))


def together(clips: Sequence[Batch]) -> Batch:
    """Clips in one batch. Raises InputError: they do not fit into one."""
    first = clips[0]
    if any(clip.fps != first.fps or _shapes(clip) != _shapes(first) for clip in clips):
        raise InputError("clips of differing rates or sizes in one batch.", where="data", fix="Set data.batch_size=1.")
    others = iter(zip(*(_tensors(clip) for clip in clips), strict=True))
    return on_each(first, lambda _: torch.cat(next(others)))


def on_each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """A batch with each of its tensors changed, always in the same order."""
    padding = batch.padding_mask_B1HW
    return Batch(
        change(batch.latents_BCTHW),
        change(batch.text_BLC),
        batch.fps,
        None if padding is None else change(padding),
        {name: change(batch.hints[name]) for name in sorted(batch.hints)},
        {name: change(batch.extras[name]) for name in sorted(batch.extras)},
    )


def _only(place: int, tensor: Tensor) -> Tensor:
    return tensor[place : place + 1]


def _tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    on_each(batch, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def _shapes(batch: Batch) -> list[object]:
    return [*sorted(batch.hints), *sorted(batch.extras), *(tensor.shape for tensor in _tensors(batch))]


def _half(tensor: Tensor) -> Tensor:
    """In float16, unless that cannot hold it."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(half.isfinite().all()) else tensor


def _bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})
