"""What `prepare-data` does. Nothing here imports torch before something is encoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import T5_11B, TEXT_ENCODER_FORMS
from cosmos_cli.checkpoints.required import require
from cosmos_cli.import_strings import resolve
from cosmos_cli.training.data.prepare_requests import Preparation, PreparationSettings, TextEncodingSettings

if TYPE_CHECKING:
    import torch

    from cosmos_cli.models.t5 import CachedTextEncoder

_TINY_ENCODER = "google-t5/t5-tiny"
_CACHE_BYTES = 4 * 2**30


def run(preparation: Preparation, settings: PreparationSettings, tiny_root: str) -> None:
    """Encode the texts of a data set, and tell of it.

    Raises:
        InputError: what is wrong with the data set, before anything loads.
        CheckpointError: the text encoder is missing or damaged.
    """
    settings.check_single()
    if settings.model_size == "tiny":
        root: Path = resolve(tiny_root, needed_by="--model tiny")
        folder = root / _TINY_ENCODER
    else:
        folder = T5_11B.folder(settings.checkpoint_dir)
    from cosmos_cli.training.data.prepare import find_jobs

    find_jobs(preparation.dataset_path, preparation.prompt)
    if settings.model_size != "tiny":
        require(TEXT_ENCODER_FORMS[settings.text_encoder], settings.checkpoint_dir)
    _prepare(preparation, settings, folder)


def _prepare(preparation: Preparation, settings: PreparationSettings, folder: Path) -> None:
    from cosmos_cli.runtime.devices import choose_device, computing
    from cosmos_cli.training.data.prepare import prepare

    device = choose_device(settings.device)
    with computing(device, settings.shortcuts):
        encoder = text_encoder(folder, settings, device)
        prepared = prepare(
            preparation.dataset_path, encoder.encode, preparation.prompt, overwrite=preparation.overwrite
        )
    output.result(prepared.summary(), {"status": "ok", **prepared.document()})


def text_encoder(folder: Path, settings: TextEncodingSettings, device: torch.device) -> CachedTextEncoder:
    """The encoder in a folder, as training data are encoded: in float32, as in the originals, unless asked otherwise.

    It loads when the first text is not in the cache.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    import torch

    from cosmos_cli.files.cache import Cache
    from cosmos_cli.models.t5 import CachedTextEncoder

    return CachedTextEncoder(
        folder,
        Cache(settings.cache_folder, "text-embeddings", limit_bytes=_CACHE_BYTES),
        dtype=getattr(torch, text_precision(settings)),
        device=device,
        form=settings.text_encoder,
        on_load=lambda: output.status("Loading the text encoder"),
    )


def text_precision(settings: TextEncodingSettings) -> str:
    """In which texts are encoded."""
    return "bfloat16" if settings.precision == "bfloat16" else "float32"
