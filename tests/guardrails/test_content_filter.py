"""Every frame is classified; too many that are not safe refuse the video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import SiglipModel
from transformers.models.siglip import SiglipImageProcessorPil

from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.generation.settings import GenerationSettings
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.content_filter import FrameClassifier, VideoContentFilter, to_pixels
from cosmos_plugins.predict2.action.requests import ActionSettings
from cosmos_plugins.predict2.multiview.requests import MultiviewSettings
from cosmos_plugins.predict2.text2image.requests import Text2ImageSettings
from cosmos_plugins.predict2.video2world.requests import Video2WorldSettings
from cosmos_plugins.transfer1.multiview import requests as transfer_multiview
from cosmos_plugins.transfer1.requests import TransferSettings
from tests.clips import moving_gradient
from tests.guardrails.stand_ins import write_classifier, write_siglip

VIOLENCE, DRUGS = 2, 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_siglip(tmp_path_factory.mktemp("siglip"))


def white_and_black(num_white: int, num_black: int) -> np.ndarray:
    return np.concatenate([np.full((num_white, 24, 40, 3), 255, np.uint8), np.zeros((num_black, 24, 40, 3), np.uint8)])


def features(encoder: Path, frames_FHWC: np.ndarray) -> Tensor:
    """Image features as the original computes them: the whole model, its own preprocessing, one frame at a time."""
    model = SiglipModel.from_pretrained(encoder).eval()
    processor = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    with torch.inference_mode():
        found = [
            model.get_image_features(**processor(images=[frame_HWC], return_tensors="pt")) for frame_HWC in frames_FHWC
        ]
    return torch.cat([getattr(found_1D, "pooler_output", found_1D) for found_1D in found])


def classifier_for(encoder: Path, path: Path, unsafe_class: int) -> Path:
    """Weights that call white frames safe and black frames `unsafe_class`."""
    white_D, black_D = torch.nn.functional.normalize(features(encoder, white_and_black(1, 1)), dim=-1)
    difference_D = (black_D - white_D) / (black_D - white_D).square().sum()
    state = {key: torch.zeros_like(value) for key, value in FrameClassifier(32).state_dict().items()}
    for norm in (1, 4):
        state[f"layers.{norm}.weight"].fill_(1.0)
        state[f"layers.{norm}.running_var"].fill_(1.0)
    state["layers.0.weight"][0] = difference_D  # 0 for white, 1 for black
    state["layers.0.bias"][0] = -white_D @ difference_D
    state["layers.3.weight"][0, 0] = 1.0
    state["layers.6.weight"][unsafe_class, 0] = 20.0
    state["layers.6.bias"][:2] = torch.tensor([10.0, -10.0])
    return write_classifier(path, state)


def build(
    encoder: Path, classifier: Path, min_safe_share: float = 0.95, safe_classes: tuple[str, ...] = ("safe",)
) -> Guardrails:
    check = VideoContentFilter(
        encoder,
        classifier,
        min_safe_share=min_safe_share,
        safe_classes=safe_classes,
        device=torch.device("cpu"),
        offload=False,
    )
    return Guardrails({"video-content": check})


def test_frames_are_seen_as_by_the_published_preprocessing() -> None:
    frames_FHWC = moving_gradient(2, 50, 90)
    processor = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    expected_FCHW = processor(images=list(frames_FHWC), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(to_pixels(frames_FHWC, 16), expected_FCHW, atol=1e-6, rtol=0)


def test_the_classes_are_those_of_the_original_computation(encoder: Path, tmp_path: Path) -> None:
    frames_FHWC = moving_gradient(11, 30, 40)  # more than fit at a time
    torch.manual_seed(0)
    state = FrameClassifier(32).state_dict()
    for key, value in state.items():
        if "running" in key:
            value.uniform_(0.01, 0.05)
    check = VideoContentFilter(
        encoder,
        write_classifier(tmp_path / "f.pt", state),
        min_safe_share=0,
        safe_classes=("safe",),
        device=torch.device("cpu"),
        offload=True,
    )
    original = torch.nn.Sequential(
        *(torch.nn.Linear(32, 512), torch.nn.BatchNorm1d(512), torch.nn.ReLU()),
        *(torch.nn.Linear(512, 256), torch.nn.BatchNorm1d(256), torch.nn.ReLU(), torch.nn.Linear(256, 7)),
    ).eval()
    original.load_state_dict({key.removeprefix("layers."): value for key, value in state.items()}, strict=False)
    with torch.inference_mode():
        ours_FK = torch.cat(list(check._probabilities(frames_FHWC, torch.device("cpu"))))
        features_FD = features(encoder, frames_FHWC)
        theirs_FK = original(features_FD / features_FD.norm(dim=-1, keepdim=True)).softmax(dim=-1)
    torch.testing.assert_close(ours_FK, theirs_FK, atol=1e-5, rtol=0)


def test_a_refusal_names_frames_class_and_score(encoder: Path, tmp_path: Path) -> None:
    checks = build(encoder, classifier_for(encoder, tmp_path / "safety_filter.pt", DRUGS))
    reason = r"2 of 10 frames are not safe: frames 8-9 drugs \(score 1.00\)"
    with pytest.raises(GuardrailBlocked, match=reason) as raised:
        checks.check_video(white_and_black(8, 2))
    assert raised.value.problems[0].where == "guardrail video-content"


def test_one_unsafe_frame_in_twenty_passes_unless_all_must_be_safe(encoder: Path, tmp_path: Path) -> None:
    classifier = classifier_for(encoder, tmp_path / "safety_filter.pt", DRUGS)
    video_FHWC = white_and_black(19, 1)
    assert build(encoder, classifier).check_video(video_FHWC) is video_FHWC
    with pytest.raises(GuardrailBlocked, match="frames 19 drugs"):
        build(encoder, classifier, min_safe_share=1.0).check_video(video_FHWC)


def of_settings(settings: type[GenerationSettings]) -> tuple[float, tuple[str, ...]]:
    return settings.min_safe_share, settings.safe_classes


def test_violence_blocks_in_predict2_and_passes_in_transfer_as_in_their_originals(
    encoder: Path, tmp_path: Path
) -> None:
    classifier = classifier_for(encoder, tmp_path / "safety_filter.pt", VIOLENCE)
    video_FHWC = white_and_black(2, 3)[[2, 3, 0, 1, 4]]
    for settings in (Video2WorldSettings, Text2ImageSettings, MultiviewSettings, ActionSettings):
        reason = r"3 of 5 frames are not safe: frames 0-1, 4 violence \(score 1.00\)"
        with pytest.raises(GuardrailBlocked, match=reason):
            build(encoder, classifier, *of_settings(settings)).check_video(video_FHWC)
    for of_transfer in (TransferSettings, transfer_multiview.MultiviewSettings):
        assert build(encoder, classifier, *of_settings(of_transfer)).check_video(video_FHWC) is video_FHWC


def test_transfer_counts_violence_as_safe_and_nothing_else(encoder: Path, tmp_path: Path) -> None:
    drugs = classifier_for(encoder, tmp_path / "safety_filter.pt", DRUGS)
    with pytest.raises(GuardrailBlocked, match="frames 2-4 drugs"):
        build(encoder, drugs, *of_settings(TransferSettings)).check_video(white_and_black(2, 3))


def test_a_class_that_is_none_is_no_safe_one(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="peace"):
        build(encoder, write_classifier(tmp_path / "safety_filter.pt"), safe_classes=("safe", "peace"))


def test_a_video_without_frames_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(GuardrailBlocked, match="no frames"):
        build(encoder, write_classifier(tmp_path / "safety_filter.pt")).check_video(white_and_black(0, 0))


def test_a_classifier_that_gives_no_numbers_blocks(encoder: Path, tmp_path: Path) -> None:
    state = FrameClassifier(32).state_dict()
    state["layers.6.bias"][0] = float("nan")
    with pytest.raises(GuardrailBlocked, match=r"guardrail video-content.*no finite numbers"):
        build(encoder, write_classifier(tmp_path / "safety_filter.pt", state)).check_video(white_and_black(1, 0))


def test_a_classifier_for_another_encoder_is_refused(encoder: Path, tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "safety_filter.pt", FrameClassifier(48).state_dict())
    with pytest.raises(CheckpointError, match=r"layers\.0\.weight"):
        build(encoder, path)
