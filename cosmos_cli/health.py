"""What a machine must have to run the models, checked one thing at a time, with the way to mend what is wrong."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cosmos_cli.files.disk import free_bytes
from cosmos_cli.runtime.gpus import find_gpus
from cosmos_cli.runtime.memory.amounts import format_memory

SMALL_GPU_BYTES = 12 << 30
SMALL_SHARED_MEMORY_BYTES = 1 << 30
SMALL_DISK_BYTES = 80_000_000_000
DECODED = ("h264", "hevc", "vp9", "av1")
ENCODER = "libx264"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    state: "ok"; "warning" if some things will not work or be slow; "failure" if nothing will work.
    what: one line. fix: what to do about it.
    """

    state: Literal["ok", "warning", "failure"]
    what: str
    fix: str | None = None


Check = Callable[[Path], Finding]
"""Given the checkpoint folder, which need not exist, finds out one thing within seconds."""


def python(checkpoint_dir: Path) -> Finding:
    """The interpreter."""
    return Finding("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def torch(checkpoint_dir: Path) -> Finding:
    """PyTorch, and whether it was built for the GPU that is there."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding(
            "failure", f"cannot be imported ({error})", "Install it again: pip install --force-reinstall torch"
        )
    built_for = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
    what = f"{torch.__version__}, {built_for}"
    if find_gpus() and torch.version.cuda is None:
        return Finding("failure", what, "Install a build for CUDA: https://pytorch.org/get-started/locally")
    return Finding("ok", what)


def gpu(checkpoint_dir: Path) -> Finding:
    """NVIDIA's GPUs, their memory, and whether their driver is new enough for this PyTorch."""
    gpus = find_gpus()
    if not gpus:
        return Finding("warning", "no NVIDIA GPU answers", "Without one, use --model tiny; nvidia-smi must list a GPU.")
    import torch

    what = "; ".join(
        f"{one.name}, {format_memory(one.free_bytes)} of {format_memory(one.total_bytes)} free" for one in gpus
    )
    if torch.version.cuda and not torch.cuda.is_available():
        fix = "Update the driver, or install a PyTorch for an older CUDA: https://pytorch.org/get-started/locally"
        return Finding("failure", f"{what}; the driver does not serve CUDA {torch.version.cuda}", fix)
    if min(one.free_bytes for one in gpus) < SMALL_GPU_BYTES:
        fix = f"Less than {format_memory(SMALL_GPU_BYTES)} free: end other programs, or pass --max-memory."
        return Finding("warning", what, fix)
    return Finding("ok", what)


def attention(checkpoint_dir: Path) -> Finding:
    """The attention backends that run here."""
    from cosmos_cli.runtime.attention import available_backends
    from cosmos_cli.runtime.devices import choose_device, choose_dtype

    device = choose_device("auto")
    backends = available_backends(device, choose_dtype("auto", device))
    return Finding("ok", ", ".join(name for name, reason in backends.items() if reason is None))


def video(checkpoint_dir: Path) -> Finding:
    """FFmpeg's codecs."""
    import av

    missing = [name for name in DECODED if not _has_codec(name, "r")]
    if not _has_codec(ENCODER, "w") or "h264" in missing:
        fix = "Install the wheel that brings its own FFmpeg: pip install --force-reinstall --only-binary av av"
        return Finding("failure", f"FFmpeg cannot read and write H.264 (av {av.__version__})", fix)
    if missing:
        return Finding("warning", f"FFmpeg cannot read {', '.join(missing)}", "Convert such videos to H.264.")
    return Finding("ok", f"FFmpeg reads {', '.join(DECODED)} and writes H.264 (av {av.__version__})")


def shared_memory(checkpoint_dir: Path) -> Finding:
    """What the workers of several GPUs exchange data through."""
    total = shutil.disk_usage("/dev/shm").total
    if total < SMALL_SHARED_MEMORY_BYTES:
        fix = "Runs on several GPUs need more: start the container with --shm-size 8g or --ipc host."
        return Finding("warning", format_memory(total), fix)
    return Finding("ok", format_memory(total))


def disk(checkpoint_dir: Path) -> Finding:
    """Room for checkpoints."""
    free = free_bytes(checkpoint_dir)
    what = f"{free / 1e9:.0f} GB free for {checkpoint_dir}"
    if free < SMALL_DISK_BYTES:
        fix = "A model with its text encoder takes 50 to 100 GB; --checkpoint-dir may name another disk."
        return Finding("warning", what, fix)
    return Finding("ok", what)


def hub(checkpoint_dir: Path) -> Finding:
    """Whether the Hub answers and knows the user."""
    from cosmos_cli.checkpoints.hub import LOG_IN, who_am_i
    from cosmos_cli.errors import CosmosError

    try:
        name = who_am_i()
    except CosmosError as error:
        [problem] = error.problems
        return Finding("warning", problem.what.rstrip("."), problem.fix)
    if name is None:
        return Finding("warning", "not logged in: models with a licence to accept cannot be fetched", LOG_IN)
    return Finding("ok", f"logged in as {name}")


CHECKS: Mapping[str, Check] = {
    "python": python,
    "torch": torch,
    "gpu": gpu,
    "attention": attention,
    "video": video,
    "shared-memory": shared_memory,
    "disk": disk,
    "hub": hub,
}


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    from av.codec import Codec
    from av.error import FFmpegError

    try:
        Codec(name, mode)
    except (ValueError, FFmpegError):  # UnknownCodecError is a ValueError
        return False
    return True
