"""Text2World: load once, generate many."""

from __future__ import annotations

from cosmos_cli.generation.captions import caption_writer
from cosmos_cli.generation.upsampler import PromptUpsampler
from cosmos_cli.models.chat import ChatModel
from cosmos_plugins.predict1_multiview.single_view.generation import SingleViewPipeline
from cosmos_plugins.predict1_multiview.text2world import inputs


class Text2WorldPipeline(SingleViewPipeline):
    """A loaded Text2World model.

    >>> request = Text2WorldRequest(prompt="A bus drives off in the rain.", video_save_folder="out")
    >>> Text2WorldPipeline.load(Text2WorldSettings(model_size="tiny"), [request])(request)
    """

    inputs = inputs
    command = "cosmos predict1 text2world"
    needs_requests = True

    @staticmethod
    def upsampler(model: ChatModel) -> PromptUpsampler:
        return caption_writer(model)
