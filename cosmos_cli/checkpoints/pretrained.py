"""Loading models in the layout of transformers from a local folder. Nothing is fetched or executed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.checkpoints.pickles import check_pickles
from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.runtime.memory.host import raise_if_too_little


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Whatever fails inside, the folder is named as missing or damaged.

    Args:
        what: the model in words, such as "a depth estimator".
    Raises:
        CheckpointError: the folder has no config.json, or the block raised.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"is not {what}: there is no config.json.",
            where=str(folder),
            fix="Download the model, or check the path.",
        )
    try:
        yield
    except CosmosError:
        raise
    except Exception as error:
        # transformers, safetensors and pickle each raise their own kinds for a damaged folder
        raise_if_too_little(error, folder)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot be loaded as {what}: {reason}", where=str(folder), fix=DOWNLOAD_AGAIN) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Whole models are published and halves of them used: a page about weights left over tells a user nothing."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def load_model(
    model_class: Any, folder: Path, what: str, dtype: torch.dtype, *, use_safetensors: bool | None = None
) -> Any:
    """A model of this class with the weights in `folder`, for inference.

    Args:
        dtype: to convert the weights to, whatever they are stored in.
        use_safetensors: False takes a pickle even if there are safetensors; None takes what is there.
    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those of this model.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # progress is `cosmos_cli.output`'s to show
    with reading(folder, what), _quiet():
        for path in folder.glob("*.bin"):  # which transformers has read by torch.load
            with path.open("rb") as file:
                check_pickles(file)
        model, report = model_class.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=use_safetensors,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise CheckpointError(
            f"lacks {len(missing)} weights of {what}, {missing[0]} among them.",
            where=str(folder),
            fix=DOWNLOAD_AGAIN,
        )
    return model.eval().requires_grad_(False)
