"""The names of attention backends, known without torch, so that a wrong one is refused at once."""

from __future__ import annotations

import difflib

BACKENDS: dict[str, None] = dict.fromkeys(
    ("sdpa", "sdpa-cudnn", "sdpa-flash", "sdpa-math", "flash-attention", "transformer-engine")
)
"""In the order in which they are listed; `cosmos_cli.runtime.attention.register_backend` adds those of others."""


def check_backend(name: str) -> str:
    """The name of a backend. Raises ValueError: there is none of this name; worded for a field of a request."""
    if name in BACKENDS:
        return name
    # a part of a name says which are meant: "flsh" both that have "flash" in theirs
    parts = {part for known in BACKENDS for part in (known, *known.split("-"))}
    near = difflib.get_close_matches(name, parts, n=1)
    meant = [known for known in BACKENDS if near and (near[0] == known or near[0] in known.split("-"))]
    fix = f"Did you mean {' or '.join(meant)}?" if meant else f"There are: {', '.join(BACKENDS)}."
    raise ValueError(f"there is no attention backend {name[:40]!r}. {fix}")
