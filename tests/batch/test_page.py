"""The page that a batch leaves: what became of every item, whoever chose the names, quick with a thousand of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from cosmos_cli import output
from cosmos_cli.batch import page as page_module
from cosmos_cli.batch.engine import run_batch
from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import Ledger, open_ledger
from cosmos_cli.batch.manifest import Row
from cosmos_cli.batch.page import keeping_page, write_page
from cosmos_cli.batch.plan import Item, Plan, plan_batch
from cosmos_cli.errors import GuardrailBlocked, InputError
from cosmos_cli.files.writing import write_json
from cosmos_cli.requests import StrictModel
from cosmos_cli.testing import run_cosmos
from tests.batch.test_engine import Shouter
from tests.browser import CHROMIUM, PLAYED, WIDEST, Page, chromium
from tests.clips import encode, moving_gradient
from tests.waiting import until

FOLDER = Path("out")
LEDGER = FOLDER / "all.ledger.jsonl"
PAGE = FOLDER / "report.html"
HOSTILE = '</script><script>document.title=1</script>"\'><img src="http://evil.test/x.png" onerror="document.title=1">'
NAMES = ("javascript:alert(1)", "a b#c%41?d", "ü 中", "<b>x<", "plain_name")


class Request(StrictModel):
    """What a row of these tests asks for."""

    name: str
    prompt: str
    seed: int = 0
    steps: int = 35
    controls: dict[str, dict[str, float]] = Field(default_factory=dict)


def items_of(*requests: Request) -> list[Item[Request]]:
    def item(number: int, each: Request) -> Item[Request]:
        key, files = f"key {each.name} {each.prompt}", (FOLDER / f"{each.name}.mp4",)
        return Item(each.name, f"all.jsonl line {number}", number, each, files, key)

    return [item(number, each) for number, each in enumerate(requests, start=1)]


def finish(ledger: Ledger, item: Item[Request], *, seconds: float = 12.5, sidecar: Any = None) -> None:
    """A video with its control, as a family leaves them."""
    name = item.name
    files = {f"{name}.mp4": [1, ""], f"{name}_edge_input_control.mp4": [1, ""], f"{name}.json": [1, ""]}
    write_json(FOLDER / f"{name}.json", sidecar or {"request": item.request.model_dump(), "prompt_used": None})
    paths = {"video": f"elsewhere/{name}.mp4", "controls": {"edge": f"elsewhere/{name}_edge_input_control.mp4"}}
    result = {"sidecar": f"elsewhere/{name}.json", "width": 160, "height": 96, **paths}
    ledger.write(Entry(item.key, name, "done", seconds=seconds, files=files, result=result))


@pytest.fixture
def hostile() -> list[Item[Request]]:
    """A batch that was stopped: videos with odd names, an item that failed, one that was blocked, and so on."""
    requests = [Request(name=name, prompt=f"A street. {HOSTILE}", seed=seed) for seed, name in enumerate(NAMES)]
    states = {"broken": "failed", "refused": "blocked", "half": "started", "later": "waiting"}
    items = items_of(*requests, *(Request(name=name, prompt=f"Of {name}.") for name in states))
    with open_ledger(LEDGER) as ledger:
        ledger.begin(items, {"all.jsonl line 10": f"prompt: is {HOSTILE}."})
        for item in items[: len(NAMES)]:
            encode(FOLDER / f"{item.name}.mp4", moving_gradient(4, 96, 160))
            encode(FOLDER / f"{item.name}_edge_input_control.mp4", moving_gradient(4, 96, 160))
            finish(ledger, item)
        for item in items[len(NAMES) : -1]:
            ledger.write(Entry(item.key, item.name, states[item.name], error=HOSTILE * (item.name == "broken")))  # type: ignore[arg-type]
    return items


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


SHOWN = "[...document.querySelectorAll('article:not([hidden]) h2')].map(name => name.textContent)"


@needs_chromium
@pytest.mark.parametrize(("width", "is_phone"), [(390, True), (1280, False)])
def test_in_a_browser_it_plays_fits_filters_and_is_quiet(
    hostile: list[Item[Request]], browser: Page, width: int, is_phone: bool
) -> None:
    page = write_page(FOLDER).absolute()
    before = len(browser.requests)
    browser.open(page, width=width, height=12_000, is_phone=is_phone)  # high enough that all is near
    assert browser.run("document.title") == "all"
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(WIDEST) <= width
    num_videos = "new Promise(go => setTimeout(go, 300)).then(() => document.querySelectorAll('video').length)"
    assert browser.run(num_videos) == 2 * len(NAMES)
    assert browser.run(PLAYED) == [True] * 2 * len(NAMES)

    assert browser.run(SHOWN) == [*NAMES, "broken", "refused", "half", "later", "all.jsonl line 10"]
    browser.run("document.querySelector('button[data-show=failed]').click()")
    assert browser.run(SHOWN) == ["broken", "all.jsonl line 10"]
    assert browser.run("document.getElementById('told').textContent") == "2 of 10 shown"
    browser.run("document.querySelector('button[data-show=\"\"]').click()")
    browser.run(
        "(field => { field.value = 'OF half'; field.dispatchEvent(new Event('input')); })"
        "(document.querySelector('input'))"
    )
    assert browser.run(SHOWN) == ["half"]

    own = FOLDER.absolute().as_uri()
    assert all(url.startswith((own, "data:")) for url in browser.requests[before:])
    assert browser.errors == []


@needs_chromium
def test_in_a_browser_a_filter_outlives_loading_it_anew(hostile: list[Item[Request]], browser: Page) -> None:
    browser.open(write_page(FOLDER).absolute(), width=1280)
    browser.run("document.querySelector('button[data-show=blocked]').click()")
    browser.run("window.isOld = true")
    browser.run("location.reload(), 0")
    until(lambda: browser.run("document.readyState === 'complete' && !window.isOld"))
    assert browser.run(SHOWN) == ["refused"]


@needs_chromium
def test_a_thousand_items_cost_a_browser_little_more_than_ten(browser: Page) -> None:
    """Of a thousand videos with their controls few exist at a time, and the page is there within two seconds."""
    took, players = {}, {}
    for count in (10, 1000):
        items = items_of(*(Request(name=f"{count}_{i}", prompt="A street. " * 20, seed=i) for i in range(count)))
        LEDGER.unlink(missing_ok=True)
        with open_ledger(LEDGER) as ledger:
            ledger.begin(items, {})
            for item in items:
                finish(ledger, item)
        page = write_page(FOLDER).absolute()
        browser.open(page, width=1280)  # the first time compiles
        took[count] = min(time_of_opening(browser, page) for _ in range(3))  # what else runs can only add to it
        assert browser.run("document.querySelectorAll('article').length") == count
        players[count] = browser.run("document.querySelectorAll('video').length")
        browser.run("scrollTo(0, document.body.scrollHeight)")
    assert players[1000] <= 40
    assert took[1000] < 2 + 10 * took[10]  # on a machine that does other things too


def time_of_opening(browser: Page, page: Path) -> float:
    """Seconds until it is shown."""
    start = time.perf_counter()
    browser.open(page, width=1280)
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return time.perf_counter() - start


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_no_text_becomes_markup_and_no_name_an_address_of_its_own(hostile: list[Item[Request]]) -> None:
    html = text_of(write_page(FOLDER))
    assert html.count("<script>") == 1
    assert "<img" not in html
    assert "evil.test" in html and 'src="http://evil' not in html
    for address in ("javascript%3Aalert%281%29.mp4", "a%20b%23c%2541%3Fd.mp4", "%C3%BC%20%E4%B8%AD.mp4"):
        assert f'href="{address}"' in html


def test_settings_that_differ_are_shown_and_those_that_do_not_are_not() -> None:
    one = Request(name="one", prompt="A.", seed=1, controls={"edge": {"control_weight": 0.5}})
    two = Request(name="two", prompt="B.", seed=1, controls={"edge": {"control_weight": 1.0}})
    with open_ledger(LEDGER) as ledger:
        ledger.begin(items_of(one, two), {})
    html = text_of(write_page(FOLDER))
    assert html.count("<dt>edge control weight</dt>") == 2
    assert "<dd>0.5</dd>" in html and "<dd>1.0</dd>" in html
    assert html.count("<dt>") == 2


@pytest.mark.parametrize("sidecar", [{"request": []}, {"request": {"prompt": ["x"], "a": {"b": [{}]}}}, [1]])
def test_odd_sidecars_and_results_cost_at_most_what_they_tell(sidecar: Any) -> None:
    [item] = items_of(Request(name="one", prompt="A."))
    with open_ledger(LEDGER) as ledger:
        ledger.begin([item], {})
        finish(ledger, item, seconds=float("1e308"), sidecar=sidecar)
        ledger.write(Entry("other", "other", "done", files={"x.mp4": [1, ""]}, result={"video": 3, "width": "1;x"}))
    assert text_of(write_page(FOLDER)).count("<article") == 2


def plan_of(*prompts: str) -> Plan[Request]:
    path = Path("all.jsonl")
    path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))

    def to_item(row: Row) -> Item[Request]:
        if not row.values["prompt"]:
            raise InputError("must not be empty.", where="prompt")
        [item] = items_of(Request(name=f"n{row.index}", prompt=row.values["prompt"]))
        return item

    return plan_batch(path, to_item)


class Films(Shouter):
    """A pipeline that writes a text as a video."""

    def prepare(self, request: Any) -> dict[str, str]:
        return super().prepare({"text": request.prompt, "path": str(FOLDER / f"{request.name}.mp4")})


def statuses() -> dict[str, str]:
    """As the page tells them."""
    cards = text_of(PAGE).split("<article ")[1:]
    return {card.split("<h2>")[1].split("</h2>")[0]: card.split('data-status="')[1].split('"')[0] for card in cards}


def test_a_row_that_is_mended_takes_the_place_of_the_wrong_one_and_an_older_one_of_its_name() -> None:
    run_batch(plan_of("a", "", "c"), lambda _: Films(), ledger=LEDGER)
    assert statuses() == {"n0": "done", "all.jsonl line 2": "failed", "n2": "done"}
    run_batch(plan_of("a", "b", "d"), lambda _: Films(), ledger=LEDGER)
    assert statuses() == {"n0": "done", "n1": "done", "n2": "failed"}
    assert "exists already, and not from this row" in text_of(PAGE)
    before = LEDGER.read_bytes()
    run_batch(plan_of("a", "b"), lambda _: Films(), ledger=LEDGER)
    run_batch(plan_of("a", "b"), lambda _: Films(), ledger=LEDGER)
    assert statuses() == {"n0": "done", "n1": "done", "n2": "done"}  # what was made of an earlier file is still there
    assert LEDGER.read_bytes().count(b"\n") == before.count(b"\n") + 1


def test_a_batch_that_is_stopped_or_refused_as_a_whole_leaves_a_page_too() -> None:
    def stop(text: str) -> None:
        if text == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(plan_of("a", "b", "c"), lambda _: Films(make_hook=stop), ledger=LEDGER)
    assert statuses() == {"n0": "done", "n1": "stopped", "n2": "not begun"}

    def load(_: Sequence[Request]) -> Any:
        raise GuardrailBlocked("every prompt was refused.")

    run_batch(plan_of("a", "b", "c"), load, ledger=LEDGER)
    assert statuses() == {"n0": "done", "n1": "blocked", "n2": "blocked"}
    assert "every prompt was refused." in text_of(PAGE)


def test_the_page_is_written_anew_while_a_batch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "_REFRESH_S", 0.05)
    seen: list[dict[str, str]] = []

    def look(text: str) -> None:
        until(lambda: PAGE.exists() and statuses().get("n1") == "being made")
        seen.append(statuses())

    worker = Films(make_hook=lambda text: look(text) if text == "b" else None)
    run_batch(plan_of("a", "b", "c"), lambda _: worker, ledger=LEDGER)
    assert seen[0]["n1"] == "being made"
    assert seen[0]["n2"] in ("waiting", "being made")
    assert statuses() == dict.fromkeys(("n0", "n1", "n2"), "done")


def test_a_page_of_somebody_else_is_kept_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    FOLDER.mkdir()
    PAGE.write_text("precious")
    output.configure(speaking=True)
    report = run_batch(plan_of("a"), lambda _: Films(), ledger=LEDGER)
    output.configure(speaking=False)
    assert PAGE.read_text() == "precious"
    assert (report.exit_code, report.document()["report"]) == (0, None)
    assert capsys.readouterr().err.count("report.html is not written: is not the report of a batch") == 1
    failed = run_cosmos("batch", "report", "out")
    assert (failed.exit_code, "Move it away" in failed.stderr) == (2, True)


def test_a_folder_with_several_batches_has_one_page_and_it_can_be_written_anew() -> None:
    for name in ("day", "night"):
        with open_ledger(FOLDER / f"{name}.ledger.jsonl") as ledger:
            ledger.begin(items_of(Request(name=f"{name}_1", prompt=f"At {name}.")), {})
    for place in ("out", "out/day.ledger.jsonl"):
        made = run_cosmos("batch", "report", place, "--json")
        assert made.json["report"] == "out/report.html"
        html = text_of(PAGE)
        assert "<title>day, night</title>" in html
        assert "At day." in html and "At night." in html
        PAGE.unlink()
    empty = run_cosmos("batch", "report", "nowhere")
    assert (empty.exit_code, "nowhere" in empty.stderr) == (2, True)


def test_a_page_that_cannot_be_written_costs_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_ledger(LEDGER) as ledger:
        ledger.begin(items_of(Request(name="one", prompt="A.")), {})

    def fail(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_module, "render", fail)
    output.configure(speaking=True)
    with keeping_page(LEDGER):
        pass
    output.configure(speaking=False)
    assert "report.html is not written: No space left on device" in capsys.readouterr().err
