"""What `cosmos transfer batch --plan` says of good rows and of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.generation.foresight import plan_job
from cosmos_cli.generation.plan import Plan
from cosmos_cli.generation.rates import START_SECONDS, TEXT_START_SECONDS
from cosmos_cli.runtime.machine import Machine
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1 import batch, inputs
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from tests.clips import encode, moving_gradient
from tests.plugins.planned_runs import assert_quick_and_light

PLAN = """
import json, sys
from pathlib import Path
from cosmos_plugins.transfer1.batch import plan
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
made = plan(TransferSettings(cache_dir="cache"), TransferRequest(controls={"edge": {}}), Path("rows.jsonl"))
print(json.dumps([made.document(), list(sys.modules)]))
"""
SHORT, LONG = {"visual_input": "short.mp4"}, {"visual_input": "long.mp4"}
COMMON = TransferRequest(controls={"edge": {}, "vis": {}})
GPU = Machine("cuda", "NVIDIA H200", 140 << 30, 139 << 30, 128 << 30, 120 << 30)


@pytest.fixture(autouse=True)
def folder() -> None:
    encode(Path("short.mp4"), moving_gradient(5, 72, 96))
    encode(Path("long.mp4"), moving_gradient(50, 72, 96))
    Path("spec.json").write_text(json.dumps({"edge": {}, "vis": {}}))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose rate is in a table, so that no measurement makes plans differ."""
    monkeypatch.setattr("cosmos_cli.generation.foresight.find_machine", lambda device: GPU)


def settings(**values: Any) -> TransferSettings:
    return TransferSettings(**{"model_size": "tiny", "cache_dir": "cache", **values})


def write(*rows: Any) -> Path:
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Path("rows.jsonl")


def planned(*rows: Any, **values: Any) -> Plan:
    return batch.plan(settings(**values), COMMON, write(*rows))


def seconds(plan: Plan) -> dict[str, float]:
    return {estimate.stage.name: estimate.seconds for estimate in plan.estimates}


def test_wrong_rows_are_counted_and_named_and_the_others_planned(cosmos: Callable[..., CommandResult]) -> None:
    Path("text.mp4").write_text("not a video")
    write(SHORT, {"visual_input": "gone.mp4"}, LONG, {**SHORT, "sead": 3}, {"visual_input": "text.mp4"})
    for line in (("batch", "rows.jsonl"), ("run", "--batch-input-path", "rows.jsonl")):
        common = ("--controlnet-specs", "spec.json", "--model", "tiny", "--plan", "--json")
        result = cosmos("transfer", *line, *common)
        assert result.exit_code == 0, result.stderr
        assert result.json["request"] == {"file": "rows.jsonl", "num_rows": 5, "num_wrong_rows": 3}
        assert result.json["frames"]["made"] == 5 + 50
        first, *others = result.json["problems"]
        assert first == "3 of 5 rows are wrong, and will not be made."
        places = ("line 2, visual_input: gone.mp4", "line 4: Unknown field 'sead'. Did you mean", "line 5, text.mp4:")
        assert len(others) == 3
        for problem, place in zip(others, places, strict=True):
            assert problem.startswith(f"wrong row: rows.jsonl {place}")
    assert not Path("outputs").exists()
    for nothing in ("gone.mp4", "text.mp4"):
        with pytest.raises(InputError, match=r"rows\.jsonl line 1"):
            planned({"visual_input": nothing})


def test_times_add_up_with_one_loading_and_the_largest_memory_counts(gpu: None) -> None:
    short, long, both = (seconds(planned(*rows)) for rows in ([SHORT], [LONG], [SHORT, {**LONG, "seed": 2}]))
    for name in ("encode", "denoise", "decode", "write"):
        assert both[name] == pytest.approx(short[name] + long[name])
    # imports, weights and the building of the text encoder count once, frames and prompts for every row
    assert START_SECONDS < both["start"] < short["start"] + long["start"] - START_SECONDS + 0.01
    assert both["encode_text"] == pytest.approx(2 * short["encode_text"] - TEXT_START_SECONDS, rel=0.05)
    peaks = [planned(*rows).host_peak for rows in ([LONG], [SHORT, LONG, {**SHORT, "seed": 2}])]
    assert peaks[0] == peaks[1]
    # the videos before and after it are there as well
    request = COMMON.model_copy(update={"input_video_path": Path("long.mp4")})
    alone = plan_job(settings(), inputs.job_of(settings(), request))
    assert peaks[0].num_bytes > alone.host_peak.num_bytes


def test_branches_of_all_rows_are_loaded_together(gpu: None) -> None:
    only = [{**SHORT, "control_overrides": {name: {"control_weight": 0}}} for name in ("edge", "vis")]
    apart, together, full = planned(only[0]), planned(*only), planned(SHORT)
    names = [{file.path.name for file in made.files} for made in (apart, together)]
    assert names[1] - names[0] == {"edge_control.pt"}
    dit = [made.device_peak.parts["DiT"] for made in (apart, together, full) if made.device_peak]
    assert dit[0] < dit[1] == dit[2]
    assert seconds(together)["denoise"] == pytest.approx(2 * seconds(apart)["denoise"])


def test_missing_weights_are_part_of_the_plan() -> None:
    made = planned(SHORT, LONG, model_size="7B", checkpoint_dir="empty")
    assert len(made.missing) == len(made.files)
    assert "files are missing" in made.problems()[0]


def test_a_plan_is_quick_and_loads_nothing() -> None:
    write(SHORT, LONG)
    assert_quick_and_light(PLAN)
