"""What every command that runs a model is told about the machine it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.errors import InputError
from cosmos_cli.requests import Flag, StrictModel


class MachineSettings(StrictModel):
    """Where to compute and where files lie. Families add what they load."""

    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Flag(default="auto: bfloat16, and float32 on a CPU")
    ] = "auto"
    """Precision of the DiT and the tokenizer."""
    attention: str = "sdpa"
    """Attention backend: sdpa, flash-attention or transformer-engine."""
    num_gpus: int = Field(default=1, ge=1)
    """Number of GPUs; this version uses one."""
    cache_dir: Annotated[Path | None, Flag(env="COSMOS_CACHE_DIR", default="~/.cache/cosmos-cli")] = None
    """Folder for what is computed once, such as text embeddings."""

    @property
    def cache_folder(self) -> Path:
        """`cache_dir`, or where caches usually lie."""
        return self.cache_dir or Path("~/.cache/cosmos-cli").expanduser()

    def check_machine(self) -> None:
        """Raises InputError for what no machine has."""
        if self.num_gpus > 1:
            raise InputError(
                f"asks for {self.num_gpus} GPUs, but this version runs on one.",
                where="--num-gpus",
                fix="Leave it out, or pass --num-gpus 1.",
            )
