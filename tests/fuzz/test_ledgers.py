"""What earlier runs have left: ledgers of batches, and sidecars and answers beside videos that a critic judges."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cosmos_cli.critics import Trial
from cosmos_cli.errors import CosmosError
from cosmos_cli.generation.identity import work_key
from cosmos_plugins.predict2.critic.run import judge_videos
from tests.batch.test_engine import LEDGER, plan_of, run
from tests.fuzz.judge import fuzz, in_time
from tests.fuzz.values import changed, dumped, mangled


def _key(name: str) -> str:
    return work_key({"text": name, "path": f"out/{name}.txt"}, [])


def _line(name: str, status: str, **more: Any) -> dict[str, Any]:
    content = name.upper().encode()
    known = {f"{name}.txt": [len(content), hashlib.sha256(content).hexdigest()]}
    return {"key": _key(name), "name": name, "status": status, "files": known, "seconds": 1.5, **more}


LINES = (
    _line("a", "done", result={"video": "out/a.txt"}, time="2026-01-01T00:00:00+0000", error=""),
    _line("a", "started"),
    _line("a", "written"),
    _line("b", "failed", error="no room"),
    _line("b", "done", result={}),
)
OF_LINES = ("key", "name", "status", "files", "seconds", "result", "error", "time", "a.txt", "../out/a.txt")


@fuzz
@given(
    mangled(st.lists(changed(LINES, OF_LINES).map(dumped), min_size=1, max_size=4).map("\n".join).map(str.encode)),
    st.sets(st.sampled_from(("a.txt", "b.txt"))),
)
def test_ledgers(content: bytes, there: set[str]) -> None:
    """Whatever a ledger says, what was promised is there in the end, or somebody else's file was in the way."""
    shutil.rmtree(LEDGER.parent, ignore_errors=True)
    LEDGER.parent.mkdir()
    LEDGER.write_bytes(content)
    for name in there:
        (LEDGER.parent / name).write_text(name[0].upper())
    with in_time():
        plan = plan_of("a", "b")
        try:
            report = run(plan)
        except CosmosError as error:
            assert error.exit_code == 2, error
            return
        json.dumps(report.document())
        assert report.summary()
    for outcome in report.outcomes:
        assert "Error:" not in outcome.error, outcome
        made = LEDGER.parent / f"{outcome.name}.txt"
        if outcome.status.startswith("done"):
            assert made.read_text() == outcome.name.upper()
        else:
            assert made.name in there, outcome


SIDECARS = (
    {
        "request": {"prompt": "a", "seed": 3, "save_path": "o.mp4", "guidance": 7.0, "negative_prompt": "b"},
        "prompt_used": "a refined",
        "weights": {"dit": {"path": "/a/b.pt", "sha256": "0" * 64}},
        "environment": {"torch": "2.10", "gpu": None},
        "work_key": "0",
    },
    ["an answer"],
)
ANSWERS = {
    "critic": "measured",
    "num_trials": 1,
    "seed": 0,
    "score": 50,
    "trials": [
        {
            "text": "It moves.",
            "verdict": True,
            "score": 50.5,
            "overview": "a",
            "components": [{"name": "flow", "analysis": "still", "anomaly": False}],
        }
    ],
}
OF_SIDECARS = ("request", "prompt", "prompt_used", "weights", "environment", "path", "seed", "negative_prompt")


OF_ANSWERS = (*ANSWERS, "video_sha256", "name", "analysis", "text", "verdict", "anomaly", "overview")


class Even:
    """A critic that finds every video so so."""

    name = "measured"

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        return [Trial("So so.", None, 50.0)]


@fuzz
@given(mangled(changed(SIDECARS, OF_SIDECARS).map(dumped).map(str.encode)), st.data())
def test_what_stands_beside_videos(content: bytes, data: st.DataObject) -> None:
    """Nothing beside a video keeps a critic from judging it."""
    shutil.rmtree("judged", ignore_errors=True)
    video = Path("judged/clip.mp4")
    video.parent.mkdir()
    shutil.copyfile("clip.mp4", video)
    video.with_suffix(".json").write_bytes(content)
    answers = {**ANSWERS, "video_sha256": hashlib.sha256(video.read_bytes()).hexdigest()}
    kept = data.draw(mangled(changed((answers,), OF_ANSWERS).map(dumped).map(str.encode)))
    (video.parent / "clip_score050.critic.json").write_bytes(kept)
    with in_time():
        [judgement] = judge_videos([video], Even(), num_trials=1, seed=0, folder=video.parent)
    assert not judgement.error
    json.dumps(judgement.document())
    assert judgement.video.is_file()
