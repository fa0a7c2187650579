"""Weight maps out of segmented clips of a robot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.requests import validate
from cosmos_plugins.transfer1 import inputs
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.robot_maps import RobotColours, read_colours
from cosmos_plugins.transfer1.robot_weights import RobotWeightsReport, RobotWeightsRequest, make_weights
from cosmos_plugins.transfer1.spec import read_spec
from tests.clips import encode, moving_gradient

HEIGHT, WIDTH, NUM_FRAMES = 72, 96, 9
CLASSES = {(200, 30, 30): "gripper0_palm", (220, 60, 60): "robot0_arm", (20, 30, 200): "table", (0, 0, 0): "wall"}
CONTROLS = ("depth", "vis", "edge", "seg")


def segmented() -> tuple[np.ndarray, np.ndarray]:
    """Frames in the colours of the classes, a robot moving over a table, and where it is."""
    frames = np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 40:] = (20, 30, 200)
    is_robot = np.zeros(frames.shape[:3], bool)
    for i in range(NUM_FRAMES):
        frames[i, 16:48, 4 * i : 4 * i + 16] = (200, 30, 30)
        frames[i, 16:48, 4 * i + 16 : 4 * i + 32] = (220, 60, 60)
        is_robot[i, 16:48, 4 * i : 4 * i + 32] = True
    return frames, is_robot


def write_labels(path: Path, classes: dict[tuple[int, int, int], str]) -> None:
    path.write_text(json.dumps({str((*colour, 255)): {"class": name} for colour, name in classes.items()}))


def make_example(folder: Path, *, pictures: bool = True, first: int = 16) -> np.ndarray:
    """An example as a simulator writes it; returns where the robot is."""
    frames, is_robot = segmented()
    (folder / "segmentation_label").mkdir(parents=True)
    encode(folder / "input_video.mp4", moving_gradient(NUM_FRAMES, HEIGHT, WIDTH))
    encode(folder / "segmentation.mp4", frames)
    for i, frame in enumerate(frames, start=first):
        # each file names what is in view, so only all of them together know all colours
        named = dict(list(CLASSES.items())[i % 2 :: 2])
        write_labels(folder / "segmentation_label" / f"labels_{i:06d}.json", named)
        if pictures:
            write_png(folder / "segmentation" / f"semantic_{i:06d}.png", frame)
    return is_robot


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: torch.load(folder / f"{name}_weights.pt", weights_only=True) for name in CONTROLS}


def run(tmp_path: Path, **fields: Any) -> RobotWeightsReport:
    return make_weights(RobotWeightsRequest(input_dir=tmp_path / "in", output_dir=tmp_path / "out", **fields))


@pytest.mark.parametrize(
    ("setting", "on_robot"),
    [
        ("fg_vis_edge_bg_seg", {"vis", "edge"}),
        ("setting1", {"vis", "edge"}),
        ("fg_edge_bg_seg", {"edge"}),
        ("setting2", {"edge"}),
    ],
)
def test_every_setting_weighs_the_robot_and_the_scene_as_its_name_says(
    tmp_path: Path, setting: str, on_robot: set[str]
) -> None:
    is_robot = torch.from_numpy(make_example(tmp_path / "in" / "a"))
    report = run(tmp_path, setting=setting)
    assert report.exit_code == 0
    for name, weights in weights_of(tmp_path / "out" / "a").items():
        assert weights.dtype == torch.float16
        expected = is_robot if name in on_robot else ~is_robot if name == "seg" else torch.zeros_like(is_robot)
        assert torch.equal(weights, expected.half()), name


def test_without_pictures_the_video_shows_where_the_robot_is(tmp_path: Path) -> None:
    is_robot = make_example(tmp_path / "in" / "a", pictures=False)
    run(tmp_path)
    found = weights_of(tmp_path / "out" / "a")["edge"].bool().numpy()
    assert found.shape == is_robot.shape
    assert (found == is_robot).mean() > 0.98  # chroma is stored at half resolution
    assert (found & is_robot).sum() > 0.95 * is_robot.sum()


def test_the_specification_can_be_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_example(tmp_path / "in" / "a")
    [outcome] = run(tmp_path).outcomes
    assert outcome.spec == str(tmp_path / "out" / "a" / "spec.json")
    monkeypatch.chdir(tmp_path / "in")
    values = read_spec(Path(outcome.spec))
    assert list(values["controls"]) == ["depth", "vis", "edge", "seg"]
    [request] = validate([TransferRequest], {**values, "video_save_folder": tmp_path})
    assert isinstance(request, TransferRequest)
    sample = inputs.check(TransferSettings(model_size="tiny"), request)()
    assert sample.num_frames == NUM_FRAMES
    assert sample.frames_FHWC is not None
    assert [control.name for control in sample.controls] == ["vis", "edge", "seg"]
    for control in sample.controls:
        assert isinstance(control.weight, np.ndarray)
        assert control.weight.shape == (NUM_FRAMES, HEIGHT, WIDTH)
    assert np.array_equal(sample.controls[0].weight + sample.controls[2].weight, np.ones((NUM_FRAMES, HEIGHT, WIDTH)))


def test_the_picture_shows_the_clip_and_all_maps(tmp_path: Path) -> None:
    make_example(tmp_path / "in" / "a")
    run(tmp_path)
    sheet = read_image(tmp_path / "out" / "a" / "weights.png")
    assert sheet.shape[0] > 6 * HEIGHT
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == sorted(
        [*(f"{name}_weights.pt" for name in CONTROLS), "spec.json", "weights.png"]
    )


def test_a_broken_example_is_named_and_the_others_are_made(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        make_example(tmp_path / "in" / name)
    (tmp_path / "in" / "b" / "segmentation_label" / "labels_000018.json").write_text("{")
    (tmp_path / "in" / "c" / "input_video.mp4").unlink()
    (tmp_path / "in" / "d" / "segmentation" / "semantic_000017.png").write_bytes(b"no picture")
    write_png(tmp_path / "in" / "e" / "segmentation" / "semantic_000020.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "in" / ".hidden").mkdir()
    report = run(tmp_path)
    assert report.exit_code == 1
    assert [outcome.status for outcome in report.outcomes] == ["ok", *["failed"] * 4, "ok"]
    errors = [outcome.error for outcome in report.outcomes]
    assert "labels_000018.json" in errors[1]
    assert "misses input_video.mp4" in errors[2]
    assert "semantic_000017.png" in errors[3]
    assert "different sizes" in errors[4]
    document = report.document()
    assert (document["status"], document["exit_code"], len(document["examples"])) == ("failed", 1, 6)
    assert "b  failed: " in report.summary()
    assert not (tmp_path / "out" / "b").exists()


def test_maps_of_another_setting_are_never_taken_for_these(tmp_path: Path) -> None:
    make_example(tmp_path / "in" / "a")
    run(tmp_path)
    again = run(tmp_path, setting="setting2")
    assert again.exit_code == 1
    assert "depth_weights.pt exists already" in again.outcomes[0].error
    assert weights_of(tmp_path / "out" / "a")["vis"].any()
    assert run(tmp_path, setting="setting2", overwrite=True).exit_code == 0
    assert not weights_of(tmp_path / "out" / "a")["vis"].any()


def test_only_frames_with_picture_and_labels_count_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    is_robot = make_example(tmp_path / "in" / "a", first=8)  # 8 ... 16: the order is that of numbers
    (tmp_path / "in" / "a" / "segmentation" / "semantic_000012.png").unlink()
    with output.recording():
        run(tmp_path)
        notices = output.notices()
    found = weights_of(tmp_path / "out" / "a")["edge"].bool().numpy()
    assert np.array_equal(found, np.delete(is_robot, 4, axis=0))
    assert any("1 pictures or label files lack their counterpart" in notice for notice in notices)
    assert any("9 frames and the segmentation 8" in notice for notice in notices)


def test_a_pixel_has_the_class_of_the_nearest_colour() -> None:
    generator = np.random.default_rng(0)
    table = {
        tuple(int(c) for c in colour): bool(i % 3 == 0)
        for i, colour in enumerate(generator.integers(256, size=(40, 3)))
    }
    colours = RobotColours(table)  # type: ignore[arg-type]
    for _ in range(2):  # the second time from what is remembered
        image = generator.integers(256, size=(30, 40, 3)).astype(np.uint8)
        distances = np.linalg.norm(image[:, :, None].astype(float) - np.array(list(table), float), axis=-1)
        expected = np.array(list(table.values()))[distances.argmin(-1)]
        assert np.array_equal(colours(image), expected)
    halfway = np.array([[[30, 0, 0]]], np.uint8)
    assert RobotColours({(29, 0, 0): True, (31, 0, 0): False})(halfway).all()
    assert not RobotColours({(31, 0, 0): False, (29, 0, 0): True})(halfway).any()


def test_of_two_names_for_one_colour_the_later_file_wins(tmp_path: Path) -> None:
    write_labels(tmp_path / "a_1.json", {(1, 2, 3): "robot", (4, 5, 6): "table"})
    write_labels(tmp_path / "a_2.json", {(1, 2, 3): "table", (4, 5, 6): "gripper"})
    paths = [tmp_path / "a_1.json", tmp_path / "a_2.json"]
    assert read_colours(paths, ["robot", "gripper"]) == {(1, 2, 3): False, (4, 5, 6): True}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must hold one JSON object"),
        ('{"(1, 2)": {"class": "robot"}}', "has the entry"),
        ('{"(1, 2, 300, 0)": {"class": "robot"}}', "from 0 to 255"),
        ('{"(1, 2, 3, 255)": "robot"}', "has the entry"),
        ('{"(1, 2, 3, 255)": {"class": "table"}}', "no class holds one of the words robot; there are: table"),
        ("{}", "none at all"),
        (json.dumps({f"({'9' * 5000}, 2, 3)": {"class": "robot"}}), "has the entry"),
        (
            json.dumps({f"({n % 256}, {n // 256}, 3)": {"class": "robot"} for n in range(5000)}),
            "more than 4,096 colours",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a_1.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_colours([path], ["robot"])
    assert str(tmp_path) in str(caught.value)


def test_keywords_come_as_text_or_as_a_list(tmp_path: Path) -> None:
    for given in ("arm hand", "arm,hand", "arm, hand", ["arm", "hand"]):
        [request] = validate([RobotWeightsRequest], {"input_dir": "x", "robot_keywords": given})
        assert request.robot_keywords == ("arm", "hand")  # type: ignore[attr-defined]
    for wrong in ("", " ", [], ["arm", ""], 3):
        with pytest.raises(InputError, match="robot_keywords"):
            validate([RobotWeightsRequest], {"input_dir": "x", "robot_keywords": wrong})


def test_a_folder_without_examples_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        run(tmp_path)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no folders"):
        run(tmp_path)
    make_example(tmp_path / "in", pictures=False)
    with pytest.raises(InputError, match="is an example itself"):
        run(tmp_path)
