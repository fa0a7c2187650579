"""A workbench that is served to tests, and a browser at it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cosmos_cli.workbench.guard import TOKEN_HEADER
from tests.browser import Page
from tests.waiting import until

ODD = os.fsdecode(b'it\'s <b>\xe9\n"$(x)" odd.mp4')
SPEC: dict[str, Any] = {"model_size": "tiny", "num_steps": 2, "edge": {"control_weight": 0.5}}


@dataclass
class Served:
    """A workbench that runs. address: of its page, with the token."""

    folder: Path
    line: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[str] = field(init=False)
    address: str = ""

    def start(self) -> None:
        command = [*self.line, "--port", "0", "--device", "cpu"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        found = re.search(r"http\S+", self.process.stdout.readline())
        assert found
        self.address = found[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    @property
    def base(self) -> str:
        return self.address.partition("/?")[0]

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {TOKEN_HEADER: self.address.partition("?t=")[2]}
        answer = (
            httpx.get(self.base + path, headers=headers, timeout=60)
            if body is None
            else httpx.post(self.base + path, headers=headers, json=body, timeout=60)
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, **changes: Any) -> int:
        spec = {"input_video_path": str(self.folder / "clips" / "ball.mp4"), **SPEC, **changes}
        return int(self.ask("/api/jobs", {"kind": "transfer run", "spec": spec})["id"])

    def job(self, number: int) -> Any:
        return next(job for job in self.ask("/api/state")["jobs"] if job["id"] == number)

    def wait_for(self, number: int, is_so: Callable[[Any], bool]) -> Any:
        return until(lambda: job if is_so(job := self.job(number)) else None, look_s=0.1)


def same_video(command: str, video: str, environment: dict[str, str], folder: Path) -> bool:
    """Whether a command line makes the same bytes again, run in a shell from elsewhere."""
    done = subprocess.run(
        ["bash", "-c", f"{command} --json"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    made = Path(json.loads(done.stdout)["video"])
    assert made != Path(video)
    return made.read_bytes() == Path(video).read_bytes()


def made_again(commands: Sequence[str], environment: dict[str, str], folder: Path) -> list[Any]:
    """What command lines print that begin with "cosmos", run one after the other in a process of their own."""
    code = (
        "import json, shlex, sys; from cosmos_cli.testing import run_cosmos; "
        "lines = [shlex.split(line)[1:] for line in json.load(sys.stdin)]; "
        "json.dump([run_cosmos(*words, '--json').json for words in lines], sys.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(commands),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    documents: list[Any] = json.loads(done.stdout)
    return documents


HELPERS = """
window.text = place => document.querySelector(place)?.innerText ?? "";
window.held ??= [];
window.compared = () => [...document.querySelectorAll("#compared video")];
window.thrown = place => {
    const video = compared()[place];
    video.currentTime = (video.currentTime + video.duration / 2) % video.duration;
};
window.spread = () => {
    const shares = compared().map(video => video.currentTime / video.duration);
    return Math.max(...shares) - Math.min(...shares);
};
window.plays = place => document.querySelector(place)?.readyState >= 2;
"""


def shown(page: Page, expression: str) -> None:
    until(lambda: page.run(f"{HELPERS} Boolean({expression})"), expression, look_s=0.1)


SEEING_PREVIEWS = """
new MutationObserver(() => window.hasSeenPreview ||= Boolean(document.querySelector(".job img[src*='/api/preview/']")))
    .observe(document.body, {childList: true, subtree: true});
"""
"""Remembers a preview of what is being made, which what is made takes the place of soon."""


def click(page: Page, place: str) -> None:
    page.run(f"document.querySelector({json.dumps(place)}).click()")


def set_field(page: Page, name: str, value: str) -> None:
    set_value(page, f"#field-{name}", value)


def set_value(page: Page, place: str, value: str) -> None:
    page.run(
        f"(() => {{ const input = document.querySelector('{place}'); input.value = {json.dumps(value)};"
        "input.dispatchEvent(new Event('input')); })()"
    )


def set_kind(page: Page, name: str) -> None:
    """Choose what to make, as a user does."""
    page.run(
        f"(() => {{ const input = document.querySelector('#kind'); input.value = {json.dumps(name)};"
        "input.dispatchEvent(new Event('change')); })()"
    )
