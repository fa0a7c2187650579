"""Plans for machines that one does not have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest

from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient

Cosmos = Callable[..., CommandResult]

VIDEO = ("predict2", "video2world", "--model", "14B", "--prompt", "A.", "--input-path", "in.png")
COMMANDS: dict[str, tuple[str, ...]] = {
    "one video": VIDEO,
    "best of n": ("predict2", "best-of-n", "--model", "2B", "--prompt", "A.", "--input-path", "in.png"),
    "text2world": ("predict1", "text2world", "--prompt", "A."),
    "nemo": ("nemo", "run", "--prompt", "A."),
    "controls": ("transfer", "run", "--controlnet-specs", "spec.json"),
    "a batch": ("transfer", "batch", "rows.jsonl", "--controlnet-specs", "spec.json"),
}


@pytest.fixture
def planned(cosmos: Cosmos) -> Callable[..., dict[str, Any]]:
    iio.imwrite("in.png", moving_gradient(1, 90, 160)[0])
    encode(Path("in.mp4"), moving_gradient(9, 72, 96))
    Path("spec.json").write_text(json.dumps({"prompt": "A.", "edge": {}, "input_video_path": "in.mp4"}))
    Path("rows.jsonl").write_text('{"visual_input": "in.mp4", "prompt": "A."}\n')

    def run(*line: str) -> dict[str, Any]:
        result = cosmos(*line, "--plan", "--json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = result.json
        return document

    return run


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_every_command_plans_for_a_card_that_is_not_here(planned: Callable[..., Any], line: tuple[str, ...]) -> None:
    document = planned(*line, "--for", "h100")
    machine = document["machine"]
    assert (machine["kind"], machine["name"], machine["precision"]) == ("cuda", "NVIDIA H100", "bfloat16")
    assert machine["device_bytes"] == 81_559 << 20
    assert document["memory"]["device_peak"] is not None
    assert any("host memory" in text for text in document["not_counted"])


def test_a_card_decides_how_long_it_takes_and_where_weights_are(planned: Callable[..., Any]) -> None:
    plans = {name: planned(*VIDEO, "--for", name) for name in ("H200", "rtx 4090", "24GiB", "140 GiB")}
    seconds = {name: made["time"]["seconds"] for name, made in plans.items()}
    assert seconds["H200"] * 3 < seconds["rtx 4090"]
    weights = {name: made["memory"]["weights"] for name, made in plans.items()}
    assert weights["H200"] == weights["140 GiB"] == "everything on the device"
    assert "in blocks" in weights["24GiB"]
    assert all(made["memory"]["device_peak"]["num_bytes"] < 25e9 for made in (plans["rtx 4090"], plans["24GiB"]))


@pytest.mark.parametrize(
    ("options", "told"), [(("--plan", "--for", "h1000"), "rtx-4090"), (("--for", "h100"), "needs --plan")]
)
def test_what_no_machine_can_be_is_refused(
    planned: Callable[..., Any], cosmos: Cosmos, options: tuple[str, ...], told: str
) -> None:
    result = cosmos(*VIDEO, *options)
    assert result.exit_code == 2
    assert "--plan-for" in result.stderr
    assert told in " ".join(result.stderr.split())
