"""Latents that a training keeps on disk and reads in place of clips: `data.latents_dir`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.errors import InputError
from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import write_json
from cosmos_cli.models.chunked_tokenizer import ChunkedTokenizer
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.data.kept import Gathered, Kept, apart, on_each, together
from cosmos_cli.training.data.sameness import facts_of_clips, facts_of_hint
from cosmos_cli.training.data.source import Dataset
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Task, Where

_FORMAT = 1
"""Of the files; another number reads none of the old ones."""
_ABOUT = "about.json"


class KeptLatents:
    """The batches of a training whose clips are kept. kept: what processes that read ahead look into.

    Args:
        encode: a task's; see `cosmos_cli.training.task.Task`.
        dtype: of the networks' arithmetic.
    """

    def __init__(
        self, kept: Kept, encode: Callable[[Examples], Batch], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.kept, self._encode, self._device, self._dtype = kept, encode, device, dtype

    def batch(self, clips: Gathered) -> Batch:
        """What networks read: the same bit for bit, whether a clip was found or had to be encoded.

        Raises:
            InputError: the clips do not fit into one batch.
        """
        fresh = iter(()) if clips.others is None else apart(self._encode(clips.others))
        ones: list[Batch] = []
        for number, found in zip(clips.numbers, clips.encoded, strict=True):
            clip = next(fresh) if found is None else found
            if found is None:
                self.kept.put(number, clip)
            ones.append(clip)
        whole = on_each(together(ones), lambda tensor: tensor.to(self._device))
        padding = whole.padding_mask_B1HW
        return replace(
            whole,
            latents_BCTHW=whole.latents_BCTHW.float(),
            text_BLC=whole.text_BLC.to(self._dtype),
            padding_mask_B1HW=None if padding is None else padding.to(self._dtype),
            hints={name: hint.float() for name, hint in whole.hints.items()},
        )


def open_latents(recipe: Recipe, dataset: Dataset, task: Task, where: Where, *, writes: bool) -> KeptLatents:
    """The kept latents of a recipe: those that the same tokenizer made of the same clips, in whatever training.

    Args:
        writes: whether this process writes down what decides on them, for people to read.
    Raises:
        InputError: the task has no clips to encode, or the folder of the data set cannot be looked through.
        CosmosError: the folder of latents cannot be written.
    """
    tokenizer = getattr(task, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            "this training encodes no clips, so there are no latents to keep.",
            where="data.latents_dir",
            fix="Leave data.latents_dir empty.",
        )
    try:
        of_clips = facts_of_clips(recipe, dataset)
    except OSError as error:
        raise InputError(f"cannot be looked through: {error.strerror}.", where=str(error.filename)) from error
    facts = {"format": _FORMAT, **of_clips, "tokenizer": _facts_of_tokenizer(tokenizer, where.dtype)}
    folder, hint = Path(recipe.data.latents_dir).expanduser(), recipe.data.hint
    clips = _name("clips", facts, folder if writes else None)
    of_hint = _name(hint, facts | facts_of_hint(recipe.data), folder if writes else None) if hint else ""
    return KeptLatents(Kept(folder, clips, hint, of_hint), task.encode, where.device, where.dtype)


def _name(kind: str, facts: Mapping[str, Any], folder: Path | None) -> str:
    """Of the folder for what these facts decide on, which tells of them."""
    name = f"{kind}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"
    if folder is not None:
        about = folder / name / _ABOUT
        with writing(about):
            is_there = about.is_file()
        if not is_there:
            write_json(about, facts)
    return name


def _facts_of_tokenizer(tokenizer: nn.Module | ChunkedTokenizer, dtype: torch.dtype) -> dict[str, Any]:
    """All that decides on its latents."""
    facts: dict[str, Any] = {"dtype": str(dtype)}
    network = tokenizer
    tensors: dict[str, Tensor] = {}
    if isinstance(tokenizer, ChunkedTokenizer):
        network, statistics = tokenizer.network, tokenizer.statistics
        facts |= {"chunk_frames": tokenizer.chunk_frames, "sigma_data": tokenizer.sigma_data}
        tensors = {"mean": statistics.mean_CT, "std": statistics.std_CT}
    assert isinstance(network, nn.Module)
    facts |= {"network": type(network).__name__, "config": repr(getattr(network, "config", ""))}
    return facts | {"weights": _digest(tensors | network.state_dict())}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()
