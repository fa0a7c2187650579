"""Inputs for Transfer tests, and a command line that takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", moving_gradient(9, 72, 96), fps=30)


@pytest.fixture
def transfer() -> Callable[..., CommandResult]:
    """`cosmos transfer run --model tiny` with a specification given as a dict; one step, unless options say more."""

    def run(spec: Any, *arguments: object) -> CommandResult:
        path = Path("spec.json")
        path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
        quick: list[object] = ["--controlnet_specs", path, "--model", "tiny"]
        if "--num_steps" not in arguments:
            quick += ["--num_steps", 1]
        return run_cosmos("transfer", "run", *quick, *arguments)

    return run
