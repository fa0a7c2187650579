"""What a robot's camera sees while it acts, on the tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.media.frames import to_frames, to_video
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import read_request_file, validate
from cosmos_plugins.predict2.action.actions import read_actions
from cosmos_plugins.predict2.action.inputs import check
from cosmos_plugins.predict2.action.pipeline import ActionPipeline
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from tests.clips import encode, moving_gradient

TINY = ActionSettings(model_size="tiny")


def annotation(num_actions: int, seed: int = 0) -> dict[str, list[object]]:
    random = np.random.default_rng(seed)
    return {
        "action": (random.standard_normal((num_actions, 7)) * 0.05).tolist(),
        "continuous_gripper_state": random.random(num_actions + 1).tolist(),
    }


@pytest.fixture
def robot() -> Path:
    """Actions of two clips and a few more, beside the video that they belong to."""
    encode(Path("rgb.mp4"), moving_gradient(6, 48, 64))
    Path("actions.json").write_text(json.dumps(annotation(27)))
    return Path("actions.json")


def a_request(**changes: object) -> ActionRequest:
    usual = {"input_video": "rgb.mp4", "input_annotation": "actions.json", "num_steps": 2, "save_path": "out.mp4"}
    return ActionRequest(**{**usual, **changes})


def test_an_annotation_is_scaled_and_gets_the_width_after_each_action(robot: Path) -> None:
    document = json.loads(robot.read_text())
    actions = read_actions(robot)
    assert actions.shape == (27, 7)
    assert actions[4, 2] == pytest.approx(20 * document["action"][4][2])
    assert actions[4, 6] == document["continuous_gripper_state"][5]


def test_a_plain_array_is_taken_as_it_is(robot: Path) -> None:
    expected = read_actions(robot)
    np.save("plain.npy", expected)
    Path("plain.json").write_text(json.dumps(expected.tolist()))
    for name in ("plain.npy", "plain.json"):
        np.testing.assert_array_equal(read_actions(Path(name)), expected)


def test_13_frames_that_begin_with_the_first_of_the_input(robot: Path) -> None:
    pipeline = ActionPipeline.load(TINY)
    result = pipeline(a_request(preview=True))
    video = read_video(result.video)
    assert video.frames_FHWC.shape == (13, 48, 64, 3)
    assert video.fps == 4
    sample = check(TINY, a_request(overwrite=True))()
    made = pipeline.make(sample).frames
    vae = pipeline.models.tokenizer
    given = to_video(sample.frames_FHWC, torch.device("cpu"), torch.float32)
    np.testing.assert_array_equal(made[:1], to_frames(vae.decode(vae.encode(given))))
    assert np.abs(sample.frames_FHWC[0].astype(int) - read_video(Path("rgb.mp4")).frames_FHWC[0]).max() <= 1


def test_a_picture_is_as_good_as_a_video(robot: Path) -> None:
    iio.imwrite("first.png", moving_gradient(1, 96, 128)[0])
    assert check(TINY, a_request(input_video="first.png"))().frames_FHWC.shape == (1, 48, 64, 3)


def test_the_actions_and_the_seed_make_the_video(robot: Path) -> None:
    pipeline = ActionPipeline.load(TINY)
    Path("other.json").write_text(json.dumps(annotation(12, seed=1)))
    frames = {
        name: pipeline.make(check(TINY, a_request(**changes))()).frames
        for name, changes in {
            "usual": {},
            "again": {},
            "other actions": {"input_annotation": "other.json"},
            "other seed": {"seed": 1},
        }.items()
    }
    np.testing.assert_array_equal(frames["usual"], frames["again"])
    for name in ("other actions", "other seed"):
        assert (frames[name] != frames["usual"]).any(), name


def test_a_roll_out_is_clip_after_clip_each_from_the_last_frame_of_the_one_before(robot: Path) -> None:
    pipeline = ActionPipeline.load(TINY)
    sample = check(TINY, a_request(autoregressive=True, seed=7))()
    assert sample.actions_KNA.shape == (2, 12, 7)
    whole = pipeline.make(sample).frames
    assert len(whole) == 25
    first = check(TINY, a_request(seed=7))()
    np.testing.assert_array_equal(whole[:13], pipeline.make(first).frames)
    iio.imwrite("last.png", whole[12])
    Path("rest.json").write_text(json.dumps(sample.actions_KNA[1].tolist()))
    second = check(TINY, a_request(input_video="last.png", input_annotation="rest.json", seed=7 + 12))()
    np.testing.assert_array_equal(whole[13:], pipeline.make(second).frames[1:])


def test_the_sidecar_makes_the_same_video_again(robot: Path) -> None:
    first = ActionPipeline.load(TINY)(a_request(autoregressive=True, seed=3))
    models = [ActionRequest, ActionSettings]
    request, settings = validate(models, read_request_file(first.sidecar, models) | {"save_path": "again.mp4"})
    again = ActionPipeline.load(settings)(request)
    assert again.video.read_bytes() == first.video.read_bytes()
    assert first.num_chunks == 2


BAD_ACTIONS = {
    "no JSON": ("{", "is not JSON"),
    "no actions": ("{}", "'action' and no 'continuous_gripper_state'"),
    "too few": (json.dumps(annotation(11)), "11 actions, fewer than the 12"),
    "gripper of other length": (
        json.dumps(annotation(12) | {"continuous_gripper_state": [0.0] * 12}),
        "one state is needed",
    ),
    "narrow rows": (json.dumps([[0.0] * 6] * 12), "not rows of 7"),
    "ragged": ("[[1, 2], [3]]", "not an array of numbers"),
    "words": ('[["a"]]', "not an array of numbers"),
    "not finite": (json.dumps([[float("nan")] * 7] * 12), "NaN is not a number"),
    "a number": ("3", "not rows of 7"),
    "deep": ("[" * 100_000, "nested more than 64 levels"),
    "digits": (f"[[{'9' * 5000}]]", "a number of 5,000 digits"),
}


@pytest.mark.parametrize("case", BAD_ACTIONS)
def test_bad_actions_are_named(robot: Path, case: str) -> None:
    content, hint = BAD_ACTIONS[case]
    Path("bad.json").write_text(content)
    with pytest.raises(InputError, match=hint):
        check(TINY, a_request(input_annotation="bad.json"))


@pytest.mark.parametrize("shape", [(2_000_000, 7), (1 << 40, 7), (7, 1 << 40), (1 << 62,), ()])
def test_an_array_that_promises_more_than_anybody_does_is_refused_unread(robot: Path, shape: tuple[int, ...]) -> None:
    with Path("bad.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f8"})
        file.truncate(1 << 30)
    with pytest.raises(InputError, match=r"bytes of numbers, and at most|it is damaged|not rows of 7"):
        check(TINY, a_request(input_annotation="bad.npy"))


def test_an_array_is_never_unpickled(robot: Path) -> None:
    np.save("bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        check(TINY, a_request(input_annotation="bad.npy"))


def test_all_that_is_wrong_is_said_at_once(robot: Path) -> None:
    with pytest.raises(InputError) as caught:
        check(TINY, a_request(input_video="nowhere.mp4", input_annotation="nowhere.json", save_path="out.gif"))
    for words in ("nowhere.mp4", "nowhere.json", "out.gif"):
        assert words in str(caught.value)


def test_missing_checkpoints_are_named_without_a_text_encoder(robot: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        check(ActionSettings(), a_request())
    assert "Cosmos-Predict2-2B-Sample-Action-Conditioned: model-480p-4fps.pt" in str(caught.value)
    assert "tokenizer/tokenizer.pth" in str(caught.value)
    assert "google-t5" not in str(caught.value)


def test_an_array_of_fifty_tebibytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "actions.npy"
    rows = (50 << 40) // 56
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (rows, 7)})
        begin = file.tell()
    code = (
        "import resource, sys; from pathlib import Path; from cosmos_cli.errors import InputError\n"
        "from cosmos_plugins.predict2.action.actions import read_actions; import numpy\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))\n"
        "try: read_actions(Path(sys.argv[1]))\n"
        "except InputError: print('refused')\n"
    )
    # as a header alone, and as a file with holes where the disk allows one of that size
    for num_bytes in (begin + 56, begin + (1 << 42)):
        os.truncate(path, num_bytes)
        run = [sys.executable, "-c", code, str(path)]
        said = subprocess.run(run, capture_output=True, text=True, timeout=60)
        assert said.stdout == "refused\n", said.stderr


def test_several_arrays_and_python_objects_are_no_actions(tmp_path: Path) -> None:
    path = tmp_path / "actions.npy"
    with path.open("wb") as file:
        np.savez(file, a=np.zeros((2, 7)))
    with pytest.raises(InputError, match="several arrays"):
        read_actions(path)
    np.save(path, np.array([[{}] * 7], object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array"):
        read_actions(path)
    np.save(path, np.zeros((2**21, 7)))
    with pytest.raises(InputError, match="at most 67,108,864 can be read"):
        read_actions(path)
