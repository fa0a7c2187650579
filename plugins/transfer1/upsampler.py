"""The prompt upsampler: a chat model that sees the start of a control video and writes the prompt out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli.generation.load import OwnRefiner
from cosmos_cli.models.chat import ChatModel, HttpChatModel, LocalChatModel, Message, Sampling
from cosmos_plugins.transfer1.checkpoints import choose_control, upsampler_folder

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

NUM_FRAMES = 2

_REQUEST_WITHOUT_PROMPT = "describe the following images"
_SAMPLING = Sampling(max_new_tokens=300, temperature=0.6)


class PromptUpsampler:
    """Writes a short prompt out, as a prompt refiner does (`cosmos_cli.models.prompts.Refiner`).

    Args:
        model: usually the published one, out of a folder or on a server.
    Source: cosmos-transfer1, auxiliary/upsampler/model/upsampler.py (behaviour).
    """

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @classmethod
    def on_server(cls, url: str, model: str) -> PromptUpsampler:
        """On a server that speaks OpenAI's protocol; raises InputError if the URL is not one."""
        return cls(HttpChatModel(url, model))

    def __call__(self, prompt: str, frames_FHWC: np.ndarray) -> str:
        """The prompt, written out; the same prompt and frames give the same text.

        Args:
            frames_FHWC: of the control video, uint8 RGB; the first two are shown.
        Raises:
            CosmosError: there was no answer.
            InputError: the prompt holds control tokens of the model.
        """
        message = Message("user", [*frames_FHWC[:NUM_FRAMES], prompt or _REQUEST_WITHOUT_PROMPT])
        [written] = self._model.answers([message], _SAMPLING)
        return written.strip()


def own_upsampler(checkpoint_dir: Path, controls: Sequence[str]) -> OwnRefiner:
    """The published model out of the checkpoint folder, for the first of these modalities that it knows.

    Raises:
        CheckpointError: it is missing.
    """
    control = choose_control(controls)
    assert control is not None
    folder = upsampler_folder(checkpoint_dir, control)
    return OwnRefiner(
        "Cosmos-UpsamplePrompt1",
        # as published: twice that would not fit most machines
        lambda device: LocalChatModel(folder, device=device, dtype=torch.bfloat16),
        PromptUpsampler,
    )
