"""Reading the file of a weight map: a tensor, an array, a grey picture or a grey video, with values in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cosmos_cli.checkpoints.file_formats import list_members
from cosmos_cli.checkpoints.pickles import check_pickles
from cosmos_cli.checkpoints.readers import Checkpoint, open_checkpoint
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.files.stores import here
from cosmos_cli.media.image import is_image, read_image
from cosmos_cli.media.video import read_video
from cosmos_cli.runtime.memory.host import raise_if_too_little

# F frames, H and W pixel height and width

MAX_VALUES = 2**30
"""Of one map: 4 GiB as float32, which are 1100 frames of 720p."""

_TENSOR_SUFFIXES = frozenset({".pt", ".pth", ".safetensors"})
_LOSSY_PICTURES = frozenset({".jpg", ".jpeg", ".webp", ".avif"})
_GREY_TOLERANCE = 24
"""By which red, green and blue of a grey pixel differ after compression."""

_BYTE_MASK_FROM = 128
"""A largest value from here to 255 says that white is 255; below, it may be the number of a class."""
_FORMATS = "Give a tensor (.pt, .safetensors), an array (.npy), or a grey picture or video."


def read_weight_map(path: Path, *, where: str) -> np.ndarray:
    """A weight map as float32 in [0, 1], negative values as they are: (H, W) or (F, H, W).

    Masks that reach to 255, or to 65535 in 16 bits, are divided by that.

    Args:
        where: the field that is named in errors.
    Raises:
        InputError: the file cannot be read or holds no map, or it is not plain which of its values is 1.
    """
    suffix = path.suffix.lower()
    if suffix in _TENSOR_SUFFIXES:
        return _checked(_read_tensor(path, where), path, where)
    if suffix == ".npy":
        return _checked(_read_array(path, where), path, where)
    if suffix == ".npz":
        raise InputError(f"{path} may hold several arrays.", where=where, fix="Save the one as .npy.")
    if is_image(path):
        grey_HW = _grey(read_image(path), path, where)
        is_exact = suffix not in _LOSSY_PICTURES
        return _checked(grey_HW, path, where) if is_exact else _unit_of_bytes(grey_HW)
    if _is_torch_file(path):
        return _checked(_read_tensor(path, where), path, where)
    return _unit_of_bytes(read_video(path, lambda image_HWC: _grey(image_HWC, path, where)).frames_FHWC)


def _is_torch_file(path: Path) -> bool:
    """Whether torch.save wrote it, whatever its name."""
    with path.open("rb") as file:
        start = file.read(4)
    return start == b"PK\x03\x04" or start[:1] == b"\x80"


@contextmanager
def _opened(path: Path) -> Iterator[Checkpoint]:
    """A file of tensors; what is wrong with the copy of one in a store is told of that."""
    copy = here(path)
    try:
        with open_checkpoint(copy) as file:
            yield file
    except CosmosError as error:
        if copy != path:
            error.problems = [
                replace(each, what=each.what.replace(copy.name, path.name), where=str(path)) for each in error.problems
            ]
        raise


def _read_tensor(path: Path, where: str) -> np.ndarray:
    if path.suffix.lower() == ".safetensors":
        with _opened(path) as file:
            tensors = [file.tensor(key) for key in file.keys()]  # noqa: SIM118
        content = tensors[0] if len(tensors) == 1 else None
    else:
        try:
            with path.open("rb") as file:
                if file.read(2) == b"PK":
                    list_members(file, path.stat().st_size)
                file.seek(0)
                check_pickles(file)
            content = torch.load(here(path), map_location="cpu", weights_only=True)
        except CosmosError:
            raise
        except Exception as error:
            raise_if_too_little(error, path)
            # what PyTorch advises, to let the file run code, is not for files of others
            raise InputError(
                f"{path} cannot be read as a tensor: it is damaged, or holds more than a tensor.",
                where=where,
                fix="Save one tensor with torch.save, or as .safetensors or .npy.",
            ) from error
    if not isinstance(content, torch.Tensor):
        raise InputError(f"{path} holds {type(content).__name__}, not {_SHAPES}.", where=where)
    if content.is_nested:
        raise InputError(f"{path} holds a nested tensor, not {_SHAPES}.", where=where)
    if content.is_meta:
        raise InputError(f"{path} holds a tensor without its values.", where=where, fix="Save it from a real device.")
    _check_form(tuple(content.shape), path, where)
    plain = content.detach().to_dense() if content.layout is not torch.strided else content.detach()
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.dtype.is_complex:
        raise _no_numbers(path, str(plain.dtype), where)
    # NumPy has no such number as bfloat16
    return (plain.float() if plain.dtype.is_floating_point else plain).numpy()


def _read_array(path: Path, where: str) -> np.ndarray:
    try:
        # mapped: a header may promise more than there is memory
        array = np.load(here(path), mmap_mode="r", allow_pickle=False)
    except CosmosError:
        raise
    except Exception as error:  # a parser over bytes of anybody can trip in any way; all mean that the file is bad
        raise_if_too_little(error, path)
        raise InputError(
            f"{path} cannot be read as an array: it is damaged, or holds Python objects.",
            where=where,
            fix="Save one array of numbers with numpy.save.",
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise _no_numbers(path, str(getattr(array, "dtype", type(array).__name__)), where)
    _check_form(array.shape, path, where)
    return np.asarray(array)


_SHAPES = "one tensor of shape (H, W) or (frames, H, W)"


def _check_form(shape: tuple[int, ...], path: Path, where: str) -> None:
    num_values = int(np.prod(shape, dtype=object))
    if len(shape) not in (2, 3) or not num_values:
        raise InputError(f"{path} holds {shape}, not {_SHAPES}.", where=where)
    if num_values > MAX_VALUES:
        raise InputError(
            f"{path} holds {num_values:,} values, and at most {MAX_VALUES:,} can be read.",
            where=where,
            fix="Scale the map down: it is brought to the size of the video.",
        )


def _no_numbers(path: Path, kind: str, where: str) -> InputError:
    return InputError(f"{path} holds values of the type {kind}, not real numbers.", where=where, fix=_FORMATS)


def _checked(values: np.ndarray, path: Path, where: str) -> np.ndarray:
    """Values in [0, 1] as they are, and those of masks of 8 or 16 bits divided by their white."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are not finite.", where=where)
    largest = float(values.max())
    if largest <= 1:
        return values.astype(np.float32)
    is_whole = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
    if is_whole and _BYTE_MASK_FROM <= largest <= 255:
        return _unit_of_bytes(values)
    if values.dtype == np.uint16 and largest > 0x7FFF:
        return values.astype(np.float32) / 65535
    raise InputError(
        f"{path} holds values up to {largest:g}, and it is not plain which of them is 1.",
        where=where,
        fix="Bring them into [0, 1], or into 0 to 255 as a mask.",
    )


def _unit_of_bytes(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) / 255


def _grey(image_HWC: np.ndarray, path: Path, where: str) -> np.ndarray:
    """(H, W) uint8 of a picture in greys. Raises InputError: it has colours."""
    red, green, blue = (image_HWC[..., i].astype(np.int16) for i in range(3))
    if max(np.abs(red - green).max(), np.abs(green - blue).max()) > _GREY_TOLERANCE:
        raise InputError(
            f"{path} has colours, and it is not plain how strong each of them is.",
            where=where,
            fix="Give a map in greys: white is 1, black is 0.",
        )
    return image_HWC[..., 1].copy()
