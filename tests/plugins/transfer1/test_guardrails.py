"""Guardrails as somebody who uses Transfer meets them: nobody can leave them out, and they come before everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.face_blur import MOSAIC, FaceBlur
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.pipeline import TransferPipeline
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from tests.chat_models import chat_server, says
from tests.clips import encode, moving_gradient
from tests.guardrails.damage import damaged_copy
from tests.guardrails.plugins import LOG, Install, installing
from tests.guardrails.stand_ins import detector_of_faces_everywhere

Run = Callable[..., CommandResult]

BLOCKED = "A torture chamber."
SAYS_SO = "note: guardrail: this model has a short word list for prompts, and nothing that looks at videos"

guardrail = pytest.fixture(installing)


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny models' weights are there and none can be loaded: exit code 4 is the trace of one who tries."""
    root = damaged_copy(TINY_ROOT, tmp_path / "tiny")
    for module in ("checkpoints", "multiview.samples"):
        monkeypatch.setattr(f"cosmos_plugins.transfer1.{module}.TINY_ROOT", root)


def written() -> list[str]:
    """Files in the working folder but for what a test put there."""
    given = {".json", ".jsonl", ".txt"}
    return sorted(str(path) for path in Path().rglob("*.*") if path.suffix not in given or path.parts[:-1])


def batch(cosmos: Run, *rows: dict[str, Any]) -> CommandResult:
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("spec.json").write_text(json.dumps({"vis": {}}))
    line = ("rows.jsonl", "--controlnet-specs", "spec.json", "--model", "tiny", "--num-steps", 1, "--guidance", 0)
    return cosmos("transfer", "batch", *line, "--json")


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("control", ["vis", "depth"])
def test_a_blocked_prompt_stops_before_a_network_is_loaded_or_a_control_computed(
    transfer: Run, clip: Path, tmp_path: Path, control: str
) -> None:
    spec = {control: {}, "input_video_path": str(clip)}
    blocked = transfer(spec | {"prompt": BLOCKED})
    assert blocked.exit_code == 3
    _, title, panel = blocked.stderr.partition("╭─ Blocked by a guardrail ─")
    assert title
    assert [line.strip("│ ") for line in panel.splitlines()[1:4]] == [
        "guardrail blocklist",
        "the exact list forbids 'torture' (score 1.00).",
        "Change the prompt.",
    ]
    assert written() == []
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert transfer(spec | {"prompt": "A street."}).exit_code == 4


@pytest.mark.usefixtures("damaged")
def test_the_prompts_of_regions_are_checked(transfer: Run, clip: Path) -> None:
    spec = {"vis": {}, "input_video_path": str(clip), "prompt": "A street."}
    regions = [{"prompt": text, "region_definitions_path": [0, 0, 0.5, 1]} for text in ("A tram.", "Gore.")]
    assert transfer(spec | {"regional_prompts": regions[:1]}).exit_code == 4
    blocked = transfer(spec | {"regional_prompts": regions})
    assert blocked.exit_code == 3
    assert "'gore'" in blocked.stderr


@pytest.mark.usefixtures("damaged")
def test_the_prompts_of_all_cameras_are_checked(cosmos: Run) -> None:
    encode(Path("front.mp4"), np.repeat(moving_gradient(3, 36, 64), 19, axis=0))
    Path("spec.json").write_text(json.dumps({"hdmap": {"input_control": ["front.mp4"] * 6}}))
    line = ("--view-condition-video", "front.mp4", "--controlnet-specs", "spec.json", "--model", "tiny")
    assert cosmos("transfer", "multiview", *line, "--prompt-back-left", "A bus.").exit_code == 4
    blocked = cosmos("transfer", "multiview", *line, "--prompt-back-left", BLOCKED)
    assert blocked.exit_code == 3
    assert "'torture'" in blocked.stderr
    assert written() == ["front.mp4"]


def test_what_a_model_made_of_the_prompt_is_checked_again(
    transfer: Run, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    spec = {"edge": {}, "input_video_path": str(clip), "prompt": "A street."}
    with chat_server(says("A street full of gore.")) as server:
        blocked = transfer(spec, "--upsample-prompt", "--upsampler-url", server.url, "--upsampler-model", "pixtral")
    assert blocked.exit_code == 3
    assert "'gore'" in blocked.stderr
    assert "Denoising" not in blocked.stderr
    assert written() == []


@pytest.mark.usefixtures("damaged")
def test_a_guardrail_of_another_package_that_breaks_blocks_before_anything_is_loaded(
    transfer: Run, clip: Path, guardrail: Install
) -> None:
    guardrail("shaky", on_prompt="raise ConnectionError('its server is down')")
    blocked = transfer({"vis": {}, "input_video_path": str(clip)}, "--json")
    assert blocked.exit_code == 3
    [problem] = blocked.json["problems"]
    assert problem["where"] == "guardrail shaky"
    assert problem["what"] == "could not run and so blocks: ConnectionError: its server is down."


@pytest.mark.parametrize("on_video", ["return None", "raise KeyError('faces')"])
def test_a_video_that_no_guardrail_gave_back_is_not_written(
    transfer: Run, clip: Path, guardrail: Install, on_video: str
) -> None:
    guardrail("silent", on_video=on_video)
    blocked = transfer({"vis": {}, "input_video_path": str(clip)}, "--json")
    assert blocked.exit_code == 3
    assert [problem["where"] for problem in blocked.json["problems"]] == ["guardrail silent"]
    assert written() == []


def test_a_run_says_once_what_is_checked_and_records_it(transfer: Run, clip: Path, guardrail: Install) -> None:
    guardrail("watch")
    regions = [{"prompt": "A tram.", "region_definitions_path": [0, 0, 0.5, 1]}]
    spec = {"vis": {}, "input_video_path": str(clip), "prompt": "A street.", "regional_prompts": regions}
    result = transfer(spec)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines().count(SAYS_SO) == 1
    assert LOG.read_text().splitlines() == ["A street.", "A tram."]  # each checked once
    sidecar = json.loads(Path("outputs/output.json").read_text())
    assert sidecar["checked_by"] == ["blocklist", "watch"]
    assert sidecar["result"]["not_run"] == [SAYS_SO.removeprefix("note: ")]


def test_a_package_cannot_replace_the_word_list_by_taking_its_name(
    transfer: Run, clip: Path, guardrail: Install
) -> None:
    guardrail("blocklist")
    spec = {"vis": {}, "input_video_path": str(clip)}
    assert transfer(spec | {"prompt": BLOCKED}).exit_code == 3
    assert transfer(spec | {"prompt": "A street."}).exit_code == 0
    assert json.loads(Path("outputs/output.json").read_text())["checked_by"] == ["blocklist", "blocklist of a plugin"]


def test_a_blocked_row_does_not_stop_the_others(cosmos: Run, clip: Path, guardrail: Install) -> None:
    guardrail("watch")
    rows = [{"visual_input": str(clip), "prompt": prompt} for prompt in ("A street.", BLOCKED, "A street.")]
    result = batch(cosmos, *rows)
    assert result.exit_code == 3
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "blocked", "done"]
    assert "guardrail blocklist: the exact list forbids 'torture'" in result.json["samples"][1]["error"]
    assert [path.name for path in sorted(Path("outputs").glob("video_?.mp4"))] == ["video_0.mp4", "video_2.mp4"]
    assert LOG.read_text().splitlines() == ["A street."]  # the word list comes first

    Path("empty.mp4").write_bytes(b"")
    result = batch(cosmos, *rows, {"visual_input": "empty.mp4", "prompt": "A street."})
    assert result.exit_code == 1
    statuses = [sample["status"] for sample in result.json["samples"]]
    assert statuses == ["done before", "blocked", "done before", "failed"]


@pytest.mark.usefixtures("damaged")
def test_a_batch_of_which_all_is_blocked_loads_nothing(cosmos: Run, clip: Path) -> None:
    rows = [{"visual_input": str(clip), "prompt": prompt} for prompt in (BLOCKED, "Gore.")]
    assert batch(cosmos, {**rows[0], "prompt": "A street."}, rows[1]).exit_code == 4
    assert batch(cosmos, *rows).exit_code == 3
    assert written() == ["outputs/report.html", "outputs/rows.ledger.jsonl"]


@pytest.mark.parametrize("command", ["run", "batch", "multiview"])
def test_nothing_disables_the_guardrails(cosmos: Run, transfer: Run, clip: Path, command: str) -> None:
    words = cosmos("transfer", command, "--help-all").stdout.split()
    options = {word for word in words if word.startswith("--") and "guardrail" in word}
    assert options == {"--offload-guardrail-models"}
    refused = cosmos("transfer", command, "--disable-guardrail")
    assert refused.exit_code == 2
    assert "--disable-guardrail" in refused.stderr
    assert transfer({"vis": {}, "input_video_path": str(clip), "disable_guardrail": True}).exit_code == 2


def test_what_is_written_is_what_the_guardrails_left_of_the_video(clip: Path, tmp_path: Path) -> None:
    """A run with the published face blur, whose detector takes every frame for one large face."""
    detector = detector_of_faces_everywhere(tmp_path / "Resnet50_Final.pth")
    checks = Guardrails({"face-blur": FaceBlur(detector, device=torch.device("cpu"), offload=False)})
    request = TransferRequest(controls={"vis": {}}, input_video_path=clip, num_steps=1, guidance=0)
    result = TransferPipeline.load(TransferSettings(model_size="tiny"), [request], checks)(request)
    frames_FHWC = read_video(result.video).frames_FHWC.astype(float)
    assert frames_FHWC.shape == (9, 80, 112, 3)
    tiles = frames_FHWC[:, :80, :110].reshape(9, MOSAIC, 16, MOSAIC, 22, 3)[:, :, 3:-3, :, 3:-3]
    assert tiles.std(axis=(2, 4)).mean() < 4  # what H.264 leaves of one colour
    assert tiles.mean(axis=(2, 4)).std(axis=(1, 2)).mean() > 8  # the tiles differ
    assert json.loads(result.sidecar.read_text())["checked_by"] == ["face-blur"]
