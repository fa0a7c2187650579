"""Guardrails of other packages, installed for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from cosmos_cli import registry
from tests.third_party import write_distribution

Install = Callable[..., None]

LOG = Path("checked.txt")
"""Where an installed guardrail notes each prompt that it checks, one per line."""

_numbers = count()

_SOURCE = """
from cosmos_cli.hookspecs import hookimpl


@hookimpl
def cosmos_register_guardrails(register):
    register(name={name!r}, help="Watches.", factory="{module}:Watch")


class Watch:
    def __init__(self, device, offload):
        pass

    def check_prompt(self, prompt):
        with open("{log}", "a") as log:
            log.write(prompt + "\\n")
        {on_prompt}

    def check_video(self, frames_FHWC):
        {on_video}
"""


def installing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Install]:
    """Installs guardrails for the rest of a test; each test module makes a fixture of it.

    `install(name, on_prompt=..., on_video=...)` takes the statement that ends each check.
    """

    def install(name: str, *, on_prompt: str = "pass", on_video: str = "return frames_FHWC") -> None:
        module = f"watching_{next(_numbers)}"  # a name of its own: modules of earlier tests stay imported
        source = _SOURCE.format(name=name, module=module, log=LOG, on_prompt=on_prompt, on_video=on_video)
        packages = tmp_path / "packages"
        write_distribution(packages, module.replace("_", "-"), {module: source}, {module: module}, {name: module})
        monkeypatch.syspath_prepend(packages)
        registry.current.cache_clear()

    yield install
    registry.current.cache_clear()
