"""Asking Llama Guard 3 whether a prompt is safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cosmos_cli import output
from cosmos_cli.checkpoints.file_formats import DOWNLOAD_AGAIN
from cosmos_cli.checkpoints.pretrained import load_model, reading
from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.runtime.memory.offload import helper_at_work, release_memory

if TYPE_CHECKING:
    import numpy as np

CATEGORIES = {
    "S1": "Violent Crimes.",
    "S2": "Non-Violent Crimes.",
    "S3": "Sex Crimes.",
    "S4": "Child Exploitation.",
    "S5": "Defamation.",
    "S6": "Specialized Advice.",
    "S7": "Privacy.",
    "S8": "Intellectual Property.",
    "S9": "Indiscriminate Weapons.",
    "S10": "Hate.",
    "S11": "Self-Harm.",
    "S12": "Sexual Content.",
    "S13": "Elections.",
    "S14": "Code Interpreter Abuse.",
}
"""What the model is asked to look for, in the words it was trained with."""

MAX_NEW_TOKENS = 100


class LlamaGuard:
    """Refuses a prompt unless the model calls it safe. Videos pass.

    The weights are read when the first prompt is checked, so that what a cheaper check refuses costs nothing here.

    Args:
        folder: Llama Guard 3 in the layout of transformers.
        dtype: of the weights; bfloat16 as published.
    Raises:
        CheckpointError: the tokenizer is missing or damaged, or the folder has no configuration of a model.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype, offload: bool) -> None:
        # takes seconds to import, which runs without it are spared
        from transformers import AutoTokenizer

        self._folder, self._device, self._dtype, self._offload = folder, device, dtype, offload
        with reading(folder, "Llama Guard"):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not self._tokenizer.chat_template:
            raise CheckpointError("has no chat template.", where=str(folder), fix=DOWNLOAD_AGAIN)
        tokens = self._tokenizer.added_tokens_decoder.values()
        self._control_tokens = [str(token) for token in tokens if token.special]
        self._model: Any = None

    def check_prompt(self, prompt: str) -> None:
        """Raises GuardrailBlocked if the model calls the prompt unsafe, or gives no verdict.

        It names the categories of the verdict and, as its score, the probability of the whole answer.
        Source: cosmos-transfer1, auxiliary/guardrail/llamaGuard3 (behaviour); answered greedily, so always alike.
        """
        # a control token could end the user's turn and give the verdict itself
        if used := [token for token in self._control_tokens if token in prompt]:
            raise _blocked(f"the prompt holds the control token {used[0]}.")
        answer, score = self._answer(prompt)
        verdict, *rest = answer.split() or [""]
        if "unsafe" in answer.lower():
            named = [CATEGORIES.get(code, code).rstrip(".") for code in " ".join(rest).replace(",", " ").split()]
            raise _blocked(f"unsafe: {', '.join(named) or 'no category named'} (score {score:.2f}).")
        if verdict.lower() != "safe":
            raise _blocked(f"no verdict; the model said {answer[:80]!r}.")

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """The frames as they came."""
        return frames_FHWC

    def release(self) -> None:
        """Let go of the weights; the next prompt reads them again."""
        self._model = None
        release_memory()

    @torch.inference_mode()
    def _answer(self, prompt: str) -> tuple[str, float]:
        """What the model says about the prompt, and with which probability."""
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], categories=CATEGORIES, tokenize=False
        )
        tokens = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")
        if self._model is None:
            from transformers import AutoModelForCausalLM

            with output.progress("Loading Llama Guard"):
                self._model = load_model(AutoModelForCausalLM, self._folder, "Llama Guard", self._dtype)
        with helper_at_work([self._model], self._device, offload=self._offload) as place:
            written = self._model.generate(
                input_ids=tokens["input_ids"].to(place),
                attention_mask=tokens["attention_mask"].to(place),
                max_new_tokens=MAX_NEW_TOKENS,
                pad_token_id=0,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                return_dict_in_generate=True,
                output_logits=True,
            )
        said_L = written.sequences[0, tokens["input_ids"].shape[1] :]
        log_probabilities_LV = torch.cat(written.logits).float().log_softmax(dim=-1)
        score = log_probabilities_LV.gather(1, said_L[:, None]).sum().exp().item()
        return str(self._tokenizer.decode(said_L, skip_special_tokens=True)).strip(), score


def _blocked(what: str) -> GuardrailBlocked:
    return GuardrailBlocked(what, where="guardrail llama-guard", fix="Change the prompt.")
