"""The prompt upsampler: a chat model that sees the start of a control video and writes the prompt out.

Source: cosmos-transfer1, auxiliary/upsampler/model/upsampler.py (behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli.generation.load import OwnRefiner
from cosmos_cli.generation.upsampler import PromptUpsampler, own_upsampler
from cosmos_cli.models.chat import ChatModel, Part, Sampling
from cosmos_plugins.transfer1.checkpoints import choose_control, upsampler_folder

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

NUM_FRAMES = 2

_REQUEST_WITHOUT_PROMPT = "describe the following images"
_SAMPLING = Sampling(max_new_tokens=300, temperature=0.6)


def upsampler(model: ChatModel) -> PromptUpsampler:
    """Shows the first two frames of a control video, and asks for the prompt written out."""
    return PromptUpsampler(model, _ask, _SAMPLING)


def _ask(prompt: str, frames_FHWC: np.ndarray) -> Sequence[Part]:
    return [*frames_FHWC[:NUM_FRAMES], prompt or _REQUEST_WITHOUT_PROMPT]


def published_upsampler(checkpoint_dir: Path, controls: Sequence[str]) -> OwnRefiner:
    """The published model out of the checkpoint folder, for the first of these modalities that it knows.

    Raises:
        CheckpointError: it is missing.
    """
    control = choose_control(controls)
    assert control is not None
    return own_upsampler("Cosmos-UpsamplePrompt1", upsampler_folder(checkpoint_dir, control), upsampler)
