"""The files of a sample: what they hold, how they are read, and whether they are as they should be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.errors import CheckpointError, InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.training.data.checking import problems_in
from cosmos_plugins.nemo_bridge.dataset.layout import CONDITIONING, INFO, MASK, NUM_TOKENS, TEXT, VIDEO, file_of

# C latent channels, T latent frames, H and W latent height and width; L text positions, D width of an embedding

DTYPE = torch.bfloat16
"""Of every tensor in a folder."""

_INFO_BYTES = 1 << 20
_AGAIN = "Remove the files of this sample, and run prepare-dataset once more as before."
_OF_SHAPE = "Train on the size that was prepared (data.num_frames, data.height, data.width), or prepare it anew."
_SIZES = ("height", "width")


@dataclass(frozen=True)
class Shapes:
    """What the tensors of every sample of a folder are like.

    latents: (C, T, H, W). text_channels: D.
    """

    latents: tuple[int, int, int, int]
    text_channels: int

    def of(self, kind: str) -> tuple[int, ...]:
        """The shape of one kind of file."""
        return {
            VIDEO: self.latents,
            CONDITIONING: self.latents,
            TEXT: (NUM_TOKENS, self.text_channels),
            MASK: (NUM_TOKENS,),
        }[kind]


def read_tensor(folder: Path, sample: str | int, kind: str, shapes: Shapes) -> Tensor:
    """A tensor of a sample, which is bfloat16.

    Raises:
        InputError: the file is missing, damaged, hostile, of another shape or dtype, or its numbers are none.
    """
    path = file_of(folder, sample, kind)
    tensor = _read(path, shapes.of(kind), mmap=False)
    if not tensor.isfinite().all():
        raise InputError("holds numbers that are not finite.", where=str(path), fix=_AGAIN)
    return tensor


def read_fps(folder: Path, sample: str | int) -> float:
    """Frames per second of the video that a sample was cut from. Raises InputError: its file says none."""
    info = read_info(folder, sample)
    return float(info["fps"])


def read_info(folder: Path, sample: str | int) -> dict[str, Any]:
    """What a sample's file says of its video. Raises InputError: it cannot be read, or lacks rate or size."""
    path = file_of(folder, sample, INFO)
    info = read_json(path, limit=_INFO_BYTES, fix=_AGAIN)
    if not isinstance(info, dict) or not _is_above_0(info.get("fps")):
        raise InputError("does not say how many frames a second has (fps).", where=str(path), fix=_AGAIN)
    if not all(_is_above_0(info.get(name)) for name in _SIZES):
        raise InputError("does not say the size of its video (height, width).", where=str(path), fix=_AGAIN)
    return info


def sample_problems(folder: Path, sample: str | int, kinds: Iterable[str], shapes: Shapes) -> list[Problem]:
    """What is wrong with the files of a sample, from what they say of their numbers, which are not read."""

    def check(kind: str) -> None:
        if kind == INFO:
            read_info(folder, sample)
        else:
            _read(file_of(folder, sample, kind), shapes.of(kind), mmap=True)

    return problems_in(*(partial(check, kind) for kind in sorted(kinds)))


def _read(path: Path, shape: tuple[int, ...], *, mmap: bool) -> Tensor:
    try:
        found = load_without_code(path, path, mmap=mmap)
    except CheckpointError as error:
        raise InputError(error.problems[0].what, where=str(path), fix=_AGAIN) from error
    if not isinstance(found, Tensor):
        raise InputError("holds no tensor.", where=str(path), fix=_AGAIN)
    if found.layout != torch.strided or found.is_quantized or found.device.type != "cpu":
        raise InputError("holds a tensor that is not dense.", where=str(path), fix=_AGAIN)
    if found.dtype != DTYPE:
        raise InputError(f"is {_name(found.dtype)}, not {_name(DTYPE)}.", where=str(path), fix=_AGAIN)
    if tuple(found.shape) != shape:
        raise InputError(f"has the shape {_times(found.shape)}, not {_times(shape)}.", where=str(path), fix=_OF_SHAPE)
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "of a single number"


def _is_above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
