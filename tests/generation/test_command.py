from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from cosmos_cli.generation import command, foresight, load

order: list[str] = []


class Sample:
    outputs: ClassVar = {"video": Path("video.mp4")}

    def __str__(self) -> str:
        return "sample"


class Recorded:
    """A pipeline that keeps what happens to it."""

    @classmethod
    def load(cls, settings: Any, requests: Any, guardrails: Any) -> Recorded:
        order.append("load")
        return cls()

    def run(self, sample: Any, *, plans: Any) -> Any:
        order.append(f"run {sample} {plans}")
        return SimpleNamespace(summary=lambda: "made", document=dict)


def test_a_run_is_planned_while_the_device_is_as_free_as_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(name: str) -> Any:
        def note(*_: Any) -> str:
            order.append(name)
            return name

        return note

    monkeypatch.setattr(foresight, "plan_job", noted("plan"))
    monkeypatch.setattr(load, "checked_guardrails", noted("guardrails"))
    inputs: Any = SimpleNamespace(
        check=lambda settings, request: lambda: Sample(),
        job_of=lambda settings, request: None,
        prompts_of=lambda settings, request: [],
        PIPELINE=f"{__name__}:Recorded",
    )
    order.clear()
    command.make_one(
        inputs, SimpleNamespace(num_gpus=1, device="cpu", is_guarded=False), SimpleNamespace(overwrite=False)
    )
    assert order == ["plan", "guardrails", "load", "run sample ['plan']"]
