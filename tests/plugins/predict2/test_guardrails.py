"""Guardrails as somebody who uses Predict2 meets them: on unless disabled, which is said, and before everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from tests.chat_models import chat_server, says
from tests.clips import encode, moving_gradient
from tests.guardrails.damage import damaged_copy
from tests.guardrails.plugins import LOG, Install, installing

Run = Callable[..., CommandResult]

BLOCKED = "A torture chamber."
ONLY_WORDS = "guardrail: this model has a short word list for prompts, and nothing that looks at videos"

guardrail = pytest.fixture(installing)


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny models' weights are there and none can be loaded: exit code 4 is the trace of one who tries."""
    root = damaged_copy(TINY_ROOT, tmp_path / "tiny")
    monkeypatch.setattr("cosmos_plugins.predict2.checkpoints.TINY_ROOT", root)


@pytest.fixture
def batch(cosmos: Run, picture: Path) -> Run:
    """`cosmos predict2 batch --json` of one row per prompt: 0.mp4, 1.mp4 and so on."""

    def run(*prompts: str, wrong_row: bool = False) -> CommandResult:
        rows = [
            {"input_video": str(picture), "prompt": text, "output_video": f"{i}.mp4"} for i, text in enumerate(prompts)
        ]
        if wrong_row:
            rows.append({"input_video": "nowhere.png", "prompt": "A bus.", "output_video": "wrong.mp4"})
        Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        size = ("--model", "tiny", "--num-frames", 5, "--num-steps", 1, "--guidance", 0)
        return cosmos("predict2", "batch", "rows.jsonl", *size, "--json")

    return run


def videos() -> list[str]:
    return sorted(path.name for path in Path().rglob("*.mp4"))


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("command", ["video2world", "best-of-n", "text2image", "text2world", "multiview"])
def test_a_blocked_prompt_stops_every_command_before_a_network_is_loaded(
    cosmos: Run, picture: Path, command: str
) -> None:
    inputs: dict[str, list[object]] = {
        "video2world": ["--input-path", picture],
        "best-of-n": ["--input-path", picture],
        "multiview": ["--num-conditional-frames", 0],
    }
    line = ("predict2", command, "--model", "tiny", *inputs.get(command, []), "--prompt")
    blocked = cosmos(*line, BLOCKED)
    assert blocked.exit_code == 3
    _, title, panel = blocked.stderr.partition("╭─ Blocked by a guardrail ─")
    assert title
    assert [line.strip("│ ") for line in panel.splitlines()[1:4]] == [
        "guardrail blocklist",
        "the exact list forbids 'torture' (score 1.00).",
        "Change the prompt.",
    ]
    assert not [path for path in Path().rglob("*.*") if path.suffix != ".jsonl"]
    assert cosmos(*line, "A bus.").exit_code == 4


@pytest.mark.usefixtures("damaged")
def test_a_guardrail_of_another_package_that_breaks_blocks_before_anything_is_loaded(
    video2world: Run, picture: Path, guardrail: Install
) -> None:
    guardrail("shaky", on_prompt="raise ConnectionError('its server is down')")
    blocked = video2world("--input-path", picture, "--json")
    assert blocked.exit_code == 3
    [problem] = blocked.json["problems"]
    assert problem["where"] == "guardrail shaky"
    assert problem["what"] == "could not run and so blocks: ConnectionError: its server is down."


@pytest.mark.parametrize("on_video", ["return None", "raise KeyError('faces')"])
def test_a_video_that_no_guardrail_gave_back_is_not_written(
    video2world: Run, picture: Path, guardrail: Install, on_video: str
) -> None:
    guardrail("silent", on_video=on_video)
    blocked = video2world("--input-path", picture, "--json")
    assert blocked.exit_code == 3
    assert [problem["where"] for problem in blocked.json["problems"]] == ["guardrail silent"]
    assert videos() == []


def test_pictures_and_the_views_of_robots_are_looked_at_too(cosmos: Run, guardrail: Install) -> None:
    guardrail("strict", on_video="return None")
    encode(Path("rgb.mp4"), moving_gradient(6, 48, 64))
    np.save("actions.npy", np.zeros((12, 7), np.float32))
    for line in (
        ("text2image", "--prompt", "A bus.", "--save-path", "out.png"),
        ("action", "--input-video", "rgb.mp4", "--input-annotation", "actions.npy"),
    ):
        blocked = cosmos("predict2", *line, "--model", "tiny", "--num-steps", 1, "--json")
        assert blocked.exit_code == 3, blocked.stderr
        assert [problem["where"] for problem in blocked.json["problems"]] == ["guardrail strict"]
    assert videos() == ["rgb.mp4"]
    assert not Path("out.png").exists()


def test_what_the_refiner_wrote_is_checked_again(
    video2world: Run, picture: Path, monkeypatch: pytest.MonkeyPatch, guardrail: Install
) -> None:
    guardrail("watch")
    monkeypatch.setenv("no_proxy", "*")
    with chat_server(says("The slope drifts on, full of gore.")) as server:
        blocked = video2world("--input-path", picture, "--refiner-url", server.url, "--refiner-model", "a-model")
    assert blocked.exit_code == 3
    assert "'gore'" in blocked.stderr
    assert "Denoising" not in blocked.stderr
    assert videos() == []
    assert LOG.read_text().splitlines() == ["The slope drifts on."]  # the word list comes first


def test_a_run_says_once_what_is_checked_and_records_it(video2world: Run, picture: Path, guardrail: Install) -> None:
    guardrail("blocklist")
    assert video2world("--input-path", picture, "--prompt", BLOCKED).exit_code == 3  # taking its name replaces no check
    result = video2world("--input-path", picture, "--prompt", "the slope drifts on")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines().count(f"note: {ONLY_WORDS}") == 1
    assert LOG.read_text().splitlines() == ["the slope drifts on", "The slope drifts on."]
    sidecar = json.loads(Path("out.json").read_text())
    assert sidecar["checked_by"] == ["blocklist", "blocklist of a plugin"]
    assert ONLY_WORDS in sidecar["result"]["not_run"]


def test_disabled_guardrails_check_nothing_and_the_sidecar_says_so(
    video2world: Run, picture: Path, guardrail: Install
) -> None:
    guardrail("strict", on_prompt="raise RuntimeError('asked')", on_video="return None")
    result = video2world("--input-path", picture, "--disable-guardrail")
    assert result.exit_code == 0, result.stderr
    assert "note: guardrail: disabled, nothing is checked" in result.stderr
    assert not LOG.exists()
    sidecar = json.loads(Path("out.json").read_text())
    assert sidecar["checked_by"] == []
    assert "guardrail: disabled, nothing is checked" in sidecar["result"]["not_run"]
    assert sidecar["request"]["disable_guardrail"] is True


def test_a_blocked_row_does_not_stop_the_others(batch: Run, guardrail: Install) -> None:
    guardrail("watch")
    result = batch("a bus", BLOCKED, "a bus")
    assert result.exit_code == 3
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "blocked", "done"]
    assert "guardrail blocklist: the exact list forbids 'torture'" in result.json["samples"][1]["error"]
    assert videos() == ["0.mp4", "2.mp4"]
    assert LOG.read_text().splitlines() == ["a bus", "A bus."]  # each once, whatever row it is of


def test_a_row_that_fails_weighs_more_than_one_that_is_blocked(batch: Run) -> None:
    result = batch("A bus.", BLOCKED, wrong_row=True)
    assert result.exit_code == 1
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "blocked", "failed"]


@pytest.mark.usefixtures("damaged")
def test_a_batch_of_which_all_is_blocked_loads_nothing(batch: Run) -> None:
    assert batch(BLOCKED, "Gore.").exit_code == 3
    assert videos() == []
    assert batch("A bus.", "Gore.").exit_code == 4
