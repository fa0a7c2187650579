"""Video2World: load once, generate many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cosmos_cli.generation.upsampler import PromptUpsampler
from cosmos_cli.models.chat import ChatModel, Part, Sampling
from cosmos_plugins.predict1_multiview.single_view.generation import SingleViewPipeline
from cosmos_plugins.predict1_multiview.single_view.samples import Sample
from cosmos_plugins.predict1_multiview.single_view.upsampling import brings_refiner
from cosmos_plugins.predict1_multiview.video2world import inputs

if TYPE_CHECKING:
    import numpy as np

# F frames, H and W pixel height and width, C = 3 colours

_TASK = (
    "\nYour task is to transform a given prompt into a refined and concise video description, no more than 150 words.\n"
    "Focus only on the content, no filler words or descriptions on the style. Never mention things outside the video."
)
_SAMPLING = Sampling(max_new_tokens=400, temperature=0.01, top_p=0.9)


class Video2WorldPipeline(SingleViewPipeline):
    """A loaded Video2World model.

    >>> request = Video2WorldRequest(input_image_or_video_path="street.jpg", prompt="The bus drives off.")
    >>> Video2WorldPipeline.load(Video2WorldSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos predict1 video2world"
    tiny_note = "has random weights: frames after the given ones show noise"
    needs_requests = True

    @staticmethod
    def upsampler(model: ChatModel) -> PromptUpsampler:
        """Shows the last frame of the input and asks what happens there; the prompt plays no part.

        Source: cosmos-predict1 4ed35fa, diffusion/prompt_upsampler/video2world_prompt_upsampler_inference.py
        (behaviour).
        """
        return PromptUpsampler(model, _ask, _SAMPLING)

    def lacks(self, sample: Sample) -> Iterable[str]:
        yield from super().lacks(sample)
        if sample.request.prompt is not None and self.asks_chat_model:
            yield "prompt: not used, the prompt upsampler writes one out of the input (--disable-prompt-upsampler)"

    @property
    def asks_chat_model(self) -> bool:
        """Whether the prompt comes from a chat model that is asked as the original is, not from another package."""
        asked_first = self.settings.upsampler_url is not None or not brings_refiner(self.settings)
        return bool(self.models.refiners) and asked_first


def _ask(prompt: str, frames_FHWC: np.ndarray) -> Sequence[Part]:
    return [frames_FHWC[-1], _TASK]
