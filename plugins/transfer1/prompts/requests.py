"""What a user gives to `cosmos transfer prompts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cosmos_cli.generation.settings import NonEmptyPrompt
from cosmos_cli.requests import Flag, StrictModel

DEFAULT_MODEL = "google/gemma-3-27b-it"
DEFAULT_SCENE = "an ultrasound room in a hospital"


class PromptsRequest(StrictModel):
    """Many prompts for the two views of an episode."""

    meta_prompts: Path | None = None
    """File of short scene descriptions to write out: one a line, or as .json a list of them."""
    num_prompts: Annotated[int | None, Field(ge=1, le=10_000)] = None
    """Have the model think of so many short scene descriptions itself."""
    scene: Annotated[NonEmptyPrompt | None, Flag(default=DEFAULT_SCENE)] = None
    """What the scenes that the model thinks of are to show."""
    save_path: Path = Path("outputs/prompts.json")
    """File for the prompts; those that it holds are kept, and the others are added."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the model; the same seed gives the same texts, as far as the model's runtime allows."""
    temperature: float = Field(default=0.8, ge=0, le=2)
    """How freely the model writes; 0 always takes the likeliest word."""
    max_new_tokens: int = Field(default=1024, ge=64, le=32_768)
    """Where an answer is cut; more for a model that thinks before it answers."""
    overwrite: bool = False
    """Begin anew, and replace the file."""


class PromptsSettings(StrictModel):
    """The chat model that writes, and where it computes."""

    model: Annotated[str | None, Flag(default=DEFAULT_MODEL)] = None
    """Chat model: its folder, or its name on the Hub, if it is on this machine."""
    server_url: str | None = None
    """Server with an OpenAI-compatible API to ask instead, such as http://localhost:8000/v1."""
    server_model: str | None = None
    """Model to ask for at --server-url."""
    num_parallel_requests: int = Field(default=4, ge=1, le=64)
    """Requests to the server at a time."""
    checkpoint_dir: Annotated[Path, Flag(env="COSMOS_CHECKPOINT_DIR")] = Path("checkpoints")
    """Folder of downloaded checkpoints in the original layout."""
    device: Annotated[str, Flag(env="COSMOS_DEVICE")] = "auto"
    """Where to compute: auto, cpu, cuda or cuda:1."""
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"], Flag(default="auto: bfloat16, and float32 on a CPU")
    ] = "auto"
    """Precision of the chat model."""
    disable_guardrail: bool = False
    """Do not check what goes in and what comes out."""

    @property
    def writer(self) -> str:
        """The model, as people call it."""
        if self.server_url is not None:
            return f"{self.server_model} at {self.server_url}"
        return self.model or DEFAULT_MODEL
