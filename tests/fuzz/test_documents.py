"""Documents that commands read: specifications, rows of batches, requests, regions, actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_cli.errors import InputError
from cosmos_plugins.predict2.action.actions import read_actions
from cosmos_plugins.predict2.video2world.requests import Video2WorldRequest, Video2WorldSettings
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.regions import read_boxes
from cosmos_plugins.transfer1.requests import ControlSpec, TransferRequest
from tests.fuzz.judge import fuzz, judge, refuses
from tests.fuzz.values import changed, dumped, mangled

PLAN = ("--model", "tiny", "--plan")
CONTROLS = ("edge", "vis", "depth", "seg", "keypoint", "upscale", "hdmap", "lidar")

SPECS = (
    {"edge": {"control_weight": 0.5}, "input_video_path": "clip.mp4"},
    {"edge": {"control_weight": "map.npy"}, "vis": {"control_weight": "0.25"}, "input_video_path": "clip.mp4"},
    {"depth": {"input_control": "clip.mp4", "control_weight_prompt": "a car"}, "prompt": "a", "seed": 3, "fps": 10},
    {
        "seg": {"input_control": "clip.mp4"},
        "input_video_path": "clip.mp4",
        "regional_prompts": [
            {"prompt": "a", "region_definitions_path": [0, 0, 0.5, 1]},
            {"prompt": "b", "region_definitions_path": "boxes.json"},
        ],
    },
)
OF_SPECS = (*CONTROLS, "regional_prompts", *ControlSpec.model_fields, *TransferRequest.model_fields)
VIEWS = (
    {"hdmap": {"input_control": ["clip.mp4"] * 6}},
    {"lidar": {"input_control": ["clip.mp4"] * 6, "control_weight": 0.3}, "prompt_left": "a", "seed": 2},
)
OF_VIEWS = ("hdmap", "lidar", "input_control", *MultiviewRequest.model_fields, *MultiviewSettings.model_fields)
CLIPS = (
    {"visual_input": "clip.mp4"},
    {"visual_input": "clip.mp4", "prompt": "a", "control_overrides": {"edge": {"control_weight": 0.1}}},
    {"visual_input": "clip.mp4", "video_save_name": "b", "seed": 7},
)
OF_CLIPS = ("visual_input", "control_overrides", *OF_SPECS)
ROWS = (
    {"input_video": "picture.png", "prompt": "a", "output_video": "o.mp4"},
    {"input_video": "clip.mp4", "prompt": "a", "seed": 3, "num_steps": 2, "save_path": "p.mp4"},
)
OF_VIDEO2WORLD = (*Video2WorldRequest.model_fields, *Video2WorldSettings.model_fields)
OF_ROWS = ("input_video", "output_video", *OF_VIDEO2WORLD)
REQUESTS = (
    {"input_path": "picture.png", "prompt": "a", "save_path": "o.mp4", "num_frames": 9},
    {"request": {"input_path": "clip.mp4", "prompt": "a", "model_size": "tiny"}, "version": "0.1.0", "seconds": 1.5},
)


@pytest.fixture(autouse=True)
def boxes(here: Path) -> None:
    (here / "boxes.json").write_text("[[0, 0, 0.5, 1], [0.5, 0, 1, 0.5]]")


def documents(goods: Any, names: Any) -> st.SearchStrategy[bytes]:
    """Bytes of a document."""
    return mangled(changed(goods, names).map(dumped).map(str.encode))


@st.composite
def lines(draw: st.DrawFn, goods: Any, names: Any) -> bytes:
    """Bytes of a batch file."""
    rows = [dumped(row) for row in draw(st.lists(changed(goods, names), min_size=1, max_size=3))]
    form = draw(st.sampled_from(("lines", "lines", "lines", "array", "pretty", "crlf", "blank")))
    if form == "array":
        return ("[" + ",".join(rows) + "]").encode()
    if form == "pretty":
        return "\n".join(row.replace(", ", ",\n  ") for row in rows).encode()
    return {"lines": "\n", "crlf": "\r\n", "blank": "\n\n \n"}.get(form, "\n").join(rows).encode()


@fuzz
@given(documents(SPECS, OF_SPECS))
def test_specifications(content: bytes) -> None:
    Path("spec.json").write_bytes(content)
    judge("transfer", "run", "--controlnet-specs", "spec.json", *PLAN, codes=(0, 2, 4))


@fuzz
@given(documents(VIEWS, OF_VIEWS))
def test_specifications_of_several_cameras(content: bytes) -> None:
    Path("views.json").write_bytes(content)
    line = ("--view-condition-video", "clip.mp4", "--controlnet-specs", "views.json", *PLAN)
    judge("transfer", "multiview", *line, codes=(0, 2, 4))


@fuzz
@given(mangled(lines(CLIPS, OF_CLIPS)))
def test_rows_of_transfer(content: bytes) -> None:
    Path("clips.jsonl").write_bytes(content)
    judge("transfer", "batch", "clips.jsonl", "--controlnet-specs", "good.json", *PLAN)


@fuzz
@given(mangled(lines(ROWS, OF_ROWS)))
def test_rows_of_predict2(content: bytes) -> None:
    Path("rows.jsonl").write_bytes(content)
    judge("predict2", "batch", "rows.jsonl", *PLAN)


@fuzz
@given(documents(REQUESTS, OF_VIDEO2WORLD))
def test_requests_and_sidecars(content: bytes) -> None:
    Path("request.json").write_bytes(content)
    judge("predict2", "video2world", "--from-file", "request.json", *PLAN, codes=(0, 2, 4))


ACTIONS = (
    [[0.0] * 7] * 12,
    {"action": [[0.01] * 6 + [1]] * 12, "continuous_gripper_state": [0.5] * 13},
    {"action": [[0.01] * 7] * 14, "continuous_gripper_state": [0, 1] * 7 + [0]},
)


@fuzz
@given(documents(ACTIONS, ("action", "continuous_gripper_state", "state")))
def test_actions(content: bytes) -> None:
    path = Path("actions.json")
    path.write_bytes(content)
    outcome = refuses(lambda: read_actions(path), InputError)
    assert isinstance(outcome, InputError) or np.isfinite(outcome).all()


@fuzz
@given(documents(([[0, 0, 0.5, 1]], [[0, 0, 1, 1], [0.5, 0.25, 0.75, 1]]), ("x",)))
def test_boxes_of_regions(content: bytes) -> None:
    path = Path("boxes.json")
    path.write_bytes(content)
    outcome = refuses(lambda: read_boxes(path), InputError)
    assert isinstance(outcome, InputError) or all(0 <= edge <= 1 for box in outcome for edge in box)
