"""Where a pipeline computes: every step of it, in whatever thread, on the one GPU that was asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from cosmos_cli.batch.engine import run_batch
from cosmos_cli.batch.plan import Item, Plan
from cosmos_cli.generation.pipeline import Generated, Pipeline
from cosmos_cli.generation.record import PictureResult
from cosmos_cli.generation.settings import GenerationSettings
from cosmos_cli.generation.steps import Clock
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.requests import StrictModel
from cosmos_cli.runtime.shortcuts import Shortcuts
from cosmos_cli.runtime.workers.team import Team
from tests.fake_driver import FakeDriver

TRIALS = Shortcuts(tf32_products=True, trials=True)


class Request(StrictModel):
    """A picture."""

    name: str
    overwrite: bool = False


class Settings(GenerationSettings):
    """For a family whose original takes all shortcuts."""

    gpu_shortcuts: ClassVar = TRIALS
    model_size: str = "tiny"


@dataclass(frozen=True)
class Sample:
    """What the inputs give."""

    request: Request
    weights: Mapping[str, Path] = field(default_factory=dict)

    @property
    def outputs(self) -> dict[str, Path]:
        return {"sidecar": Path(f"{self.request.name}.json")}


SEEN: list[tuple[str, int]] = []
"""What was done, and on which GPU a kernel that asks for none would have run."""


def note(what: str) -> None:
    SEEN.append((what, torch.cuda.current_device()))


class Inputs:
    """As a kind's module of that name."""

    def prompts_of(self, settings: Settings, request: Request) -> list[str]:
        return [request.name]

    def read(self, settings: Settings, request: Request) -> Sample:
        note("read")
        return Sample(request)


class Spy:
    """A guardrail that lets everything pass."""

    def check_prompt(self, prompt: str) -> None:
        note("check_prompt")

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        note("check_video")
        return frames_FHWC


class Noting(Pipeline[Sample, PictureResult]):
    """Makes a black pixel."""

    inputs = Inputs()
    command = "cosmos note"

    @classmethod
    def load_models(cls, settings: Any, requests: Any, guardrails: Guardrails) -> Any:
        note("load")
        run: Callable[[Callable[[], Any]], Any] = lambda attempt: attempt()  # noqa: E731
        device = torch.device(settings.device)
        return SimpleNamespace(
            guardrails=guardrails,
            device=device,
            dtype=torch.bfloat16,
            team=Team(),
            stages=SimpleNamespace(run=run),
            text_encoder=None,
        )

    def frames(self, sample: Sample, prompt: str, clock: Clock) -> np.ndarray:
        with clock("denoise"):
            note("denoise")
        return np.zeros((1, 1, 1, 3), np.uint8)

    def write_media(self, generated: Generated[Sample]) -> None:
        note("write")

    def result(self, generated: Generated[Sample], **common: Any) -> PictureResult:
        return PictureResult(image=Path("a.png"), height=1, width=1, **common)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    """Three GPUs."""
    SEEN.clear()
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    yield FakeDriver(monkeypatch, ["a", "b", "c"])
    cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


def items(*names: str) -> Plan[Request]:
    made = [
        Item(name, name, index, Request(name=name), (Path(f"{name}.json"),), name) for index, name in enumerate(names)
    ]
    return Plan(Path("rows"), tuple(made), ())


def test_a_batch_on_the_second_gpu_computes_there_in_all_its_threads(driver: FakeDriver) -> None:
    settings = Settings(device="cuda:1")

    def load(requests: Any) -> Any:
        return Noting.load(settings, requests, Guardrails({"spy": Spy()}))

    report = run_batch(items("first", "second"), load, ledger=Path("ledger"))
    assert [outcome.error for outcome in report.outcomes] == ["", ""]
    assert {what for what, _ in SEEN} == {"load", "check_prompt", "read", "denoise", "check_video", "write"}
    assert {gpu for _, gpu in SEEN} == {1}
    assert set(driver.waited_for) == {1}
    assert driver.current() == 0  # the caller's own work goes on where it was


def test_two_pipelines_of_one_process_keep_to_their_gpus(driver: FakeDriver) -> None:
    pipelines = [Noting.load(Settings(device=f"cuda:{number}"), [], Guardrails({})) for number in (1, 2)]
    SEEN.clear()
    for pipeline in pipelines:
        pipeline.run(Sample(Request(name="a")))
    assert {gpu for _, gpu in SEEN[: len(SEEN) // 2]} == {1}
    assert {gpu for _, gpu in SEEN[len(SEEN) // 2 :]} == {2}


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_shortcuts_are_in_force_while_it_computes_and_in_the_sidecar(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, is_deterministic: bool
) -> None:
    settings = Settings(device="cuda:1", deterministic=is_deterministic)
    Noting.load(settings, [], Guardrails({})).run(Sample(Request(name="a")))
    document = json.loads(Path("a.json").read_text())
    assert document["environment"]["device"] == "Fake 1"
    assert document["environment"]["shortcuts"] == ("none" if is_deterministic else str(TRIALS))
    assert document["request"]["deterministic"] == is_deterministic
    on = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    assert on == (not is_deterministic,) * 3
    costs = [notice for notice in document["notices"] if "TF32 has some 8 times" in notice]
    assert len(costs) == is_deterministic


def test_a_run_that_fails_leaves_the_caller_s_gpu(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Noting.load(Settings(device="cuda:2"), [], Guardrails({}))
    monkeypatch.setattr(Noting, "frames", lambda *_: 1 / 0)
    with contextlib.suppress(ZeroDivisionError):
        pipeline.make(Sample(Request(name="a")))
    assert driver.current() == 0
