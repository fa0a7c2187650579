"""The worker's model stays as long as it suits what comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output
from cosmos_cli.workbench.worker import Worker


def test_a_model_stays_until_more_is_denoised_together_than_it_was_loaded_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_follower", None)  # the worker's own goes with the test
    told: list[dict[str, Any]] = []
    worker, num_loads = Worker(told.append), []
    for number, height in enumerate((32, 48, 32)):
        folder = Path(f"run-{number}")
        folder.mkdir()
        spec = {"prompt": "A bus.", "model_size": "tiny", "num_steps": 1, "height": height, "width": 48}
        Path(folder, "spec.json").write_text(json.dumps(spec))
        options = {"video_save_folder": str(folder.absolute()), "video_save_name": "output", "device": "cpu"}
        task = {"id": number, "what": "make", "kind": "predict1 text2world", "folder": str(folder), "options": options}
        worker.do({**task, "spec": str(folder / "spec.json"), "previews": "."})
        assert told[-1]["event"] == "done", told[-1]
        num_loads.append(sum(each.get("stage") == "Loading the model" for each in told))
    assert num_loads == [1, 2, 2]
