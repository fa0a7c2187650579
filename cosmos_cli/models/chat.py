"""Chat models, with eyes or without: on a server, or in this process out of a folder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor, nn

from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.checkpoints.pretrained import load_model, reading
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.files.documents import read_json, read_text
from cosmos_cli.models.chat_messages import ChatModel, Image, Message, Part, Sampling, Video
from cosmos_cli.models.chat_server import HttpChatModel
from cosmos_cli.models.chat_vision import NoVision, Picture, PixtralVision, QwenVision, Vision
from cosmos_cli.runtime.memory.offload import on_device

__all__ = ["ChatModel", "HttpChatModel", "Image", "LocalChatModel", "Message", "Part", "Sampling", "Video"]

# A answers, L text tokens


class LocalChatModel:
    """A chat model in this process. Nothing is fetched or executed.

    Known are Qwen2.5-VL (pictures and videos) and Pixtral (pictures), in the layout of transformers, and Pixtral in
    Mistral's own. Every other model with which transformers writes text, such as Gemma 3, is shown no pictures.

    Args:
        folder: holds configuration, tokenizer and weights.
        dtype: of the weights; the published models are bfloat16.
        offload: keep the model on the CPU except while it answers.
        is_shown: whether it will be shown pictures or videos; what is shown none is refused then.
    Raises:
        CheckpointError: files are missing or damaged, or of another kind of model.
    """

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, offload: bool = False, is_shown: bool = True
    ) -> None:
        # takes seconds to import, which runs that ask a server or nobody are spared
        from cosmos_cli.models.pixtral import is_pixtral_folder, load_pixtral, load_tekken

        self._folder, self._device, self._offload = folder, device, offload
        if not folder.is_dir():
            raise CheckpointError("there is no such folder.", where=str(folder), fix="Download the chat model.")
        self._model: Any
        self._tokenizer: Any
        self._vision: Vision
        if is_pixtral_folder(folder):
            self._model, self._tokenizer = load_pixtral(folder, dtype=dtype), load_tekken(folder)
            self._vision = _pixtral_vision(self._model.config)
        else:
            self._model, self._tokenizer, self._vision = _load_transformers(folder, dtype, is_shown)
        self._model.eval().requires_grad_(False)
        if not offload:
            self._model.to(device)

    @property
    def network(self) -> nn.Module:
        """What holds the weights."""
        network: nn.Module = self._model
        return network

    @torch.inference_mode()
    def answers(self, messages: Sequence[Message], sampling: Sampling) -> list[str]:
        """See `ChatModel.answers`; all answers are written at the same time, as one batch.

        Raises:
            InputError: a text holds control tokens, or a part cannot be shown to this model.
        """
        inputs = self._inputs(messages)
        settings = _generation_settings(sampling)
        if sampling.ascii_only:
            settings["suppress_tokens"] = self._beyond_ascii
        with on_device([self._model], self._device, offload=self._offload):
            where = next(self._model.parameters()).device  # somebody else may place the network
            with _seeded(sampling.seed, where):
                # the whole conversation side by side; transformers' own num_return_sequences would put the pictures
                # of some models out of order
                placed = {name: torch.cat([given] * sampling.num_answers).to(where) for name, given in inputs.items()}
                tokens_AL = self._model.generate(**placed, **settings)
        said_AL = tokens_AL[:, inputs["input_ids"].shape[1] :]
        return [self._tokenizer.decode(said_L, skip_special_tokens=True) for said_L in said_AL]

    @cached_property
    def _beyond_ascii(self) -> list[int]:
        """Every token with text beyond ASCII, and those that no text belongs to. Control tokens are none of them.

        Source: cosmos-predict2, auxiliary/cosmos_reason1.py (behaviour).
        """
        texts = self._tokenizer.batch_decode([[token] for token in range(len(self._tokenizer))])
        plain = {token for token, text in enumerate(texts) if text.isascii()} | set(self._tokenizer.all_special_ids)
        return [token for token in range(self._model.get_output_embeddings().out_features) if token not in plain]

    def _inputs(self, messages: Sequence[Message]) -> dict[str, Tensor]:
        """Everything the model reads: tokens with placeholders, and the pictures."""
        parts = [part for message in messages for part in message.content]
        self._refuse_control_tokens("\n".join(part for part in parts if isinstance(part, str)))
        pictures: list[Picture] = [_picture(part) for part in parts if not isinstance(part, str)]
        shown = self._vision.prepare(pictures)
        text = self._templated([{"role": message.role, "content": self._content(message)} for message in messages])
        tokens = self._tokenizer(self._expand(text, shown.texts), add_special_tokens=False, return_tensors="pt")
        inputs = {**shown.inputs, "input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        if "mm_token_type_ids" in inspect.signature(self._model.forward).parameters:
            inputs["mm_token_type_ids"] = self._kinds(tokens["input_ids"])
        return inputs

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        """The content of a message as the model's chat template takes it: those of text models know no parts."""
        if isinstance(self._vision, NoVision):
            return "".join(part for part in message.content if isinstance(part, str))
        return [_entry(part) for part in message.content]

    def _templated(self, turns: list[dict[str, Any]]) -> str:
        try:
            return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise CheckpointError(
                f"has a chat template that cannot be used: {error}", where=str(self._folder), fix=DOWNLOAD_AGAIN
            ) from error

    def _expand(self, text: str, replacements: Sequence[str]) -> str:
        """The text with the placeholder of each picture, in turn, replaced by all that stands for it."""
        expanded = ""
        for replacement in replacements:
            found = [(text.index(token), token) for token in self._vision.placeholders.values() if token in text]
            if not found:
                raise CheckpointError("has a chat template without pictures.", where=str(self._folder))
            place, token = min(found)
            expanded += text[:place] + replacement
            text = text[place + len(token) :]
        return expanded + text

    def _kinds(self, tokens_1L: Tensor) -> Tensor:
        """0 where a token is text, 1 where it stands for a picture, 2 for a video."""
        kinds = torch.zeros_like(tokens_1L)
        for kind, name in enumerate(("image", "video"), start=1):
            if token := self._vision.placeholders.get(name):
                kinds[tokens_1L == self._tokenizer.convert_tokens_to_ids(token)] = kind
        return kinds

    def _refuse_control_tokens(self, text: str) -> None:
        """A text must not be able to end its turn or to pose as a picture."""
        control = [str(token) for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        used = [token for token in control if token in text]
        if used:
            raise InputError(
                f"the text holds {', '.join(used)}, which means something to the chat model.",
                where="prompt",
                fix="Leave it out.",
            )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Sampling draws from torch's own generators; they are as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _generation_settings(sampling: Sampling) -> dict[str, Any]:
    """As transformers knows them; what is left out is the model's own."""
    settings: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens}
    if sampling.repetition_penalty is not None:
        settings["repetition_penalty"] = sampling.repetition_penalty
    if sampling.temperature == 0:
        return settings | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    given = {name: value for name, value in drawn.items() if value is not None}
    return settings | ({"do_sample": True, **given} if given else {})


def _picture(part: np.ndarray | Image | Video) -> Picture:
    return Image(part) if isinstance(part, np.ndarray) else part


def _entry(part: Part) -> dict[str, str]:
    """A part as chat templates know it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "video" if isinstance(part, Video) else "image"}


def _load_transformers(folder: Path, dtype: torch.dtype, is_shown: bool) -> tuple[Any, Any, Vision]:
    """Model, tokenizer with its chat template, and vision of a folder in the layout of transformers."""
    from transformers import AutoConfig, AutoTokenizer

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with reading(folder, "a chat model"):
        kind, vision = _recognise(AutoConfig.from_pretrained(folder, **local), folder, is_shown)
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        tokenizer.chat_template = _chat_template(folder) or tokenizer.chat_template
    model = load_model(kind, folder, "a chat model", dtype)
    if not tokenizer.chat_template:
        raise CheckpointError("has no chat template.", where=str(folder), fix=DOWNLOAD_AGAIN)
    return model, tokenizer, vision


def _recognise(config: Any, folder: Path, is_shown: bool) -> tuple[Any, Vision]:
    """The network of a configuration, and what it does with pictures."""
    from transformers import (
        AutoModelForCausalLM,
        LlavaForConditionalGeneration,
        Qwen2_5_VLForConditionalGeneration,
    )
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.model_type == "qwen2_5_vl":
        return Qwen2_5_VLForConditionalGeneration, QwenVision.of_folder(folder)
    if config.model_type == "llava" and config.vision_config.model_type == "pixtral":
        return LlavaForConditionalGeneration, _pixtral_vision(config)
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not is_shown:
        return AutoModelForCausalLM, NoVision()
    known = "a Qwen2.5-VL or a Pixtral model" if is_shown else "a Qwen2.5-VL, a Pixtral or a text model"
    raise CheckpointError(
        f"is a {config.model_type} model, which is not known here{' as one that sees' if is_shown else ''}.",
        where=str(folder),
        fix=f"Give {known}, or serve this one and give the address.",
    )


def _pixtral_vision(config: Any) -> PixtralVision:
    return PixtralVision(config.vision_config.patch_size, config.vision_config.image_size)


def _chat_template(folder: Path) -> str | None:
    """The template that belongs to pictures and text; that of the tokenizer alone may know only text."""
    if (folder / "chat_template.jinja").is_file():
        return read_text(folder / "chat_template.jinja", kind=CheckpointError, fix=DOWNLOAD_AGAIN)
    if (folder / "chat_template.json").is_file():
        content = read_json(folder / "chat_template.json", kind=CheckpointError, fix=DOWNLOAD_AGAIN)
        return str(content["chat_template"])
    return None
