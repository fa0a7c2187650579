"""Models that annotate videos, as they come from disk: the tiny ones that ship with the package."""

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import DepthAnythingForDepthEstimation, Sam2VideoInferenceSession, Sam2VideoModel

from cosmos_cli.errors import CheckpointError, CosmosError, InputError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_plugins.transfer1.controls import tiny_annotators
from cosmos_plugins.transfer1.controls.depth import DepthEstimator
from cosmos_plugins.transfer1.controls.detector import ObjectDetector
from cosmos_plugins.transfer1.controls.objects import FoundObject, ObjectFinder, union
from cosmos_plugins.transfer1.controls.painting import paint, random_colours
from cosmos_plugins.transfer1.controls.skeleton import NETWORKS, OPENPOSE, SkeletonEstimator, draw
from cosmos_plugins.transfer1.controls.tracker import ObjectTracker
from tests.clips import moving_gradient

CPU = torch.device("cpu")
FLOAT = torch.float32
DEPTH, DETECTOR, TRACKER = (
    TINY_ROOT / name for name in (tiny_annotators.DEPTH, tiny_annotators.DETECTOR, tiny_annotators.TRACKER)
)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def scene(num_frames: int, height: int = 72, width: int = 96) -> np.ndarray:
    """A bright disc that crosses a smooth, coloured background."""
    colours = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    background = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([background] * num_frames)
    for i, frame in enumerate(frames):
        cv2.circle(frame, (width // 4 + i, height // 2), height // 6, (250, 240, 60), cv2.FILLED)
    return frames


def altered(folder: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """A copy of a model, its weights changed in place and kept in float32."""
    shutil.copytree(folder, copy)
    weights = {name: weight.float() for name, weight in load_file(copy / "model.safetensors").items()}
    change(weights)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def pillow_pixels(frame: np.ndarray, height: int, width: int) -> torch.Tensor:
    resized = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return ((torch.from_numpy(np.array(resized)) / 255 - MEAN) / STD).permute(2, 0, 1)


def test_depth_is_that_of_the_network_brought_to_the_range_of_the_whole_video() -> None:
    frames = np.concatenate([scene(1), moving_gradient(4, 72, 96)])
    calls: list[None] = []
    depth = DepthEstimator(DEPTH, device=CPU, dtype=FLOAT).estimate(frames, lambda: calls.append(None))

    network = DepthAnythingForDepthEstimation.from_pretrained(DEPTH, dtype=FLOAT).eval()
    with torch.inference_mode():
        # 96 columns are closest to the 112 of the configuration, and 84 rows to 10 patches of 8
        inverse = [network(pillow_pixels(frame, 80, 112)[None]).predicted_depth[:, None] for frame in frames]
        sized = torch.cat([F.interpolate(d, (72, 96), mode="bicubic", align_corners=False)[:, 0] for d in inverse])
    expected = (sized - sized.min()) / (sized.max() - sized.min()) * 255

    assert depth.shape == frames.shape
    assert depth.dtype == np.uint8
    assert len(calls) == len(frames)
    np.testing.assert_array_equal(depth[..., 0], depth[..., 1])
    np.testing.assert_array_equal(depth[..., 0], depth[..., 2])
    # truncated, and a rounding of the last bit may cross a whole number
    assert np.abs(depth[..., 0] - np.floor(expected.numpy())).max() <= 1
    assert depth.min() == 0
    assert depth.max() >= 254
    assert min(np.ptp(frame) for frame in depth) < 250  # the frames do not each use the whole range


def test_depth_that_is_no_number_is_an_error() -> None:
    estimator = DepthEstimator(DEPTH, device=CPU, dtype=FLOAT)
    with torch.no_grad():
        for weight in estimator._model.head.parameters():
            weight.fill_(float("nan"))
    with pytest.raises(CosmosError, match="depths that the estimator gives hold numbers that are not finite"):
        estimator.estimate(scene(2))


def test_depth_of_a_frame_does_not_depend_on_its_batch() -> None:
    one, other = moving_gradient(2, 48, 64)
    depth = DepthEstimator(DEPTH, device=CPU, dtype=FLOAT).estimate(np.stack([one, other, one, one, other]))
    assert np.abs(depth[0].astype(int) - depth[3]).max() <= 1
    assert np.abs(depth[1].astype(int) - depth[4]).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_video_of_one_depth_is_black(tmp_path: Path, dtype: torch.dtype) -> None:
    def flatten(weights: dict[str, torch.Tensor]) -> None:
        weights["head.conv3.weight"].zero_()
        weights["head.conv3.bias"].zero_()

    folder = altered(DEPTH, tmp_path / "flat", flatten)
    assert not DepthEstimator(folder, device=CPU, dtype=dtype).estimate(scene(2)).any()


def test_the_detector_finds_a_few_boxes_for_any_prompt_best_first() -> None:
    detector = ObjectDetector(DETECTOR, device=CPU, dtype=FLOAT)
    for prompt in ("robotic arms . woman . cup", "x", "The video shows a modern office. A Robot pours coffee?"):
        for frame in (scene(1)[0], moving_gradient(1, 120, 160)[0]):
            found = detector.detect(frame, prompt)
            assert 1 <= len(found) <= 10
            scores = [detection.score for detection in found]
            assert scores == sorted(scores, reverse=True)
            assert scores[-1] > 0.15
            for left, top, right, bottom in (detection.box_px for detection in found):
                assert left < right
                assert top < bottom
    best = detector.detect(scene(1)[0], "robot . cup")[0]
    assert set(best.label.replace("#", "").replace("[SEP]", "")) & set("robotcup")


def test_what_follows_128_words_is_ignored_and_long_words_do_no_harm() -> None:
    detector, frame = ObjectDetector(DETECTOR, device=CPU, dtype=FLOAT), scene(1)[0]
    words = ["a"] * 127 + ["cup"]
    cut = detector.detect(frame, " ".join([*words, "and", "a", "robot"]))
    assert cut == detector.detect(frame, " ".join(words))
    assert cut != detector.detect(frame, " ".join(words[:-1]))
    assert detector.detect(frame, "constitutionally " * 128)


def shifted_detector(folder: Path, score: float) -> ObjectDetector:
    """A detector whose best score for "cup" on the scene is this one."""
    usual = ObjectDetector(DETECTOR, device=CPU, dtype=FLOAT).detect(scene(1)[0], "cup")[0].score
    step = torch.logit(torch.tensor(score)) - torch.logit(torch.tensor(usual))

    def change(weights: dict[str, torch.Tensor]) -> None:
        bias = weights["model.decoder.layer_norm.bias"]
        bias += step / len(bias)  # the vectors of words add up to their width

    return ObjectDetector(altered(DETECTOR, folder, change), device=CPU, dtype=FLOAT)


def test_when_nothing_is_found_the_detector_looks_once_more_with_lower_thresholds(tmp_path: Path) -> None:
    frame = scene(1)[0]
    scores = [d.score for d in shifted_detector(tmp_path / "unsure", 0.14).detect(frame, "cup")]
    assert scores[0] == pytest.approx(0.14, abs=1e-3)
    assert scores[-1] > 0.1
    assert shifted_detector(tmp_path / "blind", 0.09).detect(frame, "cup") == []


def test_nothing_found_is_no_object_and_an_empty_mask(tmp_path: Path) -> None:
    shifted_detector(tmp_path / "blind", 0.01)
    finder = ObjectFinder(tmp_path / "blind", TRACKER, device=CPU, dtype=FLOAT)
    assert finder.find(scene(3), "cup") == []
    assert not union([], 3, 72, 96).any()


def test_objects_are_followed_through_the_video() -> None:
    frames = scene(6)
    calls: list[None] = []
    finder = ObjectFinder(DETECTOR, TRACKER, device=CPU, dtype=FLOAT)
    found = finder.find(frames, "robot . cup", on_frame=lambda: calls.append(None))
    assert len(calls) == 6
    assert len(found) > 1
    for each in found:
        assert each.masks_FHW.shape == (6, 72, 96)
        assert each.masks_FHW.dtype == bool
        assert 0.01 < each.masks_FHW.mean() < 0.99
        assert each.label
    together = union(found, 6, 72, 96)
    np.testing.assert_array_equal(together, np.any([each.masks_FHW for each in found], axis=0))

    again = ObjectFinder(DETECTOR, TRACKER, device=CPU, dtype=FLOAT).find(frames, "robot . cup")
    for each, same in zip(found, again, strict=True):
        assert (each.label, each.score) == (same.label, same.score)
        np.testing.assert_array_equal(each.masks_FHW, same.masks_FHW)

    [best] = finder.find(frames, "robot . cup", best_only=True)
    assert (best.label, best.score) == (found[0].label, found[0].score)
    assert (best.masks_FHW == found[0].masks_FHW).mean() > 0.99


@pytest.mark.parametrize("num_frames", [3, 22])
def test_the_tracker_forgets_only_what_makes_no_difference(num_frames: int) -> None:
    # 22 frames are more than the network looks back, 3 are fewer than it could
    frames, box = scene(num_frames), (12.0, 20.0, 40.0, 52.0)
    [masks] = ObjectTracker(TRACKER, device=CPU, dtype=FLOAT).track(frames, [box])

    network = Sam2VideoModel.from_pretrained(TRACKER, dtype=FLOAT).eval()
    pixels = torch.stack([pillow_pixels(frame, 64, 64) for frame in frames])
    session = Sam2VideoInferenceSession(video=pixels, video_height=72, video_width=96, dtype=FLOAT)
    corners = torch.tensor([[box[:2], box[2:]]]) * torch.tensor([64 / 96, 64 / 72])
    points = {"point_coords": corners[None], "point_labels": torch.tensor([[[2, 3]]])}
    session.add_point_inputs(session.obj_id_to_idx(0), 0, points)
    session.obj_with_new_inputs.append(0)
    for i, output in enumerate(network.propagate_in_video_iterator(session, start_frame_idx=0)):
        expected = F.interpolate(output.pred_masks, (72, 96), mode="bilinear", align_corners=False)[0, 0] > 0
        assert (masks[i] == expected.numpy()).mean() > 0.999
    assert i == num_frames - 1


def test_reduced_precision_finds_the_same_objects() -> None:
    frames = scene(1)
    [exact] = ObjectFinder(DETECTOR, TRACKER, device=CPU, dtype=FLOAT).find(frames, "cup", best_only=True)
    [rough] = ObjectFinder(DETECTOR, TRACKER, device=CPU, dtype=torch.bfloat16).find(frames, "cup", best_only=True)
    assert rough.score == pytest.approx(exact.score, abs=0.05)
    assert (rough.masks_FHW == exact.masks_FHW).mean() > 0.9


LOADERS: dict[Path, Callable[[Path], Any]] = {
    DEPTH: lambda folder: DepthEstimator(folder, device=CPU, dtype=FLOAT),
    DETECTOR: lambda folder: ObjectDetector(folder, device=CPU, dtype=FLOAT),
    TRACKER: lambda folder: ObjectTracker(folder, device=CPU, dtype=FLOAT),
}


@pytest.mark.parametrize("published", LOADERS, ids=lambda folder: folder.name)
def test_missing_and_damaged_folders_are_named(published: Path, tmp_path: Path) -> None:
    load = LOADERS[published]
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(tmp_path / "nowhere")

    damaged = tmp_path / "damaged"
    shutil.copytree(published, damaged)
    (damaged / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="damaged: cannot be loaded"):
        load(damaged)

    incomplete = altered(published, tmp_path / "incomplete", lambda weights: weights.pop(sorted(weights)[0]))
    with pytest.raises(CheckpointError, match=r"incomplete: lacks \d+ weights"):
        load(incomplete)

    settings = damaged / "preprocessor_config.json"
    if settings.exists():
        shutil.copy(published / "model.safetensors", damaged)
        settings.unlink()
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
            load(damaged)


def test_the_first_release_of_the_tracker_alone_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "sam2_hiera_large.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"sam2_hiera_large\.pt, but not config\.json and model\.safetensors"):
        ObjectTracker(tmp_path, device=CPU, dtype=FLOAT)


def test_the_tiny_annotators_are_the_same_every_time_and_small(tmp_path: Path) -> None:
    for name in ("once", "again"):
        tiny_annotators.make(tmp_path / name)
    for path in (tmp_path / "once").rglob("*.*"):
        relative = path.relative_to(tmp_path / "once")
        assert path.read_bytes() == (tmp_path / "again" / relative).read_bytes()
        assert (TINY_ROOT / relative).exists()
        assert path.stat().st_size < 1_700_000


def test_small_objects_are_painted_over_large_ones() -> None:
    large, small = np.zeros((2, 2, 8, 8), bool)
    large[:, 1:7, 1:7] = True
    small[:, 2:4, 2:4] = True
    first, second = random_colours(2, seed=5)
    for masks in ([large, small], [small, large]):
        picture = paint(masks, seed=5)
        assert tuple(picture[1, 5, 5]) == first
        assert tuple(picture[1, 2, 2]) == second
        assert not picture[:, 0].any()
    assert not np.array_equal(paint([large, small], seed=6), picture)


def test_of_many_objects_the_first_hundred_are_painted() -> None:
    masks = np.eye(130, dtype=bool).reshape(130, 1, 1, 130)
    is_painted = paint(list(masks), seed=0)[0, 0].any(axis=-1)
    assert is_painted.tolist() == [True] * 100 + [False] * 30


def test_unsure_points_of_a_skeleton_are_not_drawn() -> None:
    points = np.full((1, 134, 2), 4.0)
    points[0, 2], points[0, 3] = (10, 20), (30, 20)  # right shoulder and elbow
    scores = np.zeros((1, 134))
    scores[0, 2:4] = 0.6
    canvas = np.zeros((40, 40, 3), np.uint8)
    draw(canvas, points, scores, OPENPOSE)
    assert tuple(canvas[20, 20]) == (255, 170, 0)
    assert not canvas[:10].any()
    scores[0, 3] = 0.59
    canvas[:] = 0
    draw(canvas, points, scores, OPENPOSE)
    assert canvas[20, 10].any()
    assert not canvas[20, 20].any()


def test_without_rtmlib_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(InputError, match=r"pip install 'cosmos-cli\[keypoint\]'"):
        SkeletonEstimator(Path(), CPU)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """The folder of the networks that find people, in archives as they are published, with content of our own."""
    for name in NETWORKS:
        (tmp_path / name).parent.mkdir(parents=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("2023/end2end.onnx", Path(name).stem)
            archive.writestr("2023/detail.json", "{}")
    return tmp_path


class Wholebody:
    """rtmlib's, with networks that it reads as it is built, and one person who is everywhere."""

    def __init__(self, *, det: str, pose: str, device: str, backend: str, **sizes: tuple[int, int]) -> None:
        self.read = [Path(path).read_text() for path in (det, pose)]
        assert sizes == {"det_input_size": (640, 640), "pose_input_size": (288, 384)}
        sys.stdout.write(f"load network {device} {' '.join(self.read)}")

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen = tuple(frame[0, 0])
        return np.tile(np.array([12.0, 9.0]), (1, 133, 1)), np.ones((1, 133))


def test_networks_that_find_people_come_out_of_their_archives_and_from_nowhere_else(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(Wholebody=Wholebody))
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    SkeletonEstimator(people, CPU)
    assert capsys.readouterr().err == f"load network cpu {' '.join(Path(name).stem for name in NETWORKS)}"
    unpacked = (people / NETWORKS[1]).with_suffix(".onnx")
    unpacked.write_text("unpacked")
    SkeletonEstimator(people, CPU)
    assert capsys.readouterr().err.endswith("unpacked")
    archive = people / NETWORKS[0]
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        SkeletonEstimator(people, CPU)
    archive.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        SkeletonEstimator(people, CPU)


def test_rtmlib_gets_frames_as_opencv_has_them_and_keeps_off_stdout(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(Wholebody=Wholebody))
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    estimator = SkeletonEstimator(people, CPU)
    drawn = estimator.estimate(np.full((2, 20, 30, 3), (1, 2, 3), np.uint8))
    assert estimator._people.seen == (3, 2, 1)
    assert drawn.shape == (2, 20, 30, 3)
    assert drawn[:, 9, 12].any()
    assert not drawn[:, 0].any()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "load network cpu" in captured.err


def test_rtmlib_works_on_the_gpu_that_was_asked_for(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[tuple[list[str], list[dict[str, int]]]] = []

    class Session:
        def set_providers(self, names: list[str], options: list[dict[str, int]]) -> None:
            devices.append((names, options))

    class Wholebody:
        def __init__(self, device: str, **_: object) -> None:
            assert device == "cuda"  # it knows no number
            self.det_model = self.pose_model = SimpleNamespace(session=Session())

    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(Wholebody=Wholebody))
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    SkeletonEstimator(people, torch.device("cuda", 0))
    assert not devices
    SkeletonEstimator(people, torch.device("cuda", 1))
    assert devices == [(["CUDAExecutionProvider"], [{"device_id": 1}])] * 2


def test_union_covers_every_object() -> None:
    masks = np.zeros((2, 1, 2, 2), bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 1] = True
    together = union([FoundObject("a", 1.0, masks[0]), FoundObject("b", 1.0, masks[1])], 1, 2, 2)
    assert together.tolist() == [[[True, False], [False, True]]]
