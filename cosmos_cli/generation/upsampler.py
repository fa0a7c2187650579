"""Prompt upsamplers: a chat model, in this process or on a server, that writes a short prompt out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli.generation.load import OwnRefiner, installed_refiners
from cosmos_cli.generation.settings import UpsamplerSettings
from cosmos_cli.models.chat import ChatModel, HttpChatModel, LocalChatModel, Message, Part, Sampling
from cosmos_cli.models.prompts import Refiner

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours


@dataclass(frozen=True)
class PromptUpsampler:
    """Writes a prompt out, as a prompt refiner does (`cosmos_cli.models.prompts.Refiner`).

    model: usually the published one, out of a folder or on a server.
    ask: what it is told and shown, out of a prompt and frames.
    edit: what is kept of its answer.
    """

    model: ChatModel
    ask: Callable[[str, np.ndarray], Sequence[Part]]
    sampling: Sampling
    edit: Callable[[str], str] = str.strip

    def __call__(self, prompt: str, frames_FHWC: np.ndarray) -> str:
        """The prompt, written out; the same prompt and frames give the same text.

        Args:
            frames_FHWC: uint8 RGB, of what the video is made from.
        Raises:
            CosmosError: there was no answer.
            InputError: the prompt holds control tokens of the model.
        """
        [written] = self.model.answers([Message("user", list(self.ask(prompt, frames_FHWC)))], self.sampling)
        return self.edit(written)


Upsampler = Callable[[ChatModel], PromptUpsampler]
"""How a family has a chat model write prompts out."""


def own_upsampler(name: str, folder: Path, upsampler: Upsampler) -> OwnRefiner:
    """The chat model in a folder."""
    # as published: twice that would not fit most machines
    return OwnRefiner(name, lambda device: LocalChatModel(folder, device=device, dtype=torch.bfloat16), upsampler)


def _on_server(settings: UpsamplerSettings, upsampler: Upsampler) -> dict[str, Refiner]:
    """The model on the server of the settings, which speaks OpenAI's protocol, by its name.

    Raises:
        InputError: the URL is none.
    """
    assert settings.upsampler_url is not None and settings.upsampler_model is not None
    return {settings.upsampler_model: upsampler(HttpChatModel(settings.upsampler_url, settings.upsampler_model))}


def choose_upsampler(
    settings: UpsamplerSettings, upsampler: Upsampler, own: OwnRefiner | None
) -> tuple[OwnRefiner | None, Callable[[], Mapping[str, Refiner]]]:
    """What rewrites prompts: the server asked for, else the model of this process, else what other packages bring.

    Returns:
        What `cosmos_cli.generation.load.load_models` takes as `refiner` and `refiners`.
    Raises:
        InputError: the server's URL is none.
    """
    if settings.upsampler_url is not None:
        asked = _on_server(settings, upsampler)
        return None, lambda: asked
    if own is not None:
        return own, dict
    return None, partial(installed_refiners, settings)
