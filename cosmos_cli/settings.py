"""What every command that runs a model is told about the machine it runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from cosmos_cli.errors import InputError
from cosmos_cli.requests import Flag, StrictModel
from cosmos_cli.runtime.backends import check_backend
from cosmos_cli.runtime.cards import parse_card
from cosmos_cli.runtime.machine import in_place_of_this
from cosmos_cli.runtime.memory.amounts import parse_memory
from cosmos_cli.runtime.shortcuts import NO_SHORTCUTS, Shortcuts
from cosmos_cli.runtime.workers.rank import num_started
from cosmos_cli.runtime.workers.share import Share


def _as_text(value: object) -> object:
    """A number in a file or a program as it would stand on the command line."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _checked(text: str) -> str:
    parse_memory(text)
    return text


Memory = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked)]
"""A field that holds an amount of memory as it was written, see `parse_memory`."""


AS_STARTED = Flag(found=num_started, default="1, or as many as torchrun or Slurm has started")
"""Of a number of workers."""


class MachineSettings(StrictModel):
    """Where to compute and where files lie. Families add what they load."""

    gpu_shortcuts: ClassVar[Shortcuts] = Shortcuts()
    """What the family's original does for speed on a GPU."""

    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Flag(default="auto: bfloat16, and float32 on a CPU")
    ] = "auto"
    """Precision of the DiT and the tokenizer."""
    attention: Annotated[str, AfterValidator(check_backend), Flag(env="COSMOS_ATTENTION")] = "sdpa"
    """Attention backend: sdpa, sdpa-cudnn, sdpa-flash, sdpa-math, flash-attention or transformer-engine."""
    compile: bool = False
    """Compile the blocks of the DiT: a slower first step, faster ones after it."""
    deterministic: bool = False
    """On a GPU, round alike in every run: without TF32, which has some 8 times the peak, and without trying kernels."""
    num_gpus: Annotated[int, Field(ge=1), AS_STARTED] = 1
    """Number of GPUs; the command starts one worker on each."""
    cache_dir: Annotated[
        Path | None, Flag(env="COSMOS_CACHE_DIR", default="the user's caches, such as ~/.cache/cosmos-cli")
    ] = None
    """Folder for what is computed once, such as text embeddings."""

    @property
    def shortcuts(self) -> Shortcuts:
        """What a GPU may do for speed in this run."""
        return NO_SHORTCUTS if self.deterministic else self.gpu_shortcuts

    @property
    def cache_folder(self) -> Path:
        """`cache_dir`, or where caches lie on this system; "~" is found by whoever opens it: there may be no home."""
        if self.cache_dir is not None:
            return self.cache_dir
        from platformdirs import user_cache_path

        return user_cache_path("cosmos-cli", appauthor=False)

    def check_single(self) -> None:
        """Raises InputError if several GPUs are asked for, for models that run on one."""
        if self.num_gpus > 1:
            raise InputError(
                f"asks for {self.num_gpus} GPUs, but this command runs on one.",
                where="--num-gpus",
                fix="Leave it out, or pass --num-gpus 1.",
            )


class ParallelSettings(MachineSettings):
    """How the devices of a run share the work, and how much of each may be used."""

    parallel: Annotated[str | None, Flag(default="the fastest for the number of GPUs and videos")] = None
    """How several GPUs share the work, such as cp=4,cfg=2: tokens, halves of guidance, or with dp whole videos."""
    max_memory: Annotated[Memory | None, Flag(env="COSMOS_MAX_MEMORY")] = None
    """Most device memory to use, such as 12 (GiB) or 800MiB: models then wait in host memory or stream block by block
    as needed."""

    @property
    def max_memory_bytes(self) -> int | None:
        """`max_memory` in bytes."""
        return None if self.max_memory is None else parse_memory(self.max_memory)


class Planning(StrictModel):
    """Whether a command only looks ahead."""

    plan: bool = False
    """Say what would be done on this machine and what it would cost; load nothing."""
    plan_for: Annotated[str | None, Flag(aliases=("--for",), default="this machine")] = None
    """With --plan, a GPU that this machine need not have: a card such as h100 or rtx-4090, or 24GiB of any."""

    @field_validator("plan_for")
    @classmethod
    def _card(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            parse_card(value)
            if not info.data.get("plan"):
                raise ValueError("says which machine to plan for, so it needs --plan.")
        return value

    def machine(self) -> AbstractContextManager[None]:
        """A block in which plans are for the machine that is meant."""
        return nullcontext() if self.plan_for is None else in_place_of_this(*parse_card(self.plan_for))


LOCAL = "local"
"""The engine of this machine."""


class Engines(StrictModel):
    """Who makes many videos."""

    engine: Annotated[str, Flag(env="COSMOS_ENGINE")] = LOCAL
    """What makes the videos of a batch: local, this machine; ray, the machines of a Ray cluster; or a plugin's."""
    num_workers: Annotated[
        int | None, Flag(default="as many as there are GPUs for, or one on each machine without GPUs")
    ] = Field(default=None, ge=1)
    """Models that an engine other than local loads, each on --num-gpus GPUs."""

    @property
    def is_local(self) -> bool:
        """Whether this machine makes the videos, or the machines that the command was launched on."""
        return self.engine == LOCAL


class Spreading(Engines):
    """Who makes the videos of a batch, and which of them."""

    slurm: bool = False
    """Print a batch file for Slurm, an array of --num-workers tasks, or 8, that share the rows; make nothing."""
    time_limit: str = Field(default="24:00:00", pattern=r"^[\d:-]+$")
    """Time limit in the batch file; a task that reaches it is queued again and goes on."""
    share: str | None = None
    """Make one of several equal shares of the rows, such as 3/8, each with a ledger of its own."""

    @field_validator("share")
    @classmethod
    def _share(cls, value: str | None) -> str | None:
        return None if value is None else str(Share.parse(value))

    def check_one(self) -> None:
        """Raises InputError if a batch is to be divided, for a command that was given one request.

        The engine may be that of all batches, by a variable.
        """
        for name in ("slurm", "share", "num_workers"):
            if getattr(self, name):
                raise InputError("is for batches.", where=f"--{name.replace('_', '-')}", fix="Leave it out.")


class OneOutput(Planning):
    """The same for a command that makes one picture or video, unless it is given a batch."""

    numbered: bool = False
    """Where the output exists, write NAME-2 beside it, or the next number that is free."""

    def check_batch(self) -> None:
        """Raises InputError if numbers are asked for, for many outputs: their rows name them."""
        if self.numbered:
            raise InputError(
                "does not go with a batch, which goes on with what it has not made.",
                where="--numbered",
                fix="Leave it out.",
            )


MACHINE_ONLY = {
    *("device", "num_gpus", "attention", "compile", "deterministic"),
    *("cache_dir", "parallel", "max_memory"),
}
"""Fields that do not change what a video shows."""
