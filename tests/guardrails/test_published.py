"""All guardrails out of one checkpoint folder in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.guardrails.choice import load_guardrails
from cosmos_cli.guardrails.published import (
    CONTENT_CLASSIFIER,
    FACE_DETECTOR,
    IMAGE_ENCODER,
    LISTS,
    LLAMA_GUARD,
    text_guardrails,
    video_guardrails,
)
from cosmos_cli.settings import MachineSettings
from tests.guardrails.plugins import Install, installing
from tests.guardrails.stand_ins import (
    random_retinaface,
    write_classifier,
    write_lists,
    write_llama_guard,
    write_retinaface,
    write_siglip,
)

CPU = torch.device("cpu")
LENIENT: Any = {"device": CPU, "min_safe_share": 0.0, "safe_classes": ("safe",)}

guardrail = pytest.fixture(installing)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_lists(folder / LISTS)
    write_llama_guard(folder / LLAMA_GUARD, "unsafe\nS14")
    write_siglip(folder / IMAGE_ENCODER)
    write_classifier(folder / CONTENT_CLASSIFIER)
    write_retinaface(folder / FACE_DETECTOR, random_retinaface())
    return folder


def test_prompts_meet_the_blocklist_first_and_then_llama_guard(checkpoints: Path) -> None:
    checks = Guardrails(text_guardrails(checkpoints, device=CPU, offload=False))
    assert checks.names == ["blocklist", "llama-guard"]
    with pytest.raises(GuardrailBlocked, match="guardrail blocklist"):
        checks.check_prompt("a grob")
    with pytest.raises(GuardrailBlocked, match="guardrail llama-guard: unsafe: Code Interpreter Abuse"):
        checks.check_prompt("a robot")


def test_videos_meet_the_content_filter_and_then_the_face_blur(checkpoints: Path) -> None:
    checks = Guardrails(video_guardrails(checkpoints, offload=True, **LENIENT))
    assert checks.names == ["video-content", "face-blur"]
    assert checks.check_video(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 64, 64, 3)


def published_guardrails(checkpoints: Path) -> Guardrails:
    settings = MachineSettings(checkpoint_dir=checkpoints)
    return load_guardrails(checkpoints, settings, is_published=True, offload=True, **LENIENT)


def test_a_run_has_all_of_them_and_after_them_those_of_plugins(checkpoints: Path, guardrail: Install) -> None:
    guardrail("face-blur", on_video="return None")
    checks = published_guardrails(checkpoints)
    assert checks.names == ["blocklist", "llama-guard", "video-content", "face-blur", "face-blur of a plugin"]
    assert checks.gap == ""
    with pytest.raises(GuardrailBlocked, match="guardrail face-blur of a plugin: returned no video"):
        checks.check_video(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(CheckpointError):
        published_guardrails(checkpoints / "empty").load()


def test_the_image_encoder_may_lie_where_the_original_caches_it(checkpoints: Path) -> None:
    cache = (checkpoints / CONTENT_CLASSIFIER).parent / f"models--{IMAGE_ENCODER.replace('/', '--')}" / "snapshots"
    cache.mkdir(parents=True)
    plain = (checkpoints / IMAGE_ENCODER).rename(cache / "0123abc")
    try:
        assert len(video_guardrails(checkpoints, offload=True, **LENIENT)) == 2
    finally:
        plain.rename(checkpoints / IMAGE_ENCODER)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        text_guardrails(tmp_path, device=CPU, offload=False)
    assert [problem.where for problem in raised.value.problems] == [
        str(tmp_path / LISTS / "custom"),
        str(tmp_path / LLAMA_GUARD / "config.json"),
    ]
    names = f"nvidia/Cosmos-Guardrail1 {LLAMA_GUARD}"
    assert [problem.fix for problem in raised.value.problems] == [
        None,
        f"cosmos download {names} --checkpoint-dir {tmp_path}",
    ]
    with pytest.raises(CheckpointError) as raised:
        video_guardrails(tmp_path, offload=False, **LENIENT)
    assert [problem.where for problem in raised.value.problems] == [
        str(tmp_path / IMAGE_ENCODER / "config.json"),
        str(tmp_path / CONTENT_CLASSIFIER),
        str(tmp_path / FACE_DETECTOR),
    ]
