"""The chat model that writes prompts: in this process, or on a server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, CosmosError, InputError
from cosmos_cli.files.missing import exists
from cosmos_plugins.transfer1.prompts.requests import DEFAULT_MODEL, PromptsSettings

if TYPE_CHECKING:
    from cosmos_cli.models.chat_messages import ChatModel, Message, Sampling

_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_OF_CHAT_MODELS = ("config.json", "params.json")
"""Files of which the folder of a chat model has one."""
_OTHER_MODEL = "Use --device cpu, a smaller --model, or --server-url with a server that runs it."


def check_model(settings: PromptsSettings) -> None:
    """Raises InputError: the server is named by halves, or a model beside it."""
    if settings.server_url is None:
        if settings.server_model is not None:
            raise InputError("has no effect alone.", where="--server-model", fix="Give --server-url too, or --model.")
        return
    if settings.model is not None:
        raise InputError("has no effect with --server-url.", where="--model", fix="Name the server's: --server-model.")
    if settings.server_model is None:
        raise InputError("is required with --server-url.", where="--server-model", fix="Name the server's model.")
    from cosmos_cli.models.chat_server import completions_url

    completions_url(settings.server_url)


def find_model(settings: PromptsSettings) -> Path:
    """The folder of the model: under the checkpoint folder, by its path, or where the Hub's tools keep it.

    Raises:
        CheckpointError: it is nowhere; says how to fetch it.
    """
    name = settings.model or DEFAULT_MODEL
    places = [settings.checkpoint_dir / name, Path(name), *_cached(name)]
    for place in places:
        if any(exists(place / file) for file in _OF_CHAT_MODELS):
            return place
    if exists(Path(name)):
        raise CheckpointError(
            f"is no chat model: there is no {_OF_CHAT_MODELS[0]}.", where=name, fix="Give the folder of one."
        )
    fetch = "Check the path, or give a name on the Hub such as google/gemma-3-27b-it."
    if _ON_THE_HUB.fullmatch(name):
        fetch = f"hf download {name} --local-dir {settings.checkpoint_dir / name}\n"
        fetch += "Accept its licence on its page first, if it has one. Or name a server that runs it: --server-url."
    raise CheckpointError(f"The chat model {name} is missing.", where=str(places[0]), fix=fetch)


def _cached(name: str) -> list[Path]:
    if not _ON_THE_HUB.fullmatch(name):
        return []
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(name, _OF_CHAT_MODELS[0])
    return [Path(file).parent] if isinstance(file, str) else []


def open_model(settings: PromptsSettings) -> ChatModel:
    """The chat model, ready to be asked.

    Raises:
        CheckpointError: its files are missing or damaged.
        InputError: there is no such device.
        CosmosError: it does not fit.
    """
    if settings.server_url is not None:
        from cosmos_cli.models.chat_server import HttpChatModel

        assert settings.server_model is not None
        return HttpChatModel(settings.server_url, settings.server_model)
    from cosmos_cli.models.chat import LocalChatModel
    from cosmos_cli.runtime.devices import choose_device, choose_dtype

    folder, device = find_model(settings), choose_device(settings.device)
    dtype = choose_dtype(settings.precision, device)
    with output.progress(f"Loading {folder} on {device}"), _fitting(str(folder)):
        return _Fitting(LocalChatModel(folder, device=device, dtype=dtype, is_shown=False), str(folder))


class _Fitting:
    """A chat model in this process, whose device may turn out to be too small."""

    def __init__(self, model: ChatModel, name: str) -> None:
        self._model, self._name = model, name

    def answers(self, messages: Sequence[Message], sampling: Sampling) -> list[str]:
        with _fitting(self._name):
            return self._model.answers(messages, sampling)


@contextmanager
def _fitting(name: str) -> Iterator[None]:
    """Raises CosmosError: the device has no memory left."""
    from cosmos_cli.runtime.memory.exhaustion import is_out_of_memory

    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise CosmosError("needs more memory than the device has left.", where=name, fix=_OTHER_MODEL) from error
