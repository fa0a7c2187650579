"""What a program is told while a pipeline works, and what it is given instead of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.generation.steps import Step
from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

KINDS: dict[str, tuple[Any, Any, Any, dict[str, Any], int]] = {
    "video2world": (Video2WorldPipeline, Video2WorldSettings, Video2WorldRequest, {"num_frames": 9}, 9),
    "text2image": (Text2ImagePipeline, Text2ImageSettings, Text2ImageRequest, {}, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_sees_every_step_and_frames_come_back_without_a_file(
    picture: Path, tmp_path: Path, kind: str
) -> None:
    pipeline_of, settings_of, request_of, given, num_frames = KINDS[kind]
    pipeline = pipeline_of.load(settings_of(model_size="tiny", cache_dir=tmp_path / "cache"))
    given = given | ({"input_path": picture} if kind == "video2world" else {})
    seen: list[Step] = []
    made = pipeline.generate(request_of(prompt="a bus", num_steps=3, **given), on_step=seen.append)
    assert [(step.number, step.num_steps) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0].sigma > seen[1].sigma > seen[2].sigma > 0
    num_latents = 1 + (num_frames - 1) // 4
    assert {tuple(step.x0_BCTHW.shape) for step in seen} == {(1, 16, num_latents, 8, 14)}
    assert (made.frames.shape, made.frames.dtype) == ((num_frames, 64, 112, 3), np.uint8)
    assert made.prompts == ["A bus." if kind == "video2world" else "a bus"]
    assert not list(Path().iterdir())
