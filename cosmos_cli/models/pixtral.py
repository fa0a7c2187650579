"""Pixtral as Mistral publishes it: `params.json`, `consolidated.safetensors` and `tekken.json`."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from cosmos_cli.checkpoints.keys import compare_keys
from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.documents import read_json
from cosmos_cli.runtime.memory.host import raise_if_too_little

PARAMS, WEIGHTS, VOCABULARY = "params.json", "consolidated.safetensors", "tekken.json"

# Vocabularies of the time of Pixtral do not list their control tokens; these are at the first places.
CONTROL_TOKENS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)

CHAT_TEMPLATE = """
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{ '[INST]' }}
    {%- elif message.role != 'assistant' %}{{ raise_exception('knows no turns of ' + message.role) }}{% endif %}
    {%- for part in message.content %}{{ '[IMG]' if part.type == 'image' else part.text }}{% endfor %}
    {{- '[/INST]' if message.role == 'user' else eos_token }}
{%- endfor %}"""
"""Instructions as Mistral's third tokenizer version writes them: no spaces around the control tokens."""


def is_pixtral_folder(folder: Path) -> bool:
    """Whether a folder has Mistral's own layout."""
    return (folder / PARAMS).is_file()


def load_pixtral(folder: Path, *, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """The model, on the CPU, out of Mistral's own files.

    Memory: one copy of the weights. In the stored dtype all but the queries and keys, which are reordered, are views
    of the file.

    Raises:
        CheckpointError: files are missing or damaged, or the weights are not those that `params.json` describes.
    Source: vllm, models/pixtral.py, for the layout (behaviour).
    """
    config = _config(folder)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    path = folder / WEIGHTS
    with open_checkpoint(path) as checkpoint:
        names = {key: _name(key) for key in checkpoint}
        found = {name: checkpoint.shape(key) for key, name in names.items()}
        report = compare_keys({name: tensor.shape for name, tensor in model.state_dict().items()}, found)
        if not report.matches:
            raise CheckpointError(
                f"{WEIGHTS} does not hold the model that {PARAMS} describes.",
                where=str(path),
                fix="Download both again.",
                others=report.problems(),
            )
        weights = {name: _converted(checkpoint.tensor(key), name, config).to(dtype) for key, name in names.items()}
    model.load_state_dict(weights, assign=True)
    # tables of the rotary embeddings are in no file and still on the meta device
    vision, text = model.model.vision_tower, model.model.language_model
    vision.patch_positional_embedding = type(vision.patch_positional_embedding)(config.vision_config)
    text.rotary_emb = type(text.rotary_emb)(config.text_config)
    # top_k 0 samples from all tokens, as Mistral's own runtimes do
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=11, do_sample=True, top_k=0)
    return model


def load_tekken(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer out of `tekken.json`: byte pairs, merged by rank, behind the control tokens.

    Raises:
        CheckpointError: the file is missing or damaged.
    Source: mistral-common, tokens/tokenizers/tekken.py (behaviour).
    """
    path = folder / VOCABULARY
    content = _read_json(path)
    try:
        settings = content["config"]
        num_control = settings["default_num_special_tokens"]
        listed = content.get("special_tokens") or [{"rank": i, "token_str": t} for i, t in enumerate(CONTROL_TOKENS)]
        control = {entry["token_str"]: entry["rank"] for entry in listed}
        entries = content["vocab"][: settings["default_vocab_size"] - num_control]
        ranks = {base64.b64decode(entry["token_bytes"]): rank for rank, entry in enumerate(entries)}
        letters = bytes_to_unicode()
        text_of = {token: "".join(letters[byte] for byte in token) for token in ranks}
        merges = [
            (text_of[token[:cut]], text_of[token[cut:]])
            for token in ranks
            for cut in range(1, len(token))
            if token[:cut] in ranks and token[cut:] in ranks
        ]
        vocabulary = control | {text_of[token]: num_control + rank for token, rank in ranks.items()}
        tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
        split = pre_tokenizers.Split(Regex(settings["pattern"]), behavior="isolated")
    except Exception as error:
        # the tokenizers library raises bare Exceptions
        raise_if_too_little(error, path)
        raise CheckpointError(
            f"{VOCABULARY} cannot be used as a vocabulary: {type(error).__name__}: {error}.",
            where=str(path),
            fix="Download it again.",
        ) from error
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json(path, kind=CheckpointError, fix="Download it again.")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds no JSON object.", where=str(path), fix="Download it again.")
    return content


def _config(folder: Path) -> LlavaConfig:
    """What transformers calls the sizes in `params.json`."""
    params = _read_json(folder / PARAMS)
    try:
        vision = params["vision_encoder"]
        text_config = MistralConfig(
            vocab_size=params["vocab_size"],
            hidden_size=params["dim"],
            intermediate_size=params["hidden_dim"],
            num_hidden_layers=params["n_layers"],
            num_attention_heads=params["n_heads"],
            num_key_value_heads=params["n_kv_heads"],
            head_dim=params["head_dim"],
            rms_norm_eps=params["norm_eps"],
            rope_parameters={"rope_type": "default", "rope_theta": params["rope_theta"]},
            sliding_window=None,
        )
        vision_config = PixtralVisionConfig(
            hidden_size=vision["hidden_size"],
            intermediate_size=vision["intermediate_size"],
            num_hidden_layers=vision["num_hidden_layers"],
            num_attention_heads=vision["num_attention_heads"],
            num_channels=vision["num_channels"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            rope_parameters={"rope_theta": vision["rope_theta"]},
            hidden_act="silu",
        )
        return LlavaConfig(
            vision_config=vision_config,
            text_config=text_config,
            image_token_index=vision["image_token_id"],
            multimodal_projector_bias=vision.get("adapter_bias", True),
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
        )
    except Exception as error:
        # transformers checks its configurations with errors of its own
        raise CheckpointError(
            f"{PARAMS} does not describe a Pixtral model: {type(error).__name__}: {error}.",
            where=str(folder / PARAMS),
            fix="Download it again.",
        ) from error


_TEXT_LAYER = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_VISION_LAYER = {
    "attention.wq": "attention.q_proj",
    "attention.wk": "attention.k_proj",
    "attention.wv": "attention.v_proj",
    "attention.wo": "attention.o_proj",
    "feed_forward.w1": "feed_forward.gate_proj",
    "feed_forward.w2": "feed_forward.down_proj",
    "feed_forward.w3": "feed_forward.up_proj",
    "attention_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
}
_OUTSIDE_OF_LAYERS = {
    "tok_embeddings": "model.language_model.embed_tokens",
    "norm": "model.language_model.norm",
    "output": "lm_head",
    "vision_encoder.patch_conv": "model.vision_tower.patch_conv",
    "vision_encoder.ln_pre": "model.vision_tower.ln_pre",
    "vision_language_adapter.w_in": "model.multi_modal_projector.linear_1",
    "vision_language_adapter.w_out": "model.multi_modal_projector.linear_2",
}
_LAYER = re.compile(r"(vision_encoder\.transformer\.)?layers\.(\d+)\.(.+)")


def _name(key: str) -> str:
    """The name in transformers of one of Mistral's keys; a key that is none of theirs keeps its name."""
    module, _, kind = key.rpartition(".")
    match = _LAYER.fullmatch(module)
    if match is None:
        return f"{_OUTSIDE_OF_LAYERS.get(module, module)}.{kind}"
    in_vision, number, part = match.groups()
    if in_vision:
        return f"model.vision_tower.transformer.layers.{number}.{_VISION_LAYER.get(part, part)}.{kind}"
    return f"model.language_model.layers.{number}.{_TEXT_LAYER.get(part, part)}.{kind}"


def _converted(weight: Tensor, name: str, config: Any) -> Tensor:
    """A weight in the order of transformers, which rotates the first half of a head against the second.

    Mistral rotates each even value against the odd one behind it.
    """
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    owner = config.vision_config if name.startswith("model.vision_tower.") else config.text_config
    pairs = weight.unflatten(0, (-1, owner.head_dim // 2, 2))
    return pairs.transpose(1, 2).reshape(weight.shape)
