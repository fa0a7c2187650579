"""Which errors say that a device has no memory left. Every library that takes memory of its own has its own words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from cosmos_cli.errors import TooLittleMemory

_WORDS = re.compile(
    "|".join(
        (
            r"cuda\W.{0,24}\bout of memory",  # CUDA's runtime and driver, NCCL, Triton, extensions
            r"\bcudaErrorMemoryAllocation\b",
            r"\bCUDA_ERROR_OUT_OF_MEMORY\b",
            r"\bFailed to CUDA [cm]alloc\b",  # NCCL, where it knows how much it wanted
            r"_ALLOC_FAILED\b",  # cuBLAS, cuFFT, cuSOLVER, cuSPARSE and old versions of cuDNN
            r"_DEVICE_ALLOCATION_FAILED\b",  # cuDNN 9
            r"\bCUBLAS_STATUS_NOT_INITIALIZED when calling `cublas(Lt)?Create\b",  # there was no room for its workspace
        )
    ),
    re.IGNORECASE,
)
_NO_ENGINE = "unable to find an engine to execute this computation"


def is_out_of_memory(error: BaseException, *, num_refused: int = 0) -> bool:
    """Whether an error says that the device has no memory left.

    Memory of the host does not count: what needs less of a device needs more of it.

    Args:
        num_refused: requests for memory that the device has refused meanwhile, see `num_refused_requests`. Torch takes
            for a convolution whatever has room to work; if nothing has, that is all that the error tells.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return _WORDS.search(text) is not None or (num_refused > 0 and _NO_ENGINE in text)


def num_refused_requests(device: torch.device) -> int:
    """How often the device has had too little memory for what this process wanted."""
    return int(torch.cuda.memory_stats(device).get("num_ooms", 0)) if device.type == "cuda" else 0


@contextlib.contextmanager
def telling_of_memory(device: torch.device, what: str, *, fix: str) -> Iterator[None]:
    """A block for which the device may be too small, where there is nothing smaller to step down to.

    Args:
        what: needs the memory. fix: what to do.
    Raises:
        TooLittleMemory: it is.
    """
    num_before = num_refused_requests(device)
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error, num_refused=num_refused_requests(device) - num_before):
            raise
        raise TooLittleMemory(f"{device} has too little memory for {what}.", fix=fix) from error
