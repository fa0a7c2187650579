"""One request, the same bytes: alone, in a batch, among the best of n, from its sidecar, and from any thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.testing import CommandResult

Run = Callable[..., CommandResult]

COMMON = ("--model", "tiny", "--num-frames", 9, "--num-steps", 2)
PROMPT = "The slope drifts on."


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As on a laptop. With one thread, none could be given away."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_a_request_gives_the_same_bytes_however_it_is_asked_for(cosmos: Run, picture: Path) -> None:
    asked = ("--input-path", picture, "--prompt", PROMPT, *COMMON)
    assert cosmos("predict2", "video2world", *asked, "--seed", 1, "--save-path", "alone.mp4").exit_code == 0
    alone = Path("alone.mp4").read_bytes()

    rows = [
        {"input_video": str(picture), "prompt": PROMPT, "seed": seed, "output_video": f"{seed}.mp4"}
        for seed in (0, 1, 2)
    ]
    Path("rows.json").write_text(json.dumps(rows))
    assert cosmos("predict2", "batch", "rows.json", *COMMON).exit_code == 0
    assert Path("1.mp4").read_bytes() == alone

    best = ("--num-generations", 3, "--num-critic-trials", 1, "--save-path", "best")
    assert cosmos("predict2", "best-of-n", *asked, *best).exit_code == 0
    [second] = Path("best").glob("picture_seed1_score*.mp4")
    assert second.read_bytes() == alone

    sidecar = Path("1.json")
    assert cosmos("predict2", "video2world", "--from-file", sidecar, "--save-path", "again.mp4").exit_code == 0
    assert Path("again.mp4").read_bytes() == alone
    document = json.loads(sidecar.read_text())
    assert document["environment"]["threads"] == "2"
    assert document["environment"]["kernels"]
    assert document["work_key"] == json.loads(Path("again.json").read_text())["work_key"]


@pytest.mark.usefixtures("two_threads")
def test_several_threads_of_a_program_may_ask_one_pipeline_at_once(picture: Path) -> None:
    from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
    from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings

    settings = Video2WorldSettings(model_size="tiny")
    pipeline: Any = Video2WorldPipeline.load(settings)
    request = Video2WorldRequest(input_path=picture, prompt=PROMPT, num_steps=1, num_frames=5)
    made: list[Any] = []

    def ask() -> None:
        made.append(pipeline.generate(request).frames)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = pipeline.generate(request).frames
    assert len(made) == 3
    assert all((frames == alone).all() for frames in made)
    assert torch.get_num_threads() == 2
