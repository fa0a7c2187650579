"""Guardrail files in the published layout with made-up words and random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils import logging as transformers_logging

from cosmos_cli.guardrails.content_filter import FrameClassifier
from cosmos_cli.guardrails.retinaface import RetinaFace

LLAMA_TEMPLATE = (
    "<|start|>Is it safe?{% for code, name in categories.items() %} {{ code }}{% endfor %}"
    "{% for message in messages %} {{ message.content }}{% endfor %}<|verdict|>"
)
LLAMA_WORDS = ("safe", "unsafe", "\nS14", ",S1", "perhaps")


def write_lists(folder: Path) -> Path:
    """A blocklist of made-up words, with a WordNet of four nouns."""
    lists = {
        "custom": "grob\nzip zap\n\nBlorp\n",
        "whitelist": "Grub\ngr0b\nzap\n",
        "exact_match": "flim flam\nsneet\n#quux",
    }
    for name, lines in lists.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "words.txt").write_text(lines)
    wordnet = folder / "nltk_data" / "corpora" / "wordnet"
    wordnet.mkdir(parents=True)
    nouns = "".join(f"{noun} n 1 0 1 0 00000001  \n" for noun in ("blorp", "cat", "grob", "wolf"))
    (wordnet / "index.noun").write_text(f"  1 This is a licence.\n{nouns}")
    (wordnet / "noun.exc").write_text("grobben grob\nwolfen wolf\n")
    return folder


def write_siglip(folder: Path) -> Path:
    """A SigLIP of two layers that sees 16 x 16 pixels, text half included as published."""
    transformers_logging.disable_progress_bar()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SiglipModel(
            SiglipConfig(
                text_config={**sizes, "vocab_size": 40}, vision_config={**sizes, "image_size": 16, "patch_size": 8}
            )
        )
    model.save_pretrained(folder)
    return folder


def write_classifier(path: Path, state: dict[str, Tensor] | None = None) -> Path:
    """`safety_filter.pt`; random, or with the given weights of a `FrameClassifier`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {f"network.{key}": value for key, value in (state or FrameClassifier(32).state_dict()).items()}
    torch.save({"model": {**weights, "network.layers.1.num_batches_tracked": torch.tensor(3)}, "epoch": 3}, path)
    return path


def random_retinaface() -> RetinaFace:
    """A detector of the published size whose random features keep their scale through all layers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RetinaFace()
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("conv1x1"):
                nn.init.kaiming_normal_(module.weight)
            if name.endswith("bn3"):
                nn.init.constant_(module.get_parameter("weight"), 0.2)
    return network.eval().requires_grad_(False)


def write_retinaface(path: Path, network: RetinaFace) -> Path:
    """`Resnet50_Final.pth`, saved as from several devices, with the part for eyes and mouth that nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {f"module.{key}": value for key, value in network.state_dict().items()}
    landmarks = {f"module.LandmarkHead.{i}.conv1x1.weight": torch.zeros(20, 256, 1, 1) for i in range(3)}
    torch.save({**weights, **landmarks, "module.body.bn1.num_batches_tracked": torch.tensor(3)}, path)
    return path


def detector_of_faces_everywhere(path: Path) -> Path:
    """`Resnet50_Final.pth` that finds a face far larger than the frame, whatever the frame shows."""
    network = random_retinaface()
    for head in network.ClassHead:
        head.conv1x1.bias += torch.tensor([-1e4, 1e4, -1e4, 1e4])
    for head in network.BboxHead:
        head.conv1x1.weight.zero_()
        head.conv1x1.bias.copy_(torch.tensor([0.0, 0.0, 300.0, 300.0] * 2))
    return write_retinaface(path, network)


def write_llama_guard(folder: Path, answer: str) -> Path:
    """A Llama of one layer that says `answer`, made of `LLAMA_WORDS`, to every prompt."""
    transformers_logging.disable_progress_bar()
    letters = {letter: i for i, letter in enumerate(bytes_to_unicode().values())}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<|start|>", "<|verdict|>", "<|eot|>")])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in LLAMA_WORDS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|eot|>", chat_template=LLAMA_TEMPLATE)
    fast.save_pretrained(folder)
    said = [*fast(answer, add_special_tokens=False)["input_ids"], fast.convert_tokens_to_ids("<|eot|>")]

    # without attention or a feed-forward part the model is a table: it says what follows the last token
    size = len(fast)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        eos_token_id=said[-1],
        bos_token_id=None,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).requires_grad_(False)
    for weight in model.parameters():
        nn.init.zeros_(weight)
    nn.init.ones_(model.model.norm.weight)
    nn.init.eye_(model.model.embed_tokens.weight)
    for previous, following in zip([fast.convert_tokens_to_ids("<|verdict|>"), *said], said, strict=False):
        model.lm_head.weight[following, previous] = 0.4
    model.generation_config.update(do_sample=True, temperature=5.0)
    model.save_pretrained(folder)
    return folder
