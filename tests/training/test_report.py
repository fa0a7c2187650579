"""The log of a run tells every step once, and its page stays small, readable and by itself."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import math
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.training.curves import MAX_POINTS, Curve, chart, short
from cosmos_cli.training.recipe import LogRecipe
from cosmos_cli.training.report import METRICS, REPORT, Log
from cosmos_cli.training.trackers import KEY_VARIABLE
from tests.browser import CHROMIUM, chromium
from tests.training.test_checkpoints import recipe


def tell(log: Log, *steps: int, loss: float = 0.5, **more: Any) -> None:
    for number in steps:
        log.step(
            number, loss=loss / number, grad_norm=1.0, rate=1e-4, seconds=0.5, tokens=1000, memory_bytes=1 << 30, **more
        )


def lines(job: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job / METRICS).read_text().splitlines()]


def test_every_step_is_a_line_with_all_that_is_known(tmp_path: Path) -> None:
    with Log(tmp_path / "job", recipe()) as log:
        tell(log, 1, parts={"edm": 0.25}, skipped=True)
        log.step(2, loss=math.nan, grad_norm=math.inf, rate=0.0, seconds=0.0, tokens=5)
    first, second = lines(tmp_path / "job")
    assert {name: first[name] for name in first if name != "time"} == {
        "iteration": 1,
        "loss": 0.5,
        "parts": {"edm": 0.25},
        "grad_norm": 1.0,
        "rate": 1e-4,
        "seconds": 0.5,
        "tokens_per_s": 2000.0,
        "memory_gib": 1.0,
        "skipped": True,
    }
    assert (second["loss"], second["grad_norm"], second["tokens_per_s"]) == (None, None, None)


def test_a_resumed_run_tells_each_step_once_also_after_half_a_line(tmp_path: Path) -> None:
    with Log(tmp_path, recipe()) as log:
        tell(log, 1, 2, 3, 4)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"iteration": 5, "lo')
    before = (tmp_path / METRICS).read_text().splitlines()[:3]
    with Log(tmp_path, recipe(), start=3) as log:
        tell(log, 4, 5)
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert (tmp_path / METRICS).read_text().splitlines()[:3] == before
    assert len(log._curves["Loss"].points) == 5
    with Log(tmp_path, recipe(), start=0) as log:
        tell(log, 1)
    assert [line["iteration"] for line in lines(tmp_path)] == [1]


def test_the_terminal_shows_loss_speed_memory_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output.configure(speaking=True)
    with Log(tmp_path, recipe(trainer__max_iter=400, log__logging_iter=2)) as log:
        tell(log, 1, 2, 3, loss=1.0)
    output.configure(speaking=False)
    assert capsys.readouterr().err == (
        "step 2 of 400: loss 0.75, 0.5 s/step, 2,000 tokens/s, 1.0 GiB, 3 min left\n"  # the mean of both steps
    )


def test_a_log_that_cannot_be_written_is_told_once_and_ends_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output.configure(speaking=True)
    with Log(tmp_path / "job", recipe()) as log:
        (tmp_path / "job" / METRICS).mkdir()
        tell(log, 1, 2, 3)
        log.sample(3, [np.zeros((2, 1, 16, 3), np.uint8)], 8)  # no height is left of it
    output.configure(speaking=False)
    said = capsys.readouterr().err
    assert said.count("metrics.jsonl of this run cannot be kept") == 1
    assert said.count("sample videos of this run cannot be kept") == 1
    assert (tmp_path / "job" / REPORT).is_file()


def test_a_curve_of_any_length_has_few_points_and_loses_no_peak_and_no_step() -> None:
    curve = Curve()
    for step in range(1, 100_001):
        curve.add(step, 7.0 if step == 31_415 else math.sin(step) if step != 5 else math.nan)
    assert len(curve.points) <= MAX_POINTS
    assert sum(point.count for point in curve.points) == 99_999
    assert max(point.high for point in curve.points) == 7.0
    assert all(point.step % curve.stride == 0 for point in curve.points)
    picture = chart("Loss", curve, 100_000)
    assert len(picture.band) + len(picture.line) < 40_000
    flat = Curve()
    flat.add(1, 0.25)
    assert "nan" not in chart("Rate", flat, 10).line


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0, 0.0123456, 1250.4, 6.1e-5, -3.0, 1e7)] == [
        *("0", "0.01235", "1,250", "6.1e-05", "-3", "1e+07")
    ]


def page_of(tmp_path: Path) -> Path:
    named = recipe(job__name="a<b>", trainer__max_iter=300)
    own = recipe(job__name="a<b>", trainer__max_iter=200, optimizer__lr=0.25)
    with Log(tmp_path / "job", own, named=named, experiment="example_7b") as log:
        tell(log, *range(1, 121))
        video = np.zeros((9, 32, 57, 3), np.uint8)  # an odd width
        log.sample(60, [video, video], 8)
        log.sample(120, [np.zeros((9, 32, 192, 3), np.uint8)], 8)  # six cameras in a row
    return tmp_path / "job" / REPORT


def test_the_page_is_one_file_that_shows_the_run(tmp_path: Path) -> None:
    html = page_of(tmp_path).read_text()
    assert "a&lt;b&gt;" in html
    assert "120 of 200" in html
    assert "can be resumed" in html
    assert "What differs from example_7b" in html
    assert '<td>optimizer.lr</td><td class="own">0.25</td><td>4.957595192603974e-05</td>' in html
    assert "<td>trainer.max_iter</td>" in html
    assert html.count("<svg") == 4
    [loss] = re.findall(r"<dt>Loss</dt><dd>(.+?)</dd>", html)
    assert f"<figcaption>Loss <b>{loss}</b>" in html  # not one number here and another there
    assert html.count("<video") == 3
    assert html.index("After step 120") < html.index("After step 60")
    assert 'src="samples/iter_000000060_1.mp4"' in html
    assert "http" not in html.replace("http-equiv", "")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_reads_on_a_phone_and_on_a_desk_and_plays_what_lies_beside_it(tmp_path: Path) -> None:
    path = page_of(tmp_path)
    with chromium(tmp_path / "profile") as page:
        for width in (390, 1280):
            page.open(path, width=width, is_phone=width < 500)
            assert page.run("document.documentElement.scrollWidth <= innerWidth")
            small = (
                "[...document.querySelectorAll('body *')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 12)"
            )
            assert page.run(f"{small}.length") == 0
            assert page.run("document.querySelector('svg').getBoundingClientRect().width") > 250
        page.run("scrollTo(0, document.body.scrollHeight)")
        play = (
            "(async () => { const v = document.querySelector('video'); await v.play();"
            " return [v.videoWidth, v.videoHeight]; })()"
        )
        assert page.run(play) == [192, 32]
        widths = "[...document.querySelectorAll('video')].map(v => v.getBoundingClientRect().width)"
        wide, narrow, _ = page.run(widths)
        assert wide > 2 * narrow
        assert all(address.startswith(("file:", "data:")) for address in page.requests)


def test_secrets_do_not_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdef-very-secret")
    with Log(tmp_path, recipe(checkpoint__load_path="/data/abcdef-very-secret/model.pt")):
        pass
    assert "abcdef-very-secret" not in (tmp_path / REPORT).read_text()


def test_tensorboard_is_an_extra_that_the_error_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else real(name))
    with pytest.raises(InputError, match=r"cosmos-cli\[tensorboard\]"):
        Log(tmp_path, recipe(log__tensorboard=True))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A client of Weights & Biases that keeps what it is told, and fails when it is told to."""
    state: dict[str, Any] = {"runs": [], "told": [], "fails": ""}

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            if state["fails"] == "log":
                raise ConnectionError("the service is away")
            state["told"].append((step, values))

        def finish(self) -> None:
            state["told"].append("finished")

    def init(**options: Any) -> Run:
        if state["fails"] == "init":
            raise ConnectionError("the service is away")
        state["runs"].append(options)
        return Run()

    module = types.ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    module.init, module.Settings = init, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv(KEY_VARIABLE, "key-of-forty-characters")
    return state


def test_a_service_is_told_every_step_and_the_same_run_goes_on(tmp_path: Path, service: dict[str, Any]) -> None:
    with Log(tmp_path, recipe()) as log:
        tell(log, 1, parts={"edm": 0.25})
    with Log(tmp_path, recipe(), start=1) as log:
        tell(log, 2)
    first, second = service["runs"]
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"
    assert first["config"]["trainer"]["max_iter"] == 10
    assert [step for step, _ in (each for each in service["told"] if each != "finished")] == [1, 2]
    assert service["told"][0][1]["parts/edm"] == 0.25


def test_the_environment_names_project_and_run(
    tmp_path: Path, service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    for name, value in (("WANDB_PROJECT_NAME", "as guides say"), ("WANDB_PROJECT", "as the client reads it")):
        monkeypatch.setenv(name, value)
        with Log(tmp_path, recipe()):
            pass
        assert (service["runs"][-1]["project"], service["runs"][-1]["id"]) == (value, "mine")
    with Log(tmp_path, recipe().model_copy(update={"log": LogRecipe(wandb_project="of the recipe")})):
        pass
    assert service["runs"][-1]["project"] == "of the recipe"


@pytest.mark.parametrize("fails", ["init", "log"])
def test_a_service_that_cannot_be_reached_costs_a_note(
    tmp_path: Path, service: dict[str, Any], fails: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service["fails"] = fails
    output.configure(speaking=True)
    with Log(tmp_path, recipe()) as log:
        tell(log, 1, 2)
    output.configure(speaking=False)
    said = capsys.readouterr().err
    assert said.count("the service is away") == 1
    assert len(lines(tmp_path)) == 2
