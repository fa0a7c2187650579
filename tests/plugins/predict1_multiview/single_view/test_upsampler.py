"""The prompt upsamplers of the models for one camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.generation.captions import as_caption
from cosmos_cli.models.chat import LocalChatModel
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict1_multiview.checkpoints import PIXTRAL
from cosmos_plugins.predict1_multiview.single_view import upsampling
from cosmos_plugins.predict1_multiview.text2world.pipeline import Text2WorldPipeline
from cosmos_plugins.predict1_multiview.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict1_multiview.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict1_multiview.video2world.requests import Video2WorldRequest, Video2WorldSettings
from tests.chat_models import build_qwen, chat_server, says
from tests.clips import encode, moving_gradient
from tests.pixtral import build_pixtral

Cosmos = Callable[..., CommandResult]
LINE = ("--model", "tiny", "--num-steps", 1, "--guidance", 0, "--json")


@pytest.fixture
def clip() -> Path:
    return encode(Path("clip.mp4"), moving_gradient(4, 72, 96))


def on(server: Any) -> tuple[object, ...]:
    return ("--upsampler-url", server.url, "--upsampler-model", "chat")


def test_a_server_sees_the_last_frame_and_writes_the_prompt(cosmos: Cosmos, clip: Path) -> None:
    with chat_server(says(" A tram drives off.\n")) as server:
        result = cosmos("predict1", "video2world", "--input-image-or-video-path", clip, *on(server), *LINE)
    assert result.exit_code == 0, result.stderr
    assert Path(result.json["prompt"]).read_text() == "A tram drives off.\n"
    [request] = server.requests
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.01, 0.9, 400)
    [message] = request["messages"]
    assert [entry["type"] for entry in message["content"]] == ["image_url", "text"]
    assert "no more than 150 words" in message["content"][1]["text"]


def test_a_prompt_that_is_not_used_is_noticed(cosmos: Cosmos, clip: Path) -> None:
    with chat_server(says("A tram drives off.")) as server:
        line = ("--input-image-or-video-path", clip, "--prompt", "A bus.", *on(server), *LINE)
        result = cosmos("predict1", "video2world", *line)
    assert result.exit_code == 0, result.stderr
    assert Path(result.json["prompt"]).read_text() == "A tram drives off.\n"
    assert any(line.startswith("prompt: not used") for line in result.json["not_run"])


def test_a_written_prompt_is_checked(cosmos: Cosmos, clip: Path) -> None:
    with chat_server(says("A torture chamber.")) as server:
        result = cosmos("predict1", "video2world", "--input-image-or-video-path", clip, *on(server), *LINE)
    assert result.exit_code == 3
    assert not Path("outputs/output.mp4").exists()


def test_short_prompts_of_text2world_are_written_out_and_long_ones_kept(cosmos: Cosmos) -> None:
    with chat_server(says('Caption: "A red\nbus."')) as server:
        limit = ("--word-limit-to-skip-upsampler", 3)
        short = cosmos("predict1", "text2world", "--prompt", "A bus.", *limit, *on(server), *LINE)
        words = ("--prompt", "A bus drives off.", "--video-save-name", "long")
        long = cosmos("predict1", "text2world", *words, *limit, *on(server), *LINE)
    assert (short.exit_code, long.exit_code) == (0, 0), short.stderr + long.stderr
    assert Path("outputs/output.txt").read_text() == "A red bus.\n"
    assert Path("outputs/long.txt").read_text() == "A bus drives off.\n"
    [request] = server.requests
    assert (request["temperature"], request["max_tokens"]) == (0.01, 512)
    [message] = request["messages"]
    assert message["content"] == [
        {"type": "text", "text": "Upsample the short caption to a long caption: A bus."}
    ] or message["content"] == ("Upsample the short caption to a long caption: A bus.")


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A bus.", "A bus."),
        ("Caption: A\r\nbus  drives.", "A bus drives."),
        ("#### - **Title:** A bus.", "A bus."),
        ("- **Scene** A bus.\n- **Light** It rains.", "A bus. It rains."),
        (
            "- **one two three four five six seven eight nine ten** A bus.",
            "one two three four five six seven eight nine ten** A bus.",
        ),
        ('* "A bus."', "A bus."),
    ],
)
def test_answers_become_captions(answer: str, caption: str) -> None:
    assert as_caption(answer) == caption


def test_the_published_pixtral_is_found_wherever_the_originals_or_the_user_put_it() -> None:
    settings = Video2WorldSettings()
    assert upsampling.needed_upsampler(settings) == [PIXTRAL]
    assert upsampling.upsampler_folder(settings) == Path("checkpoints", PIXTRAL.name)
    folder = build_pixtral(Path("checkpoints", PIXTRAL.name))
    # the originals convert it, and keep the result under this name
    Path("checkpoints/Pixtral-12B").mkdir()
    Path("checkpoints/Pixtral-12B/model.pt").touch()
    assert upsampling.upsampler_folder(settings) == folder
    folder.rename("checkpoints/Pixtral-12B-2409")
    assert upsampling.upsampler_folder(settings) == Path("checkpoints/Pixtral-12B-2409")
    own = Video2WorldSettings(prompt_upsampler_dir="Pixtral-12B-2409")
    assert upsampling.upsampler_folder(own) == Path("checkpoints/Pixtral-12B-2409")
    assert not upsampling.needed_upsampler(own)
    assert not upsampling.upsampler_problems(own)


def test_a_chat_model_out_of_a_folder_writes_the_prompt_of_what_it_sees(clip: Path) -> None:
    folder = build_pixtral(Path("checkpoints/chat"))
    settings = Video2WorldSettings(model_size="tiny", device="cpu", prompt_upsampler_dir="chat")
    request = Video2WorldRequest(input_image_or_video_path=clip, num_steps=1, guidance=0)
    pipeline = Video2WorldPipeline.load(settings, [request])
    [stage] = [stage for stage in pipeline.stages.plan.stages if stage.name == "prompt refiner"]
    assert stage.weight_bytes == sum(file.stat().st_size for file in folder.iterdir())
    generated = pipeline.generate(request)
    chat = LocalChatModel(folder, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert generated.prompt == Video2WorldPipeline.upsampler(chat)("", generated.sample.given_FHWC).strip() != ""


def test_text2world_takes_any_chat_model_that_is_read() -> None:
    folder = build_qwen(Path("checkpoints/chat"))
    settings = Text2WorldSettings(model_size="tiny", device="cpu", prompt_upsampler_dir="chat")
    assert upsampling.own_folders(settings) == [folder]
    request = Text2WorldRequest(prompt="A bus.", num_steps=1, guidance=0)
    generated = Text2WorldPipeline.load(settings, [request]).generate(request)
    chat = LocalChatModel(folder, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert generated.prompt == Text2WorldPipeline.upsampler(chat)("A bus.", np.empty((0, 48, 80, 3), np.uint8)) != ""
