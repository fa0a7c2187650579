"""Text embeddings as the originals keep them: a pickle of a list with one array, (tokens, channels)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cosmos_cli.checkpoints.arrays import PickledArray, read_pickle, write_pickled_arrays
from cosmos_cli.errors import InputError

# L text tokens, C channels

SUFFIXES = (".pickle", ".pkl")
_AGAIN = "Compute it: prepare-data, with --overwrite where a file is wrong."


def read_embedding(path: Path, num_tokens: int | None, channels: int) -> Tensor:
    """An embedding as (num_tokens, channels) float32: cut, or followed by zeros; None takes it as long as it is.

    Raises:
        InputError: the file is missing, damaged, hostile, of another width, or its numbers are none.
    """
    found = _read(path)
    _check_shape(path, found, channels)
    array_LC = found.numbers()
    if not np.isfinite(array_LC).all():
        raise InputError("holds numbers that are not finite.", where=str(path), fix=_AGAIN)
    text_LC = torch.zeros(len(array_LC) if num_tokens is None else num_tokens, channels)
    kept_LC = torch.from_numpy(array_LC[:num_tokens].astype(np.float32))
    text_LC[: len(kept_LC)] = kept_LC
    return text_LC


def check_embedding(path: Path, channels: int) -> None:
    """As `read_embedding`, from what the file says of its numbers, which are not read."""
    _check_shape(path, _read(path, skip_numbers=True), channels)


def write_embedding(path: Path, text_LC: Tensor) -> None:
    """Write an embedding for `read_embedding` and for the originals: whole or not at all, float16."""
    write_pickled_arrays(path, [text_LC.float().cpu().numpy().astype(np.float16)])


def _read(path: Path, *, skip_numbers: bool = False) -> PickledArray:
    try:
        found = read_pickle(path, skip_numbers=skip_numbers)
    except InputError as error:
        problem = error.problems[0]
        raise InputError(problem.what, where=problem.where, fix=_AGAIN) from error
    if isinstance(found, list | tuple) and found:
        found = found[0]
    if not isinstance(found, PickledArray):
        raise _strange(path)
    return found


def _check_shape(path: Path, found: PickledArray, channels: int) -> None:
    try:
        shape = found.checked_shape()
    except ValueError as error:
        raise _strange(path) from error
    if len(shape) != 2 or not shape[0] or shape[1] != channels:
        size = " x ".join(map(str, shape)) or "no size"
        raise InputError(f"is an array of {size}; the model reads tokens x {channels}.", where=str(path), fix=_AGAIN)


def _strange(path: Path) -> InputError:
    return InputError("holds no array of floating-point numbers.", where=str(path), fix=_AGAIN)
