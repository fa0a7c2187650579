"""Small models in the folders that their makers publish: file names, spellings of config.json, what else lies there.

Each function takes a folder as today's transformers writes it and changes it in place to what is on the Hub, where
the files were written by other versions, in other precisions, and beside files that nobody here reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

NOISE = (".gitattributes", "README.md")
"""Lie in every repository."""


def rewrite_json(path: Path, *, drop: Iterable[str] = (), **changes: Any) -> dict[str, Any]:
    """Change entries of a JSON file, and leave some out. Returns what it holds then."""
    content: dict[str, Any] = json.loads(path.read_text()) | changes
    for key in drop:
        content.pop(key, None)
    path.write_text(json.dumps(content))
    return content


def store(folder: Path, weights: Mapping[str, Tensor], dtype: torch.dtype, *, num_shards: int = 1) -> None:
    """Write `model.safetensors`, or so many shards and their index, in a precision."""
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    converted = {key: tensor.to(dtype) for key, tensor in weights.items()}
    if num_shards == 1:
        save_file(converted, folder / "model.safetensors", {"format": "pt"})
        return
    places = {key: f"model-{i % num_shards + 1:05}-of-{num_shards:05}.safetensors" for i, key in enumerate(converted)}
    for place in set(places.values()):
        shard = {key: tensor for key, tensor in converted.items() if places[key] == place}
        save_file(shard, folder / place, {"format": "pt"})
    total = sum(tensor.nbytes for tensor in converted.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def add(folder: Path, *names: str) -> None:
    """Files that nobody reads, and nobody could."""
    for name in (*NOISE, *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x80 not for you")


def publish_depth_anything(folder: Path) -> Path:
    """`depth-anything/Depth-Anything-V2-Small-hf`: float32, with the empty entries of 2024."""
    weights = load_file(folder / "model.safetensors")
    config = rewrite_json(
        folder / "config.json",
        drop=("dtype", "depth_estimation_type", "max_depth"),
        _commit_hash=None,
        backbone=None,
        use_pretrained_backbone=False,
        torch_dtype="float32",
        transformers_version=None,
    )
    backbone = config["backbone_config"]
    kept = ("hidden_size", "image_size", "model_type", "num_attention_heads", "num_hidden_layers", "mlp_ratio")
    kept += ("out_features", "out_indices", "patch_size", "reshape_hidden_states")
    published = {"architectures": ["Dinov2Model"], "torch_dtype": "float32"}
    rewrite_json(folder / "config.json", backbone_config={key: backbone[key] for key in kept} | published)
    keys = ["images", "do_resize", "size", "keep_aspect_ratio", "ensure_multiple_of", "return_tensors"]
    rewrite_json(folder / "preprocessor_config.json", _valid_processor_keys=keys)
    store(folder, weights, torch.float32)
    add(folder)
    return folder


def publish_grounding_dino(folder: Path) -> Path:
    """`IDEA-Research/grounding-dino-tiny`: float32 twice, the backbone without the norm that later code builds."""
    weights = load_file(folder / "model.safetensors")
    rewrite_json(
        folder / "config.json",
        drop=("dtype", "tie_word_embeddings"),
        backbone=None,
        backbone_kwargs=None,
        use_pretrained_backbone=False,
        use_timm_backbone=False,
        torch_dtype="float32",
        transformers_version="4.40.0.dev0",
    )
    published = {key: tensor for key, tensor in weights.items() if ".swin.layernorm." not in key}
    assert len(published) < len(weights)
    store(folder, published, torch.float32)
    torch.save({key: tensor.float() for key, tensor in published.items()}, folder / "pytorch_model.bin")
    special = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]"}
    (folder / "special_tokens_map.json").write_text(json.dumps({**special, "unk_token": "[UNK]"}))
    numbers = {"[CLS]": 101, "[MASK]": 103, "[PAD]": 0, "[SEP]": 102, "[UNK]": 100}
    (folder / "added_tokens.json").write_text(json.dumps(numbers))
    rewrite_json(
        folder / "tokenizer_config.json",
        drop=("backend",),
        added_tokens_decoder={str(number): _special(token) for token, number in numbers.items()},
        processor_class="GroundingDinoProcessor",
        do_lower_case=True,
        clean_up_tokenization_spaces=True,
        model_max_length=512,
    )
    rewrite_json(folder / "preprocessor_config.json", processor_class="GroundingDinoProcessor")
    add(folder)
    return folder


def publish_sam2(folder: Path) -> Path:
    """`facebook/sam2-hiera-large`: the first release and its settings beside the weights for transformers."""
    weights = load_file(folder / "model.safetensors")
    rewrite_json(
        folder / "config.json",
        drop=("dtype", "rope_parameters"),
        memory_attention_rope_theta=10000,
        torch_dtype="float32",
        transformers_version="4.56.0.dev0",
    )
    store(folder, weights, torch.float32)
    processor = {"point_pad_value": -10, "processor_class": "Sam2VideoProcessor", "target_size": 1024}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    images = {"image_processor_type": "Sam2ImageProcessorFast", "processor_class": "Sam2VideoProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    videos = {"video_processor_type": "Sam2VideoVideoProcessor", "processor_class": "Sam2VideoProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(videos))
    add(folder, "sam2_hiera_large.pt", "sam2_hiera_l.yaml")
    return folder


def publish_siglip(folder: Path) -> Path:
    """`google/siglip-so400m-patch14-384`: both halves in float32, with no more settings than differ from the usual."""
    config = json.loads((folder / "config.json").read_text())
    sizes = ("hidden_size", "intermediate_size", "model_type", "num_attention_heads", "num_hidden_layers")
    halves = {
        "text_config": {key: config["text_config"][key] for key in (*sizes, "vocab_size")},
        "vision_config": {key: config["vision_config"][key] for key in (*sizes, "image_size", "patch_size")},
    }
    rewrite_json(
        folder / "config.json",
        drop=("dtype",),
        torch_dtype="float32",
        transformers_version="4.37.0.dev0",
        **halves,
    )
    store(folder, load_file(folder / "model.safetensors"), torch.float32)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "SiglipImageProcessor"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "SiglipTokenizer"}))
    add(folder, "spiece.model", "special_tokens_map.json")
    return folder


def publish_llama_guard(folder: Path, *, small_files: bool = True) -> Path:
    """`meta-llama/Llama-Guard-3-8B`: bfloat16 in four shards, the template among the tokenizer's settings.

    Args:
        small_files: also those that every run does without.
    """
    weights = load_file(folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    rope = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3"}
    rewrite_json(
        folder / "config.json",
        drop=("dtype", "rope_parameters", "head_dim"),
        eos_token_id=[settings["eos_token_id"], settings["vocab_size"] - 1],
        rope_scaling={**rope, "original_max_position_embeddings": 8192},
        rope_theta=500000.0,
        torch_dtype="bfloat16",
        transformers_version="4.43.0.dev0",
    )
    template = folder / "chat_template.jinja"
    eos = json.loads((folder / "tokenizer_config.json").read_text())["eos_token"]
    rewrite_json(
        folder / "tokenizer_config.json",
        drop=("backend",),
        tokenizer_class="PreTrainedTokenizerFast",
        chat_template=template.read_text(),
        clean_up_tokenization_spaces=True,
        model_input_names=["input_ids", "attention_mask"],
    )
    template.unlink()
    store(folder, weights, torch.bfloat16, num_shards=4)
    (folder / "generation_config.json").unlink()
    if small_files:
        (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": eos}))
        drawn = {"_from_model_config": True, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
        generation = {**drawn, "eos_token_id": json.loads((folder / "config.json").read_text())["eos_token_id"]}
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def publish_reason1(folder: Path, *, template: str = "chat_template.json") -> Path:
    """`nvidia/Cosmos-Reason1-7B`: bfloat16 in four shards, the settings of its text half beside those of its eyes.

    Args:
        template: the file that holds the chat template; the tokenizer's settings are another that may.
    """
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    text, vision = config.pop("text_config"), config.pop("vision_config")
    rope = text.pop("rope_parameters")
    for later in ("layer_types", "model_type"):
        text.pop(later)
    vision.pop("rope_parameters")
    flat = {
        **{key: value for key, value in config.items() if key != "dtype"},
        **text,
        "max_window_layers": 2,
        "sliding_window": 32768,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"mrope_section": rope["mrope_section"], "type": "mrope"},
        "torch_dtype": "bfloat16",
        "transformers_version": "4.49.0",
        "vision_config": {**vision, "in_chans": 3, "spatial_patch_size": 14, "torch_dtype": "bfloat16"},
    }
    (folder / "config.json").write_text(json.dumps(flat))
    images = {"image_processor_type": "Qwen2VLImageProcessor", "temporal_patch_size": 2}
    rewrite_json(folder / "preprocessor_config.json", **images)
    rewrite_json(folder / "tokenizer_config.json", drop=("backend",), tokenizer_class="Qwen2Tokenizer")
    words = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    (folder / "chat_template.json").unlink()
    if template.endswith(".jinja"):
        (folder / template).write_text(words)
    else:
        known = json.loads((folder / template).read_text()) if (folder / template).is_file() else {}
        (folder / template).write_text(json.dumps({**known, "chat_template": words}))
    store(folder, weights, torch.bfloat16, num_shards=4)
    add(folder, "merges.txt", "vocab.json")
    return folder


def _special(token: str) -> dict[str, Any]:
    places = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {"content": token, **places, "special": True}
