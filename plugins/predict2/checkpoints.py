"""Published files of Predict2 and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosmos_cli.checkpoints.catalogue import T5_11B, PublishedFile, Repository
from cosmos_plugins.predict2.variants import VARIANTS

TINY_ROOT = Path(__file__).parent / "tiny"
"""Checkpoint folder of the tiny model, in the layout of the published ones."""

_NVIDIA = "NVIDIA Open Model License"
_DIT_BYTES = {"2B": 3_913_000_000, "14B": 28_531_000_000}
_TOKENIZER = PublishedFile("tokenizer/tokenizer.pth", 508_000_000)
_REVISIONS = {"2B": "f50c09f5d8ab133a90cac3f4886a6471e9ba3f18", "14B": "03b03a377fede782647afac998f674d9f358e319"}


def dit_file(resolution: str, fps: int, natten: bool = False) -> str:
    """Name of the DiT weights inside the model's folder."""
    if resolution == "tiny":
        return "model-tiny.pt"  # one set of weights for both rates
    return f"model-{resolution}p-{fps}fps{'-natten' if natten else ''}.pt"


def repositories(model_size: str, resolution: str, fps: int, natten: bool, own_dit: bool) -> list[Repository]:
    """What a run needs: the DiT unless the user brings one, the tokenizer, the text encoder."""
    dit = [] if own_dit else [PublishedFile(dit_file(resolution, fps, natten), _DIT_BYTES[model_size])]
    model = Repository(VARIANTS[model_size].folder, _REVISIONS[model_size], (*dit, _TOKENIZER), _NVIDIA)
    return [model, T5_11B]


def _published(model_size: str) -> Repository:
    names = [dit_file(resolution, fps) for resolution in ("480", "720") for fps in (10, 16)]
    names += [dit_file("720", fps, natten=True) for fps in (10, 16)]
    files = tuple(PublishedFile(name, _DIT_BYTES[model_size]) for name in names)
    return Repository(VARIANTS[model_size].folder, _REVISIONS[model_size], (*files, _TOKENIZER), _NVIDIA)


CATALOGUE: Mapping[str, tuple[Repository, ...]] = {
    size: (_published(size), T5_11B) for size in VARIANTS if size != "tiny"
}
"""Model size to everything that is published for it."""
