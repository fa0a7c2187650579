"""What the published guardrails take of a device's memory, said without loading them."""

from __future__ import annotations

from collections.abc import Iterable

from cosmos_cli.checkpoints.catalogue import LLAMA_GUARD
from cosmos_cli.generation.plan import NeededFile, Part

_VIDEO_GUARDRAILS_BYTES = 1.9e9
"""The image half of SigLIP (428 M parameters), its classifier and the face detector, in float32."""


def guardrail_parts(files: Iterable[NeededFile], *, offload: bool) -> list[Part]:
    """What needs memory, and when; nothing for a run whose files hold no guardrails.

    Llama Guard judges the prompts before anything else is loaded, and leaves.

    Args:
        files: all that the run reads.
        offload: whether the networks wait in host memory until there is a video.
    """
    name = LLAMA_GUARD.name.rpartition("/")[2]
    judge_bytes = sum(file.num_bytes for file in files if name in file.path.parts)
    if not judge_bytes:
        return []
    return [
        Part("Llama Guard", judge_bytes, stages=("start",)),
        Part("video guardrails", _VIDEO_GUARDRAILS_BYTES, "host" if offload else "device"),
    ]
