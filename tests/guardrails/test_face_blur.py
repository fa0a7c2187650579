"""Faces become a mosaic, everything else stays as it is, and the detector computes what the published one does."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import ResNetBackbone, ResNetConfig

from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.guardrails import Guardrails, face_blur
from cosmos_cli.guardrails.face_blur import FaceBlur, select
from cosmos_cli.guardrails.retinaface import MEAN_BGR, RetinaFace, decode, priors, suppress
from cosmos_cli.media.video import read_video, write_video
from tests.clips import moving_gradient
from tests.guardrails.stand_ins import detector_of_faces_everywhere, random_retinaface, write_retinaface

FACE_PX = 64
HEIGHT, WIDTH = 128, 192


def paste_face(frame_HWC: np.ndarray, left: int, top: int) -> None:
    """A drawn face in a box of `FACE_PX`."""
    face_HWC = np.full((FACE_PX, FACE_PX, 3), (224, 172, 140), np.uint8)
    for eye in (20, 44):
        cv2.circle(face_HWC, (eye, 24), 6, (20, 20, 60), -1)
    cv2.ellipse(face_HWC, (32, 46), (14, 6), 0, 0, 360, (180, 30, 40), -1)
    frame_HWC[top : top + FACE_PX, left : left + FACE_PX] = face_HWC


def clip_with_face(places: list[tuple[int, int]]) -> np.ndarray:
    """A frame for each place (left, top) of the face."""
    frames_FHWC = moving_gradient(len(places), HEIGHT, WIDTH)
    for frame_HWC, place in zip(frames_FHWC, places, strict=True):
        paste_face(frame_HWC, *place)
    return frames_FHWC


def train(network: RetinaFace) -> None:
    """Fit the last layer, by least squares on random features, to find the drawn face with the prior of its size."""
    for head in network.ClassHead:
        head.conv1x1.weight.zero_()
        head.conv1x1.bias.copy_(torch.tensor([5.0, -5.0, 5.0, -5.0]))
    for head in network.BboxHead:
        head.conv1x1.weight.zero_()
        head.conv1x1.bias.zero_()

    centres = [(16 * x + 8, 16 * y + 8) for y in range(2, 6) for x in range(2, 10)]
    frames_FHWC = clip_with_face([(x - 32, y - 32) for x, y in centres])
    features: list[Tensor] = []
    hook = network.ssh2.register_forward_hook(lambda module, inputs, output: features.append(output))
    for i in range(0, len(frames_FHWC), 8):
        bgr_FHWC = torch.from_numpy(frames_FHWC[i : i + 8]).float().flip(-1) - torch.tensor(MEAN_BGR)
        network(bgr_FHWC.permute(0, 3, 1, 2))
    hook.remove()
    features_FHWD = torch.cat(features).permute(0, 2, 3, 1)
    wanted_FHW = torch.full(features_FHWD.shape[:3], -1.0)
    for frame, (x, y) in enumerate(centres):
        wanted_FHW[frame, y // 16, x // 16] = 1.0
    inputs_ND = torch.cat([features_FHWD.flatten(0, 2), torch.ones(wanted_FHW.numel(), 1)], dim=1).double()
    wanted_N1 = wanted_FHW.double().flatten()[:, None]
    importance_N1 = torch.where(wanted_N1 > 0, 80.0, 1.0)  # one place in about a hundred has the face
    ridge = 1e-4 * inputs_ND.square().mean() * torch.eye(inputs_ND.shape[1])
    solution_D1 = torch.linalg.solve(
        inputs_ND.T @ (importance_N1 * inputs_ND) + ridge, inputs_ND.T @ (importance_N1 * wanted_N1)
    )
    head = network.ClassHead[1].conv1x1
    head.weight[1, :, 0, 0] = 6 * solution_D1[:-1, 0]
    head.bias[:2] = torch.tensor([0.0, 6 * solution_D1[-1, 0]])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = random_retinaface()
    with torch.no_grad():
        train(network)
    return write_retinaface(tmp_path_factory.mktemp("detector") / "Resnet50_Final.pth", network)


@pytest.fixture(scope="module")
def blur(detector: Path) -> FaceBlur:
    return FaceBlur(detector, device=torch.device("cpu"), offload=False)


PLACES = [(8, 24), (24, 24), (56, 24), (88, 40), (120, 8), (104, 56)]


def test_a_face_becomes_a_mosaic_and_the_rest_of_the_frame_is_untouched(blur: FaceBlur) -> None:
    frames_FHWC = clip_with_face(PLACES)
    given_FHWC = frames_FHWC.copy()
    checked_FHWC = Guardrails({"face-blur": blur}).check_video(frames_FHWC)

    assert (frames_FHWC == given_FHWC).all()  # what was given is not written to
    for before_HWC, after_HWC, (left, top) in zip(frames_FHWC, checked_FHWC, PLACES, strict=True):
        changed_HW = (before_HWC != after_HWC).any(axis=-1)
        eyes_HW = changed_HW[top + 18 : top + 30, left + 14 : left + 50]
        assert eyes_HW.mean() > 0.4
        # the box is computed in float32 and cut off: it may begin a pixel early
        changed_HW[top - 1 : top + FACE_PX, left - 1 : left + FACE_PX] = False
        assert not changed_HW.any()
        face_HWC = after_HWC[top : top + FACE_PX - 1, left : left + FACE_PX - 1]
        assert len(np.unique(face_HWC.reshape(-1, 3), axis=0)) <= face_blur.MOSAIC**2


def test_in_the_files_of_a_run_only_the_face_differs(blur: FaceBlur) -> None:
    frames_FHWC = clip_with_face(PLACES)
    write_video(Path("given.mp4"), frames_FHWC, fps=10)
    given_FHWC = read_video(Path("given.mp4")).frames_FHWC
    checked_FHWC = Guardrails({"face-blur": blur}).check_video(given_FHWC)
    write_video(Path("checked.mp4"), checked_FHWC, fps=10)
    written_FHWC = read_video(Path("checked.mp4")).frames_FHWC.astype(float)

    outside_FHW = (checked_FHWC == given_FHWC).all(axis=-1)
    loss_FHW = np.abs(written_FHWC - checked_FHWC).mean(axis=-1)
    for frame, (left, top) in enumerate(PLACES):
        away_HW = np.ones((HEIGHT, WIDTH), bool)
        away_HW[top - 1 : top + FACE_PX, left - 1 : left + FACE_PX] = False
        assert outside_FHW[frame][away_HW].all()  # lossy files do not hide the face from the detector, nor show others
        assert loss_FHW[frame][away_HW].mean() < 2
        edges = np.linspace(0, FACE_PX, face_blur.MOSAIC + 1).astype(int)
        face_HWC = written_FHWC[frame, top : top + FACE_PX, left : left + FACE_PX]
        tiles = [face_HWC[a + 3 : b - 3, c + 3 : d - 3] for a, b in pairwise(edges) for c, d in pairwise(edges)]
        assert np.mean([tile.std(axis=(0, 1)) for tile in tiles]) < 2


def test_a_clip_without_a_face_stays_as_it_is(blur: FaceBlur) -> None:
    frames_FHWC = moving_gradient(3, HEIGHT, WIDTH)
    assert (blur.check_video(frames_FHWC) == frames_FHWC).all()


def test_frames_are_looked_at_independently_of_each_other(blur: FaceBlur, monkeypatch: pytest.MonkeyPatch) -> None:
    frames_FHWC = clip_with_face(PLACES[:3])
    together_FHWC = blur.check_video(frames_FHWC)
    monkeypatch.setattr(face_blur, "FRAMES_AT_A_TIME", 1)
    assert (blur.check_video(frames_FHWC) == together_FHWC).all()


def test_a_detector_that_gives_no_numbers_blocks(tmp_path: Path) -> None:
    network = random_retinaface()
    network.ClassHead[0].conv1x1.bias.data.fill_(float("nan"))
    path = write_retinaface(tmp_path / "Resnet50_Final.pth", network)
    checks = Guardrails({"face-blur": FaceBlur(path, device=torch.device("cpu"), offload=True)})
    with pytest.raises(GuardrailBlocked, match="no finite numbers") as raised:
        checks.check_video(moving_gradient(1, 64, 64))
    assert raised.value.problems[0].where == "guardrail face-blur"


def test_a_file_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Resnet50_Final.pth"
    torch.save({"module.body.conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(CheckpointError, match="bn1"):
        FaceBlur(path, device=torch.device("cpu"), offload=False)


def test_the_backbone_computes_what_resnet_50_does() -> None:
    ours = random_retinaface().body
    torch.manual_seed(0)
    for name, buffer in ours.named_buffers():
        buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_(std=0.1)
    theirs = ResNetBackbone(ResNetConfig(out_features=["stage2", "stage3", "stage4"])).eval()
    kinds = {"conv": "convolution", "bn": "normalization"}
    renamed = {}
    for key, weight in ours.state_dict().items():
        *place, module, value = key.split(".")
        if not place:
            name = f"embedder.embedder.{kinds[module[:-1]]}"
        elif place[-1] == "downsample":
            name = (
                f"encoder.stages.{int(place[0][-1]) - 1}.layers.{place[1]}.shortcut.{list(kinds.values())[int(module)]}"
            )
        else:
            layer = f"layer.{int(module[-1]) - 1}.{kinds[module[:-1]]}"
            name = f"encoder.stages.{int(place[0][-1]) - 1}.layers.{place[1]}.{layer}"
        renamed[f"{name}.{value}"] = weight
    prefix = "" if "embedder.embedder.convolution.weight" in theirs.state_dict() else "model."
    report = theirs.load_state_dict({f"{prefix}{key}": weight for key, weight in renamed.items()}, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in report.missing_keys)
    assert not report.unexpected_keys

    x_BCHW = torch.randn(2, 3, 50, 70)
    for a, b in zip(ours(x_BCHW), theirs(x_BCHW).feature_maps, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_priors_cover_frames_whose_size_is_no_multiple_of_the_stride() -> None:
    found_P4 = priors(height=40, width=50)
    assert len(found_P4) == 2 * (5 * 7 + 3 * 4 + 2 * 2)
    torch.testing.assert_close(found_P4[0], torch.tensor([4 / 50, 4 / 40, 16 / 50, 16 / 40]))
    torch.testing.assert_close(found_P4[-1], torch.tensor([48 / 50, 48 / 40, 512 / 50, 512 / 40]))
    random_offsets_P4, _ = random_retinaface()(torch.zeros(1, 3, 40, 50))
    assert random_offsets_P4.shape[1] == len(found_P4)


def test_boxes_are_decoded_by_centre_and_size() -> None:
    priors_P4 = torch.tensor([[0.5, 0.4, 0.2, 0.1]])
    box_4 = decode(torch.tensor([[[1.0, -2.0, 5 * math.log(2), 0.0]]]), priors_P4)[0, 0]
    # centre (0.5 + 0.1 * 0.2, 0.4 - 2 * 0.1 * 0.1), size (0.2 * 2, 0.1)
    torch.testing.assert_close(box_4, torch.tensor([0.32, 0.33, 0.72, 0.43]))


def test_of_overlapping_boxes_the_likeliest_stays() -> None:
    # 10 x 10 pixels each; the second shares 7 of 13 columns with the first, the third 5 of 15
    boxes_P4 = np.array([[0, 0, 9, 9], [3, 0, 12, 9], [5, 0, 14, 9], [0, 50, 9, 59]], np.float32)
    assert suppress(boxes_P4, threshold=0.4).tolist() == [0, 2, 3]
    scores_P = np.array([0.8, 0.95, 0.9, 0.7], np.float32)
    assert (select(boxes_P4, scores_P) == boxes_P4[[1]]).all()  # 0.7 itself is not above the threshold
    assert len(select(boxes_P4, np.zeros(4, np.float32))) == 0


def test_a_box_far_larger_than_the_frame_covers_all_of_it(tmp_path: Path) -> None:
    detector = detector_of_faces_everywhere(tmp_path / "Resnet50_Final.pth")
    checked_FHWC = FaceBlur(detector, device=torch.device("cpu"), offload=False).check_video(moving_gradient(1, 64, 64))
    assert len(np.unique(checked_FHWC.reshape(-1, 3), axis=0)) <= 25


def test_boxes_are_cut_at_the_border_and_small_ones_left() -> None:
    frame_HWC = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    before_HWC = frame_HWC.copy()
    for box in [(30, 30, 49, 59), (-90, -90, -10, -10), (70, 70, 170, 170)]:
        face_blur._blur(frame_HWC, *box)
    assert (frame_HWC == before_HWC).all()
    face_blur._blur(frame_HWC, -10, 40, 30, 400)
    assert len(np.unique(frame_HWC[40:, :30].reshape(-1, 3), axis=0)) <= 25
    frame_HWC[40:, :30] = before_HWC[40:, :30]
    assert (frame_HWC == before_HWC).all()
