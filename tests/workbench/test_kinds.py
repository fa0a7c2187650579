"""Everything that the workbench offers to make: asked by a program, and what is new beside controls in a browser."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import output, registry
from cosmos_cli.workbench.kind import kinds
from tests.browser import CHROMIUM, Page, chromium
from tests.test_console_lines import EXAMPLES
from tests.workbench.serving import SEEING_PREVIEWS, Served, click, made_again, set_field, set_kind, shown

PROMPT = "The ball rolls to the left."


def test_a_family_that_cannot_be_shown_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    families = registry.current().families
    name, *others = [name for name, family in families.items() if family.workbench is not None]
    monkeypatch.setitem(families, name, replace(families[name], workbench="nowhere:KINDS"))
    assert {kind.command[0] for kind in kinds().values()} == set(others)
    assert any(f"{name} is not in the workbench" in notice for notice in output.notices())


def specs(served: Served, name: str, about: Any) -> list[dict[str, Any]]:
    """What a tiny run of a kind may be asked for, with and without its input."""
    spec: dict[str, Any] = {"prompt": PROMPT, "model_size": "tiny", "num_steps": 1, "seed": 3}
    if about["controls"]:
        spec["edge"] = {"control_weight": 0.5}
    clip = about["clip"]
    if clip is None:
        return [spec]
    given = {**spec, clip["field"]: str(served.folder / "clips" / "ball.mp4")}
    if clip["takes_pictures"]:
        given[clip["field"]] = str(picture(served))
    return [given] if clip["is_needed"] else [spec] if name == "predict1-multiview run" else [spec, given]


def picture(served: Served) -> Path:
    path = served.folder / "clips" / "harbour.jpg"
    return path if path.exists() else Path(shutil.copy(EXAMPLES / "harbour.jpg", path))


@pytest.mark.slow
def test_every_kind_makes_what_its_exported_command_line_makes(served: Served, tmp_path: Path) -> None:
    shown_as, numbers, lines = {}, [], []
    for name, about in served.ask("/api/about")["kinds"].items():
        shown_as[name] = kinds()[name].shows
        for spec in specs(served, name, about):
            numbers.append(served.ask("/api/jobs", {"kind": name, "spec": spec})["id"])
            lines.append(served.ask("/api/export", {"kind": name, "spec": spec})["command"])
    # of all cameras: what was just made is an input too
    first = next(number for number in numbers if served.job(number)["kind"] == "predict1-multiview run")
    views = Path(served.job(first)["folder"], "output.mp4")
    served.wait_for(first, lambda job: job["status"] in ("done", "failed"))
    spec = {"prompt": PROMPT, "model_size": "tiny", "num_steps": 1, "input_image_or_video_path": str(views)}
    numbers.append(served.ask("/api/jobs", {"kind": "predict1-multiview run", "spec": spec})["id"])
    lines.append(served.ask("/api/export", {"kind": "predict1-multiview run", "spec": spec})["command"])
    jobs = [served.wait_for(number, lambda job: job["status"] in ("done", "failed")) for number in numbers]
    assert [job["problems"] for job in jobs] == [[]] * len(jobs)
    for job, document in zip(jobs, made_again(lines, served.environment, tmp_path), strict=True):
        made = Path(document[shown_as[job["kind"]]])
        assert made != Path(job["output"])
        assert made.read_bytes() == Path(job["output"]).read_bytes(), job["kind"]
        assert job["num_previews"] > 0, job["kind"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_picture_is_continued_and_another_made_in_a_browser(served: Served, tmp_path: Path) -> None:
    picture(served)
    with chromium(tmp_path / "profile") as page:
        page.open(served.address, width=1280, height=900)
        shown(page, "document.body.dataset.ready === 'yes'")
        card = "[data-path$='harbour.jpg']"
        assert page.run(f'document.querySelector("{card}")') is None  # controls come out of videos alone
        set_kind(page, "predict2 video2world")
        assert page.run("document.querySelector('#stage').hidden && text('#kind-help').includes('Continue a picture')")
        click(page, "#run")
        shown(page, "text('#form-problem').includes('No picture or clip is chosen')")
        click(page, card)
        shown(page, "document.querySelector('#chosen img').naturalWidth > 0")
        asked = {"prompt": PROMPT, "model_size": "tiny", "num_steps": "10"}
        for name, value in asked.items():
            set_field(page, name, value)
        click(page, "#plan")
        shown(page, "text('#plan-result').includes('all there')")
        page.run(SEEING_PREVIEWS)
        continued = run(page)
        shown(page, "window.hasSeenPreview")
        shown(page, f"text('#output').includes('run {continued}') && plays('#output video')")
        set_kind(page, "predict2 text2image")
        assert page.run("document.querySelector('#input').hidden && document.querySelector('#chosen').hidden")
        assert page.run("document.querySelector('#field-prompt').value") == ""  # nothing of another kind
        set_field(page, "model_size", "tiny")
        set_field(page, "num_steps", "2")
        click(page, "#run")
        shown(page, "text('#form-problem').includes('Prompt: is required')")
        set_field(page, "prompt", PROMPT)
        drawn = run(page)
        shown(page, f"document.querySelector('[data-job=\"{drawn}\"] .status.done')")
        shown(
            page, f"text('#output').includes('run {drawn}') && document.querySelector('#output img').naturalWidth > 0"
        )
        for number in (continued, drawn):
            click(page, f"[data-compares='{number}']")
        shown(page, "document.querySelectorAll('#compared img').length === 2")
        shown(page, "compared().length === 1 && text('#compared').includes('predict2 text2image')")
        click(page, "#export")
        shown(page, "document.querySelector('#export-command')")
        lines = [page.run("document.querySelector('#export-command').textContent")]
        click(page, f"[data-job='{continued}'] .buttons button:nth-child(2)")
        shown(page, "document.querySelector('#kind').value === 'predict2 video2world'")
        shown(page, f"document.querySelector(\"{card}\")?.ariaPressed === 'true'")
        click(page, f"[data-job='{drawn}'] .buttons button:nth-child(3)")  # what was made can go on
        shown(page, "document.querySelector('#chosen img').src.includes('output.png') && text('#clip-facts')")
        click(page, card)
        shown(page, "document.querySelector('#chosen img').src.includes('harbour') && text('#clip-facts')")
        page.open(served.base, width=390, is_phone=True)  # the kind and what was set of each is still there
        shown(
            page, "document.body.dataset.ready === 'yes' && document.querySelector('#field-num_steps').value === '10'"
        )
        shown(page, "document.querySelector('#chosen img').naturalWidth > 0 && plays('#output video')")
        assert page.run("document.documentElement.scrollWidth") <= 390
        click(page, "#export")
        shown(page, "document.querySelector('#export-spec')")
        spec = json.loads(page.run("document.querySelector('#export-spec').textContent"))
        assert spec == {**asked, "num_steps": 10, "input_path": str(picture(served))}
        lines.append(page.run("document.querySelector('#export-command').textContent"))
        set_kind(page, "predict2 text2image")
        assert page.run("document.querySelector('#field-num_steps').value") == "2"
        refused = [each for each in page.errors if "422" in each.get("entry", {}).get("text", "")]
        assert page.errors == refused and len(refused) == 2
    picture_again, video_again = made_again(lines, served.environment, tmp_path)
    assert Path(picture_again["image"]).read_bytes() == Path(served.job(drawn)["output"]).read_bytes()
    assert Path(video_again["video"]).read_bytes() == Path(served.job(continued)["output"]).read_bytes()


def run(page: Page) -> int:
    """Press Run; the number of what comes of it."""
    before = page.run("document.querySelectorAll('.job').length")
    click(page, "#run")
    shown(page, f"document.querySelectorAll('.job').length > {before}")
    return int(page.run("document.querySelector('#jobs > :first-child').dataset.job"))
