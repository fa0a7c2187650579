"""From what a user wrote to what a network reads: checks, rewriting, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.errors import CosmosError
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.models.prompt_length import check_prompt_length
from cosmos_cli.models.t5 import NUM_TOKENS, CachedTextEncoder
from cosmos_cli.runtime.finite import check_finite

if TYPE_CHECKING:
    import numpy as np

# L text tokens, D embedding width; F frames, H and W pixel height and width, C = 3 colours

Refiner = Callable[[str, "np.ndarray"], str]
"""(prompt, frames FHWC uint8) -> prompt; plugins register a factory with `cosmos_register_prompt_refiners`."""


def checked_prompt(
    prompt: str, frames_FHWC: np.ndarray, guardrails: Guardrails, refiners: Mapping[str, Refiner], *, way_out: str
) -> str:
    """The prompt to use: as given, or rewritten by the first refiner; both pass the guardrails.

    Args:
        prompt: may be empty where a refiner writes one out of what it is shown.
        frames_FHWC: what the refiner is shown.
        way_out: what to tell a user whose refiner fails.
    Raises:
        GuardrailBlocked: a prompt was refused.
        CosmosError: the refiner returned nothing, or more than a prompt may have.
    """
    if prompt:
        guardrails.check_prompt(prompt)
    if not refiners:
        return prompt
    name, refine = next(iter(refiners.items()))
    with output.progress(f"Refining the prompt with {name}"):
        refined = str(refine(prompt, frames_FHWC)).strip()
    if not refined:
        raise CosmosError("returned an empty prompt.", where=f"prompt refiner {name}", fix=way_out)
    check_prompt_length(refined, where=f"prompt refiner {name}", kind=CosmosError, fix=way_out)
    output.status(f"Refined prompt: {refined}")
    guardrails.check_prompt(refined)
    return refined


def encode_prompts(
    encoder: CachedTextEncoder, prompt: str, negative_prompt: str, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Contexts of the prompt and of the negative prompt, (1, L, D) each; a prompt that is cut is noticed.

    Training dropped the text by zeroing its embedding, so no negative prompt is zeros, not the embedding of "".
    """
    context, num_tokens = encoder.encode(prompt)
    if num_tokens > NUM_TOKENS:
        output.notice(f"the prompt has {num_tokens} tokens; the model reads the first {NUM_TOKENS}")
    negative = encoder.encode(negative_prompt)[0] if negative_prompt else torch.zeros_like(context)
    check_finite(torch.stack([context, negative]), "the text embeddings")
    return context.to(device, dtype), negative.to(device, dtype)
