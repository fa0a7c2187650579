"""The folders of helper models as they are published, through the loaders that runs use, at tiny size.

T5 in both of its forms is in tests/models/test_t5.py, Pixtral in Mistral's own layout in
tests/plugins/transfer1/test_upsampler.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Sam2VideoConfig,
    Sam2VideoModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5EncoderModel,
)

from cosmos_cli.checkpoints.catalogue import LLAMA_GUARD, SIGLIP, T5_BFLOAT16, Repository
from cosmos_cli.errors import GuardrailBlocked
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.guardrails.content_filter import VideoContentFilter
from cosmos_cli.guardrails.moderation import LlamaGuard
from cosmos_cli.models import pixtral
from cosmos_cli.models.chat import LocalChatModel, Message, Sampling
from cosmos_plugins.predict2.checkpoints import REASON1
from cosmos_plugins.transfer1.checkpoints import DEPTH_ESTIMATOR, OBJECT_FINDER, UPSAMPLER
from cosmos_plugins.transfer1.controls import tiny_annotators
from cosmos_plugins.transfer1.controls.depth import DepthEstimator
from cosmos_plugins.transfer1.controls.detector import ObjectDetector
from cosmos_plugins.transfer1.controls.tracker import ObjectTracker
from tests import helper_folders
from tests.chat_models import build_qwen
from tests.clips import moving_gradient
from tests.guardrails.stand_ins import write_classifier, write_llama_guard, write_siglip

CPU, FLOAT = torch.device("cpu"), torch.float32
DETECTOR, TRACKER = OBJECT_FINDER
[DEPTH] = DEPTH_ESTIMATOR


def tiny(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_ROOT / name, tmp_path / name))


def without_optional(folder: Path, repository: Repository) -> Path:
    """A copy of the files that the catalogue lists as those every run opens."""
    copy = folder.with_name(f"{folder.name}-alone")
    copy.mkdir()
    for file in repository.files:
        if not file.is_optional:
            shutil.copy(folder / file.path, copy / file.path)
    return copy


def test_depth_anything(tmp_path: Path) -> None:
    frames = moving_gradient(3, 72, 96)
    expected = DepthEstimator(TINY_ROOT / tiny_annotators.DEPTH, device=CPU, dtype=FLOAT).estimate(frames)
    folder = helper_folders.publish_depth_anything(tiny(tiny_annotators.DEPTH, tmp_path))
    for place in (folder, without_optional(folder, DEPTH)):
        found = DepthEstimator(place, device=CPU, dtype=FLOAT).estimate(frames)
        np.testing.assert_array_equal(found, expected)


def test_grounding_dino(tmp_path: Path) -> None:
    [frame], prompt = moving_gradient(1, 72, 96), "a cat . a dog"
    expected = ObjectDetector(TINY_ROOT / tiny_annotators.DETECTOR, device=CPU, dtype=FLOAT).detect(frame, prompt)
    folder = helper_folders.publish_grounding_dino(tiny(tiny_annotators.DETECTOR, tmp_path))
    for place in (folder, without_optional(folder, DETECTOR)):
        assert ObjectDetector(place, device=CPU, dtype=FLOAT).detect(frame, prompt) == expected


def test_sam_2(tmp_path: Path) -> None:
    frames, boxes = moving_gradient(4, 72, 96), [(10.0, 10.0, 60.0, 60.0)]
    expected = ObjectTracker(TINY_ROOT / tiny_annotators.TRACKER, device=CPU, dtype=FLOAT).track(frames, boxes)
    folder = helper_folders.publish_sam2(tiny(tiny_annotators.TRACKER, tmp_path))
    for place in (folder, without_optional(folder, TRACKER)):
        np.testing.assert_array_equal(ObjectTracker(place, device=CPU, dtype=FLOAT).track(frames, boxes), expected)


def test_siglip_of_which_half_is_used(tmp_path: Path) -> None:
    frames = moving_gradient(2, 40, 40)
    plain = write_siglip(tmp_path / "plain")
    folder = helper_folders.publish_siglip(Path(shutil.copytree(plain, tmp_path / "siglip")))
    classifier = write_classifier(tmp_path / "safety_filter.pt")

    def verdict(place: Path) -> str:
        check = VideoContentFilter(
            place, classifier, min_safe_share=1.0, safe_classes=("safe",), device=CPU, offload=False
        )
        try:
            check.check_video(frames)
        except GuardrailBlocked as blocked:
            return str(blocked)
        return "safe"

    expected = verdict(plain)
    assert expected == verdict(folder) == verdict(without_optional(folder, SIGLIP))


@pytest.mark.parametrize("small_files", [True, False])
@pytest.mark.parametrize("answer", ["safe", "unsafe\nS14,S1"])
def test_llama_guard_3(tmp_path: Path, small_files: bool, answer: str) -> None:
    folder = write_llama_guard(tmp_path / "guard", answer)
    helper_folders.publish_llama_guard(folder, small_files=small_files)
    helper_folders.add(folder, "original/consolidated.00.pth", "original/tokenizer.model", "LICENSE")
    check = LlamaGuard(folder, device=CPU, dtype=torch.bfloat16, offload=False)
    if answer == "safe":
        check.check_prompt("A bus.")
        return
    with pytest.raises(GuardrailBlocked, match="Code Interpreter Abuse, Violent Crimes"):
        check.check_prompt("A bus.")


@pytest.mark.parametrize("template", ["chat_template.json", "chat_template.jinja", "tokenizer_config.json"])
def test_reason1(tmp_path: Path, template: str) -> None:
    plain = build_qwen(tmp_path / "plain")
    # what the published precision keeps of the weights
    helper_folders.store(plain, load_file(plain / "model.safetensors"), torch.bfloat16)
    folder = Path(shutil.copytree(plain, tmp_path / "reason1"))
    helper_folders.publish_reason1(folder, template=template)
    (folder / "generation_config.json").unlink()
    (plain / "generation_config.json").unlink()
    messages = [Message("system", ["Be brief."]), Message("user", [moving_gradient(1, 60, 60)[0], "What is it?"])]
    sampling = Sampling(max_new_tokens=12, temperature=0, ascii_only=True)
    answers = [LocalChatModel(place, device=CPU, dtype=FLOAT).answers(messages, sampling) for place in (plain, folder)]
    assert answers[0] == answers[1] != [""]
    model = LocalChatModel(folder, device=CPU, dtype=FLOAT)
    settings: Any = model.network.config.text_config
    assert settings.rope_parameters["mrope_section"] == [2, 3, 3] and settings.rope_parameters["rope_theta"] == 1e6


# The settings that were published, in their spelling, and what holds networks to them: the size of the weights.
T5 = {"d_ff": 65536, "d_kv": 128, "d_model": 1024, "num_heads": 128, "num_layers": 24, "vocab_size": 32128}
SIGLIP_HALF = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27}
LLAMA = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "rope_theta": 500000.0,
}
QWEN = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 112,
        "spatial_patch_size": 14,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "temporal_patch_size": 2,
    },
}
DEPTH_ANYTHING = {
    "backbone": None,
    "backbone_config": {
        "architectures": ["Dinov2Model"],
        "hidden_size": 384,
        "image_size": 518,
        "model_type": "dinov2",
        "num_attention_heads": 6,
        "out_features": ["stage3", "stage6", "stage9", "stage12"],
        "patch_size": 14,
        "out_indices": [3, 6, 9, 12],
        "reshape_hidden_states": False,
        "torch_dtype": "float32",
    },
    "fusion_hidden_size": 64,
    "head_hidden_size": 32,
    "head_in_index": -1,
    "patch_size": 14,
    "neck_hidden_sizes": [48, 96, 192, 384],
    "reassemble_factors": [4, 2, 1, 0.5],
    "reassemble_hidden_size": 384,
}
GROUNDING_DINO = {
    "backbone": None,
    "backbone_config": {
        "model_type": "swin",
        "out_features": ["stage2", "stage3", "stage4"],
        "out_indices": [2, 3, 4],
    },
    "d_model": 256,
    "decoder_ffn_dim": 2048,
    "encoder_ffn_dim": 2048,
    "num_queries": 900,
    "num_feature_levels": 4,
    "text_config": {"model_type": "bert"},
}
SAM2 = {
    "vision_config": {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 144,
            "num_attention_heads": 2,
            "blocks_per_stage": [2, 6, 36, 4],
            "embed_dim_per_stage": [144, 288, 576, 1152],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 16, 8],
            "global_attention_blocks": [23, 33, 43],
        },
        "backbone_channel_list": [1152, 576, 288, 144],
    },
    "enable_occlusion_spatial_embedding": False,
    "enable_temporal_pos_encoding_for_object_pointers": False,
}
PIXTRAL = {
    "dim": 5120,
    "n_layers": 40,
    "head_dim": 128,
    "hidden_dim": 14336,
    "n_heads": 32,
    "n_kv_heads": 8,
    "norm_eps": 1e-05,
    "vocab_size": 131072,
    "rope_theta": 1000000000.0,
    "vision_encoder": {
        "hidden_size": 1024,
        "num_channels": 3,
        "image_size": 1024,
        "patch_size": 16,
        "rope_theta": 10000.0,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_token_id": 10,
        "image_break_token_id": 12,
        "image_end_token_id": 13,
        "adapter_bias": True,
    },
}


def _pixtral(folder: Path) -> nn.Module:
    (folder / "params.json").write_text(json.dumps(PIXTRAL))
    return LlavaForConditionalGeneration(pixtral._config(folder))


def _of(config: Any, model: Any, published: dict[str, Any]) -> Any:
    def build(folder: Path) -> nn.Module:
        (folder / "config.json").write_text(json.dumps(published | {"model_type": config.model_type}))
        built: nn.Module = model(config.from_pretrained(folder))
        return built

    return build


NETWORKS = {
    "T5": (_of(T5Config, T5EncoderModel, T5), T5_BFLOAT16, 2),
    "SigLIP": (
        _of(
            SiglipConfig,
            SiglipModel,
            {"text_config": SIGLIP_HALF, "vision_config": {**SIGLIP_HALF, "image_size": 384, "patch_size": 14}},
        ),
        SIGLIP,
        4,
    ),
    "Llama Guard 3": (_of(LlamaConfig, LlamaForCausalLM, LLAMA), LLAMA_GUARD, 2),
    "Cosmos-Reason1": (_of(Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, QWEN), REASON1, 2),
    "Pixtral": (_pixtral, UPSAMPLER, 2),
    "Depth Anything": (_of(DepthAnythingConfig, DepthAnythingForDepthEstimation, DEPTH_ANYTHING), DEPTH, 4),
    "Grounding DINO": (_of(GroundingDinoConfig, GroundingDinoForObjectDetection, GROUNDING_DINO), DETECTOR, 4),
    "SAM 2": (_of(Sam2VideoConfig, Sam2VideoModel, SAM2), TRACKER, 4),
}
"""What builds each from its published settings, where it is published, and bytes of a number there."""


@pytest.mark.parametrize("name", NETWORKS)
def test_published_settings_still_mean_a_network_of_the_published_size(tmp_path: Path, name: str) -> None:
    """Settings leave out what was usual when they were written; what is usual now must be the same."""
    build, repository, num_bytes = NETWORKS[name]
    with torch.device("meta"):
        network = build(tmp_path)
    size = num_bytes * sum(parameter.numel() for parameter in {id(p): p for p in network.parameters()}.values())
    published = sum(file.num_bytes for file in repository.files if file.num_bytes > 50e6)
    assert size == pytest.approx(published, rel=0.01)
