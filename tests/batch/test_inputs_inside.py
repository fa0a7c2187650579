"""Of inputs that lie in stores the page of a batch shows where, and a small picture, wherever it is copied to."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.batch.entries import Entry
from cosmos_cli.batch.ledger import open_ledger
from cosmos_cli.batch.page import write_page
from cosmos_cli.files.stores import StorePath, keep_copies_in, stored
from cosmos_cli.files.writing import write_json
from cosmos_cli.media.image import write_png
from tests.batch.test_page import needs_chromium
from tests.browser import Page, chromium
from tests.clips import encode, moving_gradient
from tests.stores import empty_store

AT = "memory://bucket"


@pytest.fixture(autouse=True)
def memory(tmp_path: Path) -> Iterator[Any]:
    with empty_store(tmp_path / "copies") as files:
        yield files


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def at(address: str) -> StorePath:
    path = stored(Path(address))
    assert isinstance(path, StorePath)
    return path


@pytest.fixture
def folder() -> StorePath:
    """Of one finished item: inputs in its bucket, in another, here, beside it, and one that nobody has read."""
    folder = at(f"{AT}/out")
    write_png(Path("street.png"), moving_gradient(1, 90, 160)[0])
    encode(Path("clip.mp4"), moving_gradient(4, 72, 96))
    given = {
        "input_path": (f"{AT}/in/</script>a b#1.png", "street.png"),
        "controls": {"edge": {"input_control": ("memory://other/edges.mp4", "clip.mp4")}},
        "depth": (f"{AT}/out/depth.png", "street.png"),
        "unread": (f"{AT}/in/unread.mp4", "clip.mp4"),
    }

    def put(values: Any) -> Any:
        if isinstance(values, dict):
            return {name: put(value) for name, value in values.items()}
        at(values[0]).put(Path(values[1]))
        if "unread" not in values[0]:
            at(values[0]).here()
        return values[0]

    request = {**put(given), "local": str(Path("street.png").absolute()), "name": "a"}
    write_json(folder / "a.json", {"request": request})
    (folder / "a.mp4").put(Path("clip.mp4"))
    with open_ledger(folder / "all.ledger.jsonl") as ledger:
        ledger.write(Entry("key", "a", "done", files={"a.mp4": [1, ""], "a.json": [1, ""]}, result={"video": "a.mp4"}))
    return folder


def text_of(page: Path) -> str:
    return page.read_bytes().decode()


def inside(page: Path) -> dict[str, str]:
    [text] = re.findall(r'<script type="application/json" id="inputs-inside">(.*)</script>', text_of(page))
    told: dict[str, str] = json.loads(text)
    return told


LIE_AT = [f"{AT}/in/</script>a b#1.png", "memory://other/edges.mp4"]


def test_inputs_are_linked_where_that_leads_somewhere_and_shown_small(folder: StorePath, tmp_path: Path) -> None:
    page = write_page(folder)
    local = str(Path("street.png").absolute())
    assert sorted(inside(page)) == sorted([*LIE_AT, local])
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in inside(page).values())
    addresses = re.findall(r'<a(?: href="([^"]*)")?>', text_of(page))
    links = ["a.mp4", "../in/%3C/script%3Ea%20b%231.png", "depth.png", "../in/unread.mp4"]
    assert sorted(addresses) == sorted([*links, "", ""])
    told = re.findall(r'data-lies-at="([^"]*)"', text_of(page))
    assert sorted(map(html.unescape, told)) == sorted([*LIE_AT, f"{AT}/in/unread.mp4", local])
    # another process has read nothing, and keeps what the page had
    before = inside(page)
    keep_copies_in(tmp_path / "others")
    assert inside(write_page(folder)) == before
    # what somebody has put into the page is none of it
    page.write_bytes(page.read_bytes().replace(b"data:image/jpeg;base64,", b"https://evil.test/"))
    assert list(inside(write_page(folder))) == [local]


@needs_chromium
def test_a_page_that_was_copied_alone_shows_them_in_a_browser(folder: StorePath, browser: Page) -> None:
    Path("copied").mkdir()
    alone = Path("copied/report.html")
    alone.write_bytes(write_page(folder).read_bytes())
    browser.open(alone.absolute(), width=1280)
    pictures = (
        "[...document.querySelectorAll('img')].filter(each => each.src.startsWith('data:'))"
        ".map(each => each.naturalWidth).sort((a, b) => a - b)"
    )
    text = "document.querySelector('.beside').textContent"
    for _ in range(200):  # what is not there is known when the browser has looked
        if browser.run(pictures) == [96, 160, 160] and browser.run(text).count("Not there") == 2:
            break
        time.sleep(0.05)
    assert browser.run(pictures) == [96, 160, 160]
    assert LIE_AT[1] in browser.run(text)
    assert "Not there: ../in/unread.mp4" in browser.run(text)
