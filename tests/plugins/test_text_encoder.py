"""Which weights of the text encoder the commands of all families ask for."""

from __future__ import annotations

import pytest

from cosmos_cli.checkpoints.catalogue import TEXT_ENCODER
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.checks import require_published
from cosmos_cli.generation.files import files_of
from cosmos_cli.generation.settings import TextEncoderSettings
from cosmos_plugins.nemo_bridge.requests import NemoSettings
from cosmos_plugins.predict2.multiview import requests as predict2_multiview
from cosmos_plugins.predict2.text2image.requests import Text2ImageSettings
from cosmos_plugins.predict2.text2world.inputs import divide
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings
from cosmos_plugins.transfer1.multiview import requests as transfer1_multiview
from cosmos_plugins.transfer1.requests import TransferSettings

KINDS = (
    NemoSettings,
    Video2WorldSettings,
    Text2ImageSettings,
    Text2WorldSettings,
    predict2_multiview.MultiviewSettings,
    TransferSettings,
    transfer1_multiview.MultiviewSettings,
)
WANTED = {"auto": "text_encoder/", "bf16": "text_encoder/", "fp32": "pytorch_model.bin"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@pytest.mark.parametrize("form", WANTED)
def test_every_command_that_reads_prompts_looks_for_the_weights_that_are_asked_for(
    kind: type[TextEncoderSettings], form: str
) -> None:
    settings = kind(text_encoder=form)
    with pytest.raises(CheckpointError) as caught:
        require_published(settings, TEXT_ENCODER)
    assert f"tokenizer.json, {WANTED[form]} missing" in caught.value.problems[0].what
    files = files_of(settings, own=(), shipped=(), needed=lambda: TEXT_ENCODER)
    assert any(file.path.name == WANTED[form].rstrip("/") for file in files)
    # how the weights are stored says nothing about how they compute
    assert settings.text_precision == kind().text_precision == "float32"


def test_text2world_hands_it_to_both_of_its_models() -> None:
    sample = divide(Text2WorldSettings(text_encoder="fp32"), Text2WorldRequest(prompt="A bus."))
    assert (sample.image_settings.text_encoder, sample.video_settings.text_encoder) == ("fp32", "fp32")
