"""Chat models for tests: a tiny Qwen2.5-VL with random weights, text models that know a few sentences, and a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils import logging as transformers_logging

from tests.servers import Server

QWEN_CONTROL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
NUM_UNUSED_ROWS = 5
"""Published networks have more rows for tokens than their vocabulary has tokens."""

QWEN_TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}
{%- if part.type == 'text' %}{{ part.text }}
{%- else %}<|vision_start|><|{{ part.type }}_pad|><|vision_end|>{% endif %}
{%- endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def build_qwen(folder: Path) -> Path:
    """A Qwen2.5-VL of two layers in the published layout: one token per byte, random weights, about 0.3 MB."""
    transformers_logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_tokenizer()
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": QWEN_TEMPLATE}))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"min_pixels": 56 * 56, "max_pixels": 112 * 112, "patch_size": 14, "merge_size": 2})
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_CONTROL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer) + NUM_UNUSED_ROWS,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                # far from even odds, so that what the model sees changes what it says
                torch.nn.init.normal_(weight, std=0.5)
    model.generation_config.update(
        do_sample=True, temperature=1e-6, eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"]
    )
    model.save_pretrained(folder)
    return folder


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {letter: i for i, letter in enumerate(bytes_to_unicode().values())}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in QWEN_CONTROL_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


TEXT_TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role + '\n' + message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""Of a model that reads text alone: the content of a message is a text, not a list of parts."""


def build_talker(folder: Path, *sentences: str, kind: str = "llama") -> Path:
    """A text model in the published layout that answers with one of these sentences, whatever it is told, about 1 MB.

    Each sentence is a token of its own. What follows a token depends on it alone: after the end of the question all
    sentences are equally likely, and after a sentence nothing comes.

    Args:
        kind: "llama", "gemma3_text", or "gemma3", which has eyes too.
    """
    transformers_logging.disable_progress_bar()
    tokenizer = _byte_tokenizer()
    tokenizer.add_tokens([AddedToken(sentence, special=False, normalized=False) for sentence in sentences])
    tokenizer.chat_template = TEXT_TEMPLATE
    tokenizer.save_pretrained(folder)
    size = -(-len(tokenizer) // 32) * 32
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    sizes = {
        "vocab_size": size,
        "hidden_size": size,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "tie_word_embeddings": False,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    elif kind == "gemma3_text":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes))
    else:
        eyes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        config = Gemma3Config(
            text_config=sizes,
            vision_config={**eyes, "image_size": 28, "patch_size": 14},
            mm_tokens_per_image=1,
            tie_word_embeddings=False,
            eos_token_id=end,
        )
        model = Gemma3ForConditionalGeneration(config)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight") and kind == "llama":  # Gemma adds one to it
            torch.nn.init.ones_(weight)
    torch.nn.init.eye_(model.get_input_embeddings().weight)
    answers = [tokenizer.convert_tokens_to_ids(sentence) for sentence in sentences]
    [last] = tokenizer("\n", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[answers, last] = 1000 / size**0.5
        head[end, answers] = 1000 / size**0.5
    model.generation_config.update(do_sample=True, eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder)
    return folder


Reply = tuple[int, bytes] | Callable[[dict[str, Any]], tuple[int, bytes]]
"""Status and body, or a function of the request that makes them."""


def says(text: str | None) -> tuple[int, bytes]:
    """The reply of a server whose model said `text`."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class ChatServer:
    """A server on this machine that gives the replies it was told, in turn; the last one for ever.

    requests, headers, paths: what it was sent.
    """

    def __init__(self, *replies: Reply, silent_s: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self._replies, self._silent_s, self._is_over = list(replies), silent_s, threading.Event()
        self._server = Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.paths.append(self.path)
                chat.headers.append(dict(self.headers.items()))
                request = json.loads(body)
                chat.requests.append(request)
                if chat._is_over.wait(chat._silent_s):
                    return  # or it would answer, and complain, while another test runs
                reply = chat._replies.pop(0) if len(chat._replies) > 1 else chat._replies[0]
                status, content = reply(request) if callable(reply) else reply
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", content.decode())
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        return Handler


@contextmanager
def chat_server(*replies: Reply, silent_s: float = 0.0) -> Iterator[ChatServer]:
    """A running `ChatServer`. Where a proxy is set, a test must set `no_proxy`, or the request goes there."""
    chat = ChatServer(*replies, silent_s=silent_s)
    thread = threading.Thread(target=chat._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat._is_over.set()
        chat._server.shutdown()
        chat._server.server_close()
        thread.join()
