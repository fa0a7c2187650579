"""The critic Cosmos-Reason1: a chat model that watches a clip and says whether something is wrong with it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cosmos_cli.checkpoints.catalogue import download_command
from cosmos_cli.critics import Component, Trial
from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.chat import ChatModel, HttpChatModel, LocalChatModel, Message, Sampling, Video
from cosmos_cli.models.chat_messages import evenly_spaced

# F frames, H and W pixel height and width, C = 3 colours

MODEL = "nvidia/Cosmos-Reason1-7B"
"""Its repository, and its place under the checkpoint folder, in the original layout."""

WATCHED_FPS = 16.0
TOTAL_PIXELS = 8192 * 28 * 28
MIN_FRAMES = 4
SAMPLING = Sampling(max_new_tokens=4096, temperature=0.6, top_p=0.95, top_k=50, repetition_penalty=1.05)

INSTRUCTIONS = """\
You inspect videos for visual artifacts and for anything that could not happen in the real world. Watch the whole \
video, look at its parts one by one, then decide. Reply in exactly this form:

<think>
<overview>
What the video shows, in a sentence or two.
</overview>

<component name="Name of the part, such as an object, a person or the camera">
<analysis>
What it looks like, how it moves, and whether that is plausible.
</analysis>
<anomaly>Yes or No</anomaly>
</component>

(as many components as there are parts worth looking at)
</think>

<answer>
Yes if there are anomalies or artifacts anywhere in the video, otherwise No. Nothing else.
</answer>"""

QUESTION = "Are there any anomalies or artifacts in this video?"


class ReasonCritic:
    """Asks a chat model for anomalies; the score is the percentage of answers that found none.

    Args:
        chat: a model that watches videos.
        model: its name, for reports; answers are not asked for again while it stays.
    Source: cosmos-predict2 661da47, auxiliary/cosmos_reason1.py (behaviour); the words of the instructions are ours.
    """

    def __init__(self, chat: ChatModel, model: str) -> None:
        self._chat = chat
        self.name = model

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        """One answer per trial, all to one showing of the video. See `cosmos_cli.critics.Critic.judge`."""
        messages = [
            Message("system", [INSTRUCTIONS]),
            Message("user", [watched(frames_FHWC, fps), QUESTION]),
        ]
        sampling = replace(SAMPLING, seed=seed, num_answers=num_trials)
        return [parse(answer) for answer in self._chat.answers(messages, sampling)]


def reason1(device: str, offload: bool, checkpoint_dir: Path) -> ReasonCritic:
    """The factory: the model on the server that `COSMOS_CRITIC_URL` names, or the one in the checkpoint folder.

    Raises:
        CheckpointError: no server is named, and the files are missing or damaged.
    """
    if url := os.environ.get("COSMOS_CRITIC_URL"):
        model = os.environ.get("COSMOS_CRITIC_MODEL", MODEL)
        return ReasonCritic(HttpChatModel(url, model), f"{model} on a server")
    chat = LocalChatModel(
        reason1_folder(checkpoint_dir), device=torch.device(device), dtype=torch.bfloat16, offload=offload
    )
    return ReasonCritic(chat, MODEL)


WAY_OUT = "Or name a server that runs it in COSMOS_CRITIC_URL, or pass --critic measured, which needs no weights."
"""What to do without Cosmos-Reason1 as a critic, besides downloading it."""


def reason1_folder(checkpoint_dir: Path, *, way_out: str = WAY_OUT) -> Path:
    """Where Cosmos-Reason1 lies under the checkpoint folder.

    Args:
        way_out: what to do without it, besides downloading it.
    Raises:
        CheckpointError: there is no such folder; says how to get it.
    """
    folder = checkpoint_dir / MODEL
    if not folder.is_dir():
        raise CheckpointError(
            "Cosmos-Reason1 is missing (17 GB).",
            where=str(folder),
            fix=f"{download_command([MODEL], checkpoint_dir)}\n{way_out}",
        )
    return folder


def watched(frames_FHWC: np.ndarray, fps: float) -> Video:
    """What the model sees of a clip: 16 frames a second, evenly spaced, no fewer than four if it has as many."""
    available = len(frames_FHWC)
    shown_FHWC = evenly_spaced(frames_FHWC, max(available / fps * WATCHED_FPS, MIN_FRAMES))
    return Video(shown_FHWC, fps=len(shown_FHWC) / available * fps, total_pixels=TOTAL_PIXELS)


_ANSWER = re.compile(r"<answer>\s*(yes|no)\s*</answer>", re.IGNORECASE)
_OVERVIEW = re.compile(r"<overview>(.*?)</overview>", re.IGNORECASE | re.DOTALL)
_COMPONENT = re.compile(r"<component\s+name=(['\"])(.*?)\1\s*>(.*?)</component>", re.IGNORECASE | re.DOTALL)
_ANALYSIS = re.compile(r"<analysis>(.*?)</analysis>", re.IGNORECASE | re.DOTALL)
_ANOMALY = re.compile(r"<anomaly>\s*(yes|no)\s*</anomaly>", re.IGNORECASE)


def parse(answer: str) -> Trial:
    """What an answer says. Its verdict alone decides whether it counts; whatever else can be read is kept.

    The form looks like XML but answers are often not well-formed, so each part is looked for by itself.
    """
    anomaly = _yes(_ANSWER, answer)
    components = tuple(
        Component(name.strip(), _inside(_ANALYSIS, content), _yes(_ANOMALY, content))
        for _, name, content in _COMPONENT.findall(answer)
    )
    verdict = None if anomaly is None else not anomaly
    return Trial(answer, verdict, overview=_inside(_OVERVIEW, answer), components=components)


def _inside(element: re.Pattern[str], text: str) -> str:
    found = element.search(text)
    return found[1].strip() if found else ""


def _yes(element: re.Pattern[str], text: str) -> bool | None:
    found = element.search(text)
    return found[1].lower() == "yes" if found else None
