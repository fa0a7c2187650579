"""Videos of several chunks, on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.media.frames import to_frames, to_video
from cosmos_cli.testing import run_cosmos
from cosmos_plugins.predict2.video2world.inputs import Sample, check, check_length, num_frames_of
from cosmos_plugins.predict2.video2world.long_video import make_chunks
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

TINY = Video2WorldSettings(model_size="tiny", cache_dir=Path("cache"))


def a_sample(clip: Path, num_given: int, num_frames: int, seed: int = 3) -> Sample:
    request = Video2WorldRequest(
        input_path=clip,
        prompt="the slope drifts on",
        num_conditional_frames=num_given,
        num_frames=num_frames,
        num_steps=2,
        seed=seed,
    )
    return check(TINY, request)()


def test_the_published_lengths() -> None:
    assert num_frames_of(6, 93, 1) == 553
    assert num_frames_of(6, 93, 5) == 93 + 5 * 88
    assert num_frames_of(1, 61, 5) == 61


@pytest.mark.parametrize(("num_given", "num_frames"), [(1, 9), (5, 9), (5, 7)])
def test_each_chunk_begins_with_the_very_frames_that_the_one_before_ends_with(
    clip: Path, num_given: int, num_frames: int
) -> None:
    pipeline = Video2WorldPipeline.load(TINY)
    parts: list[Sample] = []
    chunks: list[np.ndarray] = []

    def make(part: Sample) -> tuple[np.ndarray, str]:
        parts.append(part)
        made = pipeline.make(part)
        chunks.append(made.frames)
        return made.frames, made.prompt

    frames, prompts = make_chunks(a_sample(clip, num_given, num_frames), 3, make)
    assert len(frames) == num_frames_of(3, num_frames, num_given)
    assert frames.dtype == np.uint8
    assert [part.request.seed for part in parts] == [3, 4, 5]
    assert prompts == ["The slope drifts on."] * 3
    for earlier, part in zip(chunks, parts[1:], strict=False):
        np.testing.assert_array_equal(part.frames_FHWC, earlier[-num_given:])
    vae = pipeline.models.tokenizer
    for part, chunk in zip(parts, chunks, strict=True):
        given = vae.encode(to_video(part.frames_FHWC, torch.device("cpu"), torch.float32))
        np.testing.assert_array_equal(chunk[:num_given], to_frames(vae.decode(given)))
    np.testing.assert_array_equal(frames[:num_frames], chunks[0])
    np.testing.assert_array_equal(frames[num_frames:], np.concatenate([chunk[num_given:] for chunk in chunks[1:]]))


def test_the_last_seed_is_followed_by_the_first(clip: Path) -> None:
    seeds = []

    def make(part: Sample) -> tuple[np.ndarray, str]:
        seeds.append(part.request.seed)
        return np.zeros((9, 64, 112, 3), np.uint8), ""

    make_chunks(a_sample(clip, 1, 9, seed=2**32 - 1), 2, make)
    assert seeds == [2**32 - 1, 0]


def test_chunks_that_never_go_on_are_refused(clip: Path) -> None:
    def check_chunks(num_chunks: int, num_frames: int) -> None:
        request = Video2WorldRequest(
            input_path=clip, prompt="A.", num_conditional_frames=5, num_chunks=num_chunks, num_frames=num_frames
        )
        check_length(Video2WorldSettings(model_size="tiny"), request)

    with pytest.raises(InputError, match="--num-frames 6"):
        check_chunks(2, 5)
    check_chunks(1, 5)
    check_chunks(2, 6)


def test_a_long_video_on_the_command_line(clip: Path) -> None:
    line = ("predict2", "video2world", "--model", "tiny", "--input-path", clip, "--prompt", "on and on")
    result = run_cosmos(*line, "--num-steps", 1, "--guidance", 0, "--num-frames", 9, "--num-chunks", 3, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["num_frames"] == num_frames_of(3, 9, 1) == 25
    sidecar = json.loads(Path("output/generated_video.json").read_text())
    assert sidecar["prompts_of_chunks"] == ["On and on."] * 3
