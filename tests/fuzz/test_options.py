"""Options of every generating command: any value may follow any of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_cli.request_options import OptionDescription, describe_options
from cosmos_cli.settings import Planning
from cosmos_plugins.nemo_bridge.requests import NemoSettings, VideoOptions
from cosmos_plugins.predict2.video2world.requests import Video2WorldOptions, Video2WorldSettings
from tests.fuzz.judge import fuzz, judge
from tests.fuzz.values import LITERALS, NUMBERS, texts
from tests.option_tables import COMMANDS

PLAN = ("--model", "tiny", "--plan")
LINES: dict[str, tuple[str, ...]] = {
    "nemo run": ("--prompt", "a", *PLAN),
    "nemo batch": ("scenes.jsonl", *PLAN),
    "nemo convert": ("missing.pt", "out.pt"),
    "nemo prepare-dataset": ("--model", "tiny", "--dataset-path", "missing"),
    "nemo prepare-instruction-dataset": ("--model", "tiny", "--dataset-path", "missing"),
    "predict1 video2world": ("--input-image-or-video-path", "picture.png", "--prompt", "a", *PLAN),
    "predict1 text2world": ("--prompt", "a", *PLAN),
    "predict1-multiview run": ("--prompt", "a", *PLAN),
    "predict1-multiview batch": ("scenes.jsonl", *PLAN),
    "predict2 video2world": ("--input-path", "picture.png", "--prompt", "a", *PLAN),
    "predict2 batch": ("rows.jsonl", *PLAN),
    "predict2 best-of-n": ("--input-path", "picture.png", "--prompt", "a", "--num-generations", "2", *PLAN),
    "predict2 text2image": ("--prompt", "a", *PLAN),
    "predict2 text2world": ("--prompt", "a", *PLAN),
    "predict2 multiview": ("--input-path", "clip.mp4", "--prompt", "a", *PLAN),
    "predict2 action": ("--input-video", "picture.png", "--input-annotation", "actions.json", *PLAN),
    "transfer run": ("--controlnet-specs", "spec.json", *PLAN),
    "transfer batch": ("clips.jsonl", "--controlnet-specs", "spec.json", *PLAN),
    "transfer multiview": ("--view-condition-video", "clip.mp4", "--controlnet-specs", "views.json", *PLAN),
    "transfer annotate": ("--controlnet-specs", "spec.json", "--input-video-path", "missing.mp4"),
    "transfer robot-weights": ("--input-dir", "missing"),
    "transfer prompts": ("--meta-prompts", "missing.txt"),
    "predict2 critic": ("missing.mp4",),
}
"""Command to a line that is planned at once, or is refused by what is missing where nothing can be planned."""

_WORKS_AT_ONCE = {
    *("nemo convert", "nemo prepare-dataset", "nemo prepare-instruction-dataset"),
    *("transfer annotate", "transfer robot-weights", "transfer prompts", "predict2 critic"),
}


def _options(table: Iterable[OptionDescription]) -> list[tuple[str, str]]:
    return [(name, option.values) for option in table for name in option.names]


_NEMO_BATCH = describe_options(VideoOptions, NemoSettings, Planning)
_VIDEO2WORLD = describe_options(Video2WorldOptions, Video2WorldSettings, Planning)
OF_ALL = {command: _options(table) for command, table in COMMANDS.items()}
OF_ALL["nemo batch"] = _options(_NEMO_BATCH)
OF_ALL |= dict.fromkeys(("predict2 batch", "predict2 best-of-n"), _options(_VIDEO2WORLD))
OF_ALL["predict1-multiview batch"] = OF_ALL["predict1-multiview run"]
OF_ALL |= dict.fromkeys(("transfer batch", "transfer annotate"), OF_ALL["transfer run"])


@pytest.fixture(autouse=True)
def files(here: Path) -> None:
    (here / "rows.jsonl").write_text('{"input_video": "picture.png", "prompt": "a", "output_video": "o.mp4"}\n')
    (here / "scenes.jsonl").write_text('{"prompt": "a"}\n')
    (here / "clips.jsonl").write_text('{"visual_input": "clip.mp4", "prompt": "a"}\n')
    (here / "spec.json").write_text('{"input_video_path": "clip.mp4", "edge": {"control_weight": 0.5}}')
    (here / "views.json").write_text(json.dumps({"hdmap": {"input_control": ["clip.mp4"] * 6}}))
    (here / "actions.json").write_text(json.dumps([[0.0] * 7] * 12))


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command line with one or two odd options."""
    command = draw(st.sampled_from(list(LINES)))
    line = [*command.split(), *LINES[command]]
    for _ in range(1 if command in _WORKS_AT_ONCE else draw(st.sampled_from((1, 1, 2)))):
        name, values = draw(st.sampled_from(OF_ALL[command]))
        name = name if draw(st.booleans()) else name.replace("-", "_").replace("__", "--", 1)
        line.append(name)
        if values or draw(st.integers(0, 9)) == 0:
            choices = st.sampled_from(values.split("|"))
            line.append(draw(st.one_of(choices, texts, st.sampled_from([*LITERALS, *map(str, NUMBERS)]))))
    if draw(st.integers(0, 4)) == 0:
        line.append("--json")
    return line


@fuzz
@given(lines())
def test_options(line: list[str]) -> None:
    judge(*line, codes=(0, 2, 4))
