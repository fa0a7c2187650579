"""The prompt refiner: Cosmos-Reason1 looks at what the video begins with and writes the prompt out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cosmos_cli.errors import CosmosError
from cosmos_cli.generation.load import OwnRefiner
from cosmos_cli.models.chat import ChatModel, HttpChatModel, Image, LocalChatModel, Message, Sampling, Video
from cosmos_cli.models.chat_messages import evenly_spaced, without_reasoning
from cosmos_plugins.predict2.critic.reason import MODEL, reason1_folder

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

WAY_OUT = "Pass --disable-prompt-refiner to use your prompt as it is."
MIN_PIXELS, MAX_PIXELS = 256 * 28 * 28, 1280 * 28 * 28
SHOWN_FPS = 2.0
SAMPLING = Sampling(max_new_tokens=512, ascii_only=True)

INSTRUCTIONS = """\
You rewrite prompts for a model that turns a picture, or the beginning of a clip, into a video. The user gives you a \
prompt together with that picture or clip. Look at it closely and write one prompt that joins what the user asks for \
with what there is to see.

How to write it:
- Keep the user's meaning. Where the prompt is short, fill in what plausibly belongs to it; never contradict it, nor \
what you see.
- Say who or what the subject is and how it looks: number, clothing, colours, expression, posture, surroundings. Name \
details that are really visible.
- Say where things are in relation to each other, in which visual style the picture is made, and how the camera sees \
it: distance, angle, movement. Follow the style the user names, otherwise that of the picture.
- Put motion first. Let everything move as it naturally would, in short and direct verbs, and say how the camera moves.
- Leave quotations, titles and names as the user wrote them.
- Write English, whatever language the user writes, in 80 to 100 words.

Three examples of such prompts:
1. Documentary footage of a fishing harbour at dawn. A grey-bearded man in a yellow oilskin coat stands at the stern \
of a blue boat and hauls in a wet net, hand over hand. Silver fish slip through the mesh and flap on the planks. \
Gulls circle above the mast, dive and rise again. Behind him, moored trawlers rock on the low swell, and fog drifts \
past a red lighthouse. Soft light from the left glints on the water. The camera stands on the quay at eye level \
and pans slowly to the right, following the net in a medium shot.
2. A hand-painted animated scene in watercolour style. In a narrow kitchen, a small girl with two short braids and a \
green apron stands on a wooden stool before the stove. She stirs a steaming pot with a long spoon, lifts it, blows on \
it and tastes. A ginger cat on the windowsill follows the spoon with its eyes and swishes its tail. On the shelf above \
her, between copper pans, stands a tin labelled "Oma's Tea". Rain runs down the window, and the curtain stirs. The \
camera looks up from a low angle and moves gently closer to her face.
3. Footage from a fixed camera above a workbench in a bright laboratory. A white robot arm with a black two-fingered \
gripper reaches across a grey mat, lowers over a red cube beside a clear plastic box, and closes its fingers. It lifts \
the cube straight up, swings to the left, holds still for a moment and sets the cube down into the box. The cube \
tilts, then settles flat. Cables at the arm's shoulder sway slightly with each turn. Overhead lamps cast short, soft \
shadows. The view stays still throughout, a wide shot from a high angle.

Reply with the rewritten prompt alone."""


class Reason1Refiner:
    """Writes a short prompt out, as a prompt refiner does (`cosmos_cli.models.prompts.Refiner`).

    Args:
        chat: a model that sees pictures, and clips if it is to be shown several frames.
        name: of the model, for people.
    Source: cosmos-predict2 661da47, auxiliary/cosmos_reason1.py (behaviour); the words of the instructions are ours.
    """

    def __init__(self, chat: ChatModel, name: str) -> None:
        self._chat = chat
        self.name = name

    def __call__(self, prompt: str, frames_FHWC: np.ndarray) -> str:
        """The prompt, written out; the same prompt and frames give the same text, as far as the model's runtime allows.

        Args:
            frames_FHWC: the conditioning frames in the input's own size, uint8 RGB; one is shown as a picture, several
                as a clip.
        Raises:
            CosmosError: there was no answer, or no prompt in it.
            InputError: the prompt holds control tokens of the model.
        """
        messages = [Message("system", [INSTRUCTIONS]), Message("user", [prompt, shown(frames_FHWC)])]
        [answer] = self._chat.answers(messages, SAMPLING)
        refined = prompt_in(answer)
        if not refined:
            raise CosmosError("gave no prompt.", where=f"prompt refiner {self.name}", fix=WAY_OUT)
        return refined


def refiner_on_server(url: str, model: str | None) -> Reason1Refiner:
    """The refiner on a server that speaks OpenAI's protocol. Raises InputError: the address is not one of a server.

    Args:
        model: the server's name for the model; that of its repository if left out.
    """
    name = model or MODEL
    return Reason1Refiner(HttpChatModel(url, name), name)


def own_refiner(checkpoint_dir: Path) -> OwnRefiner:
    """Cosmos-Reason1 out of the checkpoint folder. Raises CheckpointError: it is missing."""
    folder = reason1_folder(checkpoint_dir, way_out=f"Or name a server that runs it: --refiner-url. {WAY_OUT}")
    return OwnRefiner(
        MODEL,
        # in the published precision: float32 would take 33 GB
        lambda device: LocalChatModel(folder, device=device, dtype=torch.bfloat16),
        lambda chat: Reason1Refiner(chat, MODEL),
    )


def shown(frames_FHWC: np.ndarray) -> Image | Video:
    """What the model is shown: a single frame as a picture, several as a clip of an even number of them.

    The original tells the model two frames a second whatever the clip's own rate is, and so does this.
    """
    if len(frames_FHWC) == 1:
        return Image(frames_FHWC[0], MIN_PIXELS, MAX_PIXELS)
    return Video(evenly_spaced(frames_FHWC, len(frames_FHWC)), fps=SHOWN_FPS)


_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)


def prompt_in(answer: str) -> str:
    """The prompt in an answer, without the reasoning around it; empty if there is none.

    Cosmos-Reason1 was trained to think aloud in tags and sometimes does so unasked. The video model would read its
    thoughts as part of the scene, so they go.
    """
    said = without_reasoning(answer)
    found = _ANSWER.search(said)
    return (found[1] if found else said).strip()
