"""Headless Chromium for tests, spoken to over its DevTools pipe: no driver, no socket, no package."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe "
    # Chromium has errands of its own; they end at a port where nobody listens. This machine itself goes past it
    "--proxy-server=127.0.0.1:9"
)

PLAYED = """Promise.all([...document.querySelectorAll("video")].map(async video => {
    await video.play();
    // looking once is not enough: at the end of a loop a playing video has no frame for a moment
    for (let look = 0; look < 6000; look++) {
        if (video.readyState >= 2 && video.currentTime > 0) return true;
        await new Promise(resolve => setTimeout(resolve, 10));
    }
    return false;
}))"""

"""Plays every video of a page; whether each shows something."""

WIDEST = (
    """Math.max(...[...document.querySelectorAll("body *")].map(element => element.getBoundingClientRect().right))"""
)
"""Where the rightmost element ends, in CSS pixels."""

_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and writes answers to descriptor 4."""


class Page:
    """One open tab.

    requests: address of everything that the page has asked for, also where it was refused.
    errors: what it or the browser has complained of.
    console: what its scripts have written there.
    """

    def __init__(self, browser: _Pipe, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        self.errors: list[Any] = []
        self.console: list[Any] = []
        self._is_loaded = True
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, page: Path | str, *, width: int, height: int = 844, is_phone: bool = False) -> None:
        """Load a file or an address at a window size in CSS pixels, and wait until it is there."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        self._is_loaded = False
        self._call("Page.navigate", url=page.absolute().as_uri() if isinstance(page, Path) else page)
        while not self._is_loaded:
            self._take(self._browser.next())

    def prefer(self, feature: str, value: str) -> None:
        """Have pages that are opened from now on find a preference of their reader, and no others."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": feature, "value": value}])

    def prepare(self, script: str) -> None:
        """Have a script run in pages that are opened from now on, before their own."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        arguments = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self._call("Runtime.evaluate", expression=expression, **arguments)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drag(self, place: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse on an element, move and let go; from and to fractions of its width and height."""
        box = f"document.querySelector({json.dumps(place)}).getBoundingClientRect()"
        left, top, width, height = self.run(f"(box => [box.left, box.top, box.width, box.height])({box})")
        ways = {"mousePressed": start, "mouseMoved": end, "mouseReleased": end}
        for kind, (x, y) in ways.items():
            where = {"x": left + x * width, "y": top + y * height}
            self._call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **where)

    def described(self) -> str:
        """What it shows now and what was complained of, for whoever reads of a failure."""
        try:
            shown = self.run("`${location.href}\\n${document.body.innerText}`")
        except Exception as error:  # it is described because something is wrong already
            shown = f"nothing that could be read: {error!r}"
        return f"The page showed: {shown}\nConsole: {self.console}\nComplaints: {self.errors}"

    def _call(self, method: str, **parameters: Any) -> Any:
        return self._browser.call(method, parameters, self._session, self._take)

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        is_complaint = event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
        if is_complaint or event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(event["params"])
        if event.get("method") == "Runtime.consoleAPICalled":
            self.console.append([each.get("value") for each in event["params"]["args"]])
        self._is_loaded |= event.get("method") == "Page.loadEventFired"


class _Pipe:
    """Commands and events of the DevTools protocol: JSON, each ended by a zero byte."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._reader, self._writer = os.fdopen(read_fd, "rb"), os.fdopen(write_fd, "wb")
        self._rest, self._number = b"", 0

    def call(self, method: str, parameters: Any, session: str | None = None, take: Any = None) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._writer.write(json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0")
        self._writer.flush()
        while (answer := self.next()).get("id") != self._number:
            if take:
                take(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def next(self) -> dict[str, Any]:
        """The next answer or event; fails after `PATIENCE_S` of silence."""
        while b"\0" not in self._rest:
            assert select.select([self._reader], [], [], PATIENCE_S)[0], "Chromium says nothing"
            more = os.read(self._reader.fileno(), 1 << 16)
            assert more, "Chromium has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a fresh Chromium whose profile is kept in the folder `profile`.

    Raises:
        AssertionError: the block failed; it says what the page showed.
    """
    assert CHROMIUM
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    command = [CHROMIUM, *_FLAGS.split(), f"--user-data-dir={profile}"]
    # clear of the numbers 3 and 4, which the launcher is about to fill
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]
    launcher = [sys.executable, "-c", _LAUNCHER, *map(str, ends), *command]
    process = subprocess.Popen(launcher, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (commands, answers, *ends):
        os.close(end)
    pipe = _Pipe(from_browser, to_browser)
    try:
        target = pipe.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(pipe, session)
        try:
            yield page
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{page.described()}") from error
    finally:
        pipe.close()
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
