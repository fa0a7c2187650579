"""How long a prompt may be, whether a user, a file or a model wrote it."""

from __future__ import annotations

from cosmos_cli.errors import CosmosError, InputError

MAX_PROMPT_CHARACTERS = 5000
"""The text encoder reads 512 tokens, some 2,500 characters; twice that is surely not what its author meant."""


def check_prompt_length(
    prompt: str, *, where: str, kind: type[CosmosError] = InputError, fix: str = "Shorten it."
) -> None:
    """Raises CosmosError, of this kind, if a prompt is too long."""
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise kind(
            f"has {len(prompt):,} characters, more than the {MAX_PROMPT_CHARACTERS:,} that are allowed.",
            where=where,
            fix=fix,
        )
