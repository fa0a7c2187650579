"""`cosmos demo` as a user types it: one run on the tiny models, and its page in a browser."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from cosmos_cli.testing import run_cosmos
from tests.browser import CHROMIUM, PLAYED, WIDEST, Page, chromium
from tests.third_party import COSMOS

pytestmark = pytest.mark.slow

PARTS = {"multiview": 1, "video2world": 1, "best-of-n": 3, "edge": 1, "depth": 1}
"""The parts of the families that come with cosmos, and how many videos each makes."""
NUM_VIDEOS = 17


class Demo:
    """One run in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.page = folder, folder / "cosmos-demo" / "gallery.html"
        self.result = self.run("--json")
        self.document: Any = json.loads(self.result.stdout)
        self.parts = {part["name"]: part for part in self.document["parts"]}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("COSMOS_")}
        variables = {**own, "COSMOS_CACHE_DIR": str(self.folder / "cache")}
        command = [str(COSMOS), "demo", *arguments]
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


def test_every_family_makes_its_videos(demo: Demo) -> None:
    assert demo.result.returncode == 0, demo.result.stderr
    assert demo.document["gallery"] == "cosmos-demo/gallery.html"
    assert {name: len(part["outputs"]) for name, part in demo.parts.items()} == PARTS
    assert [part["status"] for part in demo.parts.values()] == ["done"] * len(PARTS)


def test_its_videos_are_such_as_browsers_play(demo: Demo) -> None:
    for path in demo.folder.glob("cosmos-demo/*/**/*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0].codec_context
            assert (stream.name, stream.pix_fmt, stream.width % 2, stream.height % 2) == ("h264", "yuv420p", 0, 0), path


def test_the_page_is_one_file_with_everything_in_it(demo: Demo) -> None:
    text = demo.page.read_text()
    assert "tiny models" in text
    assert text.count("<video") == NUM_VIDEOS
    outside = re.sub(r'"data:(video/mp4|image/png);base64,[^"]*"', '""', text)
    assert not re.search(r'(?:src|href|action|poster)="(?!data:|#|")', outside)
    assert "@import" not in outside and "url(" not in outside
    assert len(re.findall(r'<(?:video|img)[^>]*(?:aria-label|alt)="[^"]{10,}"', text)) == NUM_VIDEOS + 2


@pytest.mark.parametrize("name", ["video2world", "edge"])
def test_a_command_makes_the_same_video_as_it_is_shown(demo: Demo, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.folder)
    [video] = (Path(path) for path in demo.parts[name]["outputs"])
    before = video.read_bytes()
    video.unlink()
    program, *arguments = shlex.split(demo.parts[name]["command"])
    assert program == "cosmos"
    assert run_cosmos(*arguments).exit_code == 0
    assert video.read_bytes() == before


def test_a_second_run_makes_nothing_again(demo: Demo) -> None:
    parts = json.loads(demo.run("--json").stdout)["parts"]
    assert [part["status"] for part in parts] == ["done before"] * len(PARTS)
    assert [part["seconds"] for part in parts] == [part["seconds"] for part in demo.parts.values()]


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "is_phone"), [(390, True), (1280, False)])
def test_in_a_browser_it_plays_fits_and_is_quiet(
    demo: Demo, browser: Page, width: int, is_phone: bool, scheme: str
) -> None:
    before = len(browser.requests)
    browser.prefer("prefers-color-scheme", scheme)
    browser.open(demo.page, width=width, is_phone=is_phone)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(WIDEST) <= width
    assert browser.run(PLAYED) == [True] * NUM_VIDEOS
    assert browser.run("[...document.images].every(image => image.naturalWidth > 0)")
    asked_for = [url for url in browser.requests[before:] if not url.startswith(("data:", "blob:"))]
    assert asked_for == [demo.page.as_uri()]
    assert browser.errors == []


@needs_chromium
def test_in_a_browser_the_command_can_be_copied(demo: Demo, browser: Page) -> None:
    browser.open(demo.page, width=1280)
    browser.run("document.execCommand = () => { window.clip = document.activeElement.value; return true; }, 0")
    button = "document.querySelectorAll('button[data-copy]')[1]"
    for writes in ("async text => { window.clip = text; }", "async () => { throw new Error('not here'); }"):
        browser.run(f"navigator.clipboard.writeText = {writes}, 0")
        browser.run(f"window.clip = ''; {button}.click()")
        browser.run("new Promise(done => setTimeout(done, 100))")
        assert browser.run("window.clip") == demo.document["parts"][1]["command"]
        assert browser.run(f"{button}.textContent") == "Copied"
        assert browser.run(f"document.activeElement === {button}")


@needs_chromium
def test_in_a_browser_videos_play_alone_only_for_who_wants_movement(demo: Demo, browser: Page) -> None:
    is_moving = "new Promise(done => setTimeout(() => done(!document.querySelector('video').paused), 500))"
    for preference, plays in (("reduce", False), ("no-preference", True)):
        browser.prefer("prefers-reduced-motion", preference)
        browser.open(demo.page, width=1280)
        browser.run("document.querySelector('video').scrollIntoView(), 0")
        assert browser.run(is_moving) == plays
        assert browser.run("document.querySelector('video').controls") != plays


@needs_chromium
def test_in_a_browser_everything_can_be_reached_by_keyboard(demo: Demo, browser: Page) -> None:
    browser.open(demo.page, width=1280)
    focusable = (
        "[...document.querySelectorAll('a, button, video, pre')].every(e => (e.focus(), document.activeElement === e))"
    )
    assert browser.run(focusable)
