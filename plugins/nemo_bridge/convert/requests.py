"""What `cosmos nemo convert` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cosmos_cli.requests import Flag, StrictModel

Target = Literal["native", "nemo-zarr", "nemo-torch-dist", "diffusers"]


class ConversionRequest(StrictModel):
    """A checkpoint, and what shall come of it."""

    source: Annotated[Path, Flag(argument=True)]
    """Checkpoint in any layout: model.pt, a folder of NeMo or of Diffusers, or the folder around it."""
    target: Annotated[Path, Flag(argument=True)]
    """Where it is written: a folder, or for NVIDIA's own layout a .pt or .safetensors file."""
    to: Annotated[Target | None, Flag(default="native if TARGET ends in .pt or .safetensors")] = None
    """Layout to write: NVIDIA's own file, NeMo's folder of either kind, or a folder of Diffusers."""
    dtype: Annotated[Literal["bfloat16", "float16", "float32"] | None, Flag(default="as stored")] = None
    """Type of numbers to write."""
    lossy: bool = False
    """Of a network that NeMo has trained, write the nearest one of the published rank, not the same one."""
    overwrite: bool = False
    """Replace what is there, once the new one is whole; of a folder only one that holds nothing but a checkpoint."""
