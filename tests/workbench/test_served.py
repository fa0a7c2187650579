"""`cosmos workbench` as a user starts it, asked by a program and driven in a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from cosmos_cli.media.video import read_video
from cosmos_cli.testing import run_cosmos
from tests.browser import CHROMIUM, WIDEST, Page, chromium
from tests.waiting import runs, until
from tests.workbench.serving import (
    HELPERS,
    ODD,
    SEEING_PREVIEWS,
    Served,
    click,
    same_video,
    set_field,
    set_value,
    shown,
)

PROMPT = """it's a "room"\n\n$(with) `two` \\ lines"""


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_run_and_the_next_has_another(served: Served) -> None:
    first, second = served.run(num_steps=1000), served.run()
    served.wait_for(first, lambda job: job["step"] > 0)
    worker = served.ask("/api/state")["worker"]
    os.kill(worker, signal.SIGKILL)
    failed = served.wait_for(first, lambda job: job["status"] == "failed")
    assert "SIGKILL" in failed["problems"][0]["what"]
    assert served.wait_for(second, lambda job: job["status"] in ("done", "failed"))["status"] == "done"
    assert served.ask("/api/state")["worker"] != worker


@pytest.mark.slow
def test_a_cancelled_run_ends_at_its_step_and_the_model_stays(served: Served) -> None:
    number = served.run(num_steps=1000)
    running = served.wait_for(number, lambda job: job["num_previews"] > 0)
    worker = served.ask("/api/state")["worker"]
    served.ask(f"/api/jobs/{number}/cancel", {})
    served.wait_for(number, lambda job: job["status"] == "cancelled")
    assert served.ask("/api/state")["worker"] == worker
    assert not list(Path(running["folder"]).glob("output*"))


@pytest.mark.slow
def test_a_look_that_is_asked_for_again_while_it_is_cancelled_is_made(served: Served) -> None:
    clip = str(served.folder / "clips" / "cylinder.mp4")
    spec = {"input_video_path": clip, "model_size": "tiny", "seg": {"control_weight": 1.0}}
    asked = {"kind": "transfer run", "spec": spec}
    first = served.ask("/api/looks", asked)["id"]
    assert served.ask("/api/looks", asked)["id"] == first
    served.wait_for(first, lambda job: job["status"] != "queued")
    served.ask(f"/api/jobs/{first}/cancel", {})
    second = served.ask("/api/looks", asked)["id"]
    assert served.wait_for(second, lambda job: job["status"] in ("done", "failed", "cancelled"))["status"] == "done"


@pytest.mark.slow
def test_the_queue_survives_the_server_even_if_it_is_killed(served: Served) -> None:
    done = served.run()
    served.wait_for(done, lambda job: job["status"] == "done")
    running, queued = served.run(num_steps=60), served.run(seed=3)
    served.wait_for(running, lambda job: job["step"] > 0)
    old = served.address
    worker = served.ask("/api/state")["worker"]
    served.stop(signal.SIGKILL)
    until(lambda: not runs(worker))
    served.start()
    assert served.address.partition("?t=")[2] != old.partition("?t=")[2]
    for number in (done, running, queued):
        job = served.wait_for(number, lambda job: job["status"] in ("done", "failed"))
        assert job["status"] == "done" and Path(job["files"]["video"]).is_file()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_whole_way_in_a_browser_from_clip_to_the_same_bytes_by_the_command_line(
    served: Served, tmp_path: Path
) -> None:
    with chromium(tmp_path / "profile") as page:
        page.open(served.address, width=1280, height=900)
        shown(page, "document.body.dataset.ready === 'yes'")
        assert page.run("location.search") == ""  # the token has left the address
        assert page.run("document.cookie") == ""
        set_field(page, "model_size", "tiny")
        set_field(page, "num_steps", "10")
        set_field(page, "prompt", PROMPT)
        click(page, "[data-path$=' odd.mp4']")
        shown(page, "['vis', 'edge', 'depth', 'seg'].every(name => plays(`[data-control=${name}] video`))")
        paint(page, "depth")
        click(page, "#plan")
        shown(page, "text('#plan-result').includes('all there')")
        page.run(SEEING_PREVIEWS)
        for _ in range(2):
            before = page.run("document.querySelectorAll('.job').length")
            click(page, "#run")
            shown(page, f"document.querySelectorAll('.job').length > {before}")
            set_field(page, "seed", "2")
        shown(page, "window.hasSeenPreview")
        shown(
            page, "[...document.querySelectorAll('.job')].slice(0, 2).every(job => job.querySelector('.status.done'))"
        )
        for place in (0, 1):
            click(page, f"#jobs > :nth-child({place + 1}) [data-compares]")
        shown(page, "document.querySelectorAll('#compared video').length === 3")
        shown(page, "[...document.querySelectorAll('#compared video')].every(video => video.readyState >= 2)")
        assert "seed" in page.run("document.querySelector('#compared').innerText")
        for place in (0, 1, 2):  # whichever is thrown off, the others wait for it or it for them
            click(page, "#compare-transport button")
            assert page.run(f"thrown({place}), spread()") > 0.05
            shown(page, "spread() < 0.05 && compared().every(video => video.currentTime > 0)")
            click(page, "#compare-transport button")
            assert page.run("compared().every(video => video.paused) && spread() < 0.01")
        click(page, "#export")
        shown(page, "document.querySelector('#export-spec')")
        spec = json.loads(page.run("document.querySelector('#export-spec').textContent"))
        latest = page.run("document.querySelector('#jobs > :first-child').dataset.job")
        job = served.job(int(latest))
        assert spec == json.loads(Path(job["spec"]).read_text())
        assert spec["depth"]["control_weight"].endswith(".npy") and spec["seed"] == 2
        assert spec["prompt"] == PROMPT and Path(spec["input_video_path"]).name == ODD
        for width, is_phone in ((1280, False), (390, True)):
            page.open(served.base, width=width, is_phone=is_phone)  # what was set and made is still there
            shown(page, "document.body.dataset.ready === 'yes' && document.querySelectorAll('.job').length >= 2")
            shown(page, "document.querySelector('#field-seed').value === '2' && plays('[data-control=edge] video')")
            assert page.run("document.documentElement.scrollWidth") <= width
            set_value(page, "#filter", "odd")  # or the strip of clips goes on beyond its edge
            assert page.run(WIDEST) <= width
        exported = page.run(
            "document.querySelector('#export').click(), new Promise(done => { const look = () => "
            "document.querySelector('#export-command') ? done(document.querySelector('#export-command').textContent) : "
            "setTimeout(look, 50); look(); })"
        )
        assert page.errors == []
        served.stop()
        shown(page, "text('#lost').includes('Trying again') && !document.querySelector('#lost').hidden")
        local = ("data:", "blob:", f"{served.base}/")
        assert [url for url in page.requests if not url.startswith(local)] == []
    for command in (job["command"], exported):
        assert same_video(command, job["files"]["video"], served.environment, tmp_path)
    assert len(read_video(Path(job["files"]["video"])).frames_FHWC) == 33
    served.start()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_late_answers_are_passed_over_and_lost_ones_are_asked_for_again(served: Served, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as page:
        page.prepare(LOSING + "window.isLost = true;")
        page.open(served.address, width=1280, height=900)
        shown(page, "text('#lost').includes('Trying again')")
        page.run("isLost = false")
        shown(page, "document.body.dataset.ready === 'yes' && document.querySelector('#lost').hidden")
        set_field(page, "model_size", "tiny")
        click(page, "[data-path$='ball.mp4']")
        shown(page, "plays('[data-control=edge] video') && plays('#looks video')")
        for question in ("plan", "export"):
            hold(page, f"/api/{question}")
            click(page, f"#{question}")
            shown(page, "held.length === 1")
            set_field(page, "seed", str(len(question)))
            release(page)
            assert page.run(f"document.querySelector('#{question}-result').hidden")
            assert page.run("text('#outdated').includes('have changed')")
            click(page, f"#{question}")  # the next answer shows
            shown(page, f"text('#{question}-result')")
        hold(page, "cylinder")
        click(page, "[data-path$='cylinder.mp4']")
        shown(page, "held.length === 1")
        click(page, "[data-path$='ball.mp4']")
        shown(page, "plays('[data-control=edge] video') && plays('#looks video')")
        release(page)
        assert page.run("document.querySelector('#looks video').src.includes('ball')")
        assert page.run("document.querySelector('.clip[aria-pressed=true]').dataset.path.endsWith('ball.mp4')")
        hold(page, "/api/maps")
        click(page, "[data-control=edge] .buttons button")
        click(page, "#painter-use")
        shown(page, "held.length === 1")
        click(page, "#painter-cancel")
        click(page, "[data-control=vis] .buttons button")
        assert page.run("text('#painter-frame-number').startsWith('1 of')")
        click(page, "#painter-whole")  # without a mouse
        assert page.run("text('#painter-shapes').includes('Rectangle, weight 1.00, frames 1 to 33')")
        release(page)  # the map of a painting that was given up belongs to no control
        assert page.run("document.querySelector('#painter').open && !text('#looks').includes('Remove the map')")
        click(page, "#painter-cancel")
        page.run("isLost = true")
        click(page, "[data-path$='cylinder.mp4']")
        shown(page, "!document.querySelector('#lost').hidden && document.querySelector('#stage').hidden")
        page.run("isLost = false")
        shown(page, "!document.querySelector('#stage').hidden && plays('[data-control=edge] video')")
        assert page.run("document.querySelector('#lost').hidden && document.querySelector('#trouble').hidden")
        assert page.run("document.querySelector('#looks video').src.includes('cylinder')")
        assert page.errors == []
        Path(served.folder, "clips", "broken.mp4").write_bytes(b"no video")
        click(page, "#refresh")
        shown(page, "text('.clip[data-path$=\"broken.mp4\"]').includes('cannot be read')")
        click(page, "[data-path$='broken.mp4']")
        shown(page, "text('#clip-problem').includes('broken.mp4') && document.querySelector('#stage').hidden")
        click(page, "#run")  # nothing runs in place of what cannot
        shown(page, "text('#form-problem').includes('No clip is chosen')")


LOSING = """
window.network = fetch;
window.fetch = (...question) => window.isLost ? Promise.reject(new TypeError("no network")) : network(...question);
"""


def hold(page: Page, part: str) -> None:
    """Keep answers to what is asked at addresses with this part, until they are let go."""
    page.run(
        f"{HELPERS} window.plainFetch ??= fetch; window.fetch = async (address, options) => {{"
        f"const answer = await plainFetch(address, options); if (address.includes({json.dumps(part)}))"
        "await new Promise(go => held.push(go)); return answer; }"
    )


def release(page: Page) -> None:
    """Let answers go that were kept, and the page see them."""
    page.run("window.fetch = plainFetch; for (const go of held.splice(0)) go(); new Promise(go => setTimeout(go, 300))")


def paint(page: Page, control: str) -> None:
    """Paint a rectangle that moves, and a stroke."""
    click(page, f"[data-control={control}] .buttons button")
    shown(page, "document.querySelector('#painter').open")
    click(page, "#painter-moves")
    page.drag("#painter-canvas", (0.1, 0.2), (0.4, 0.8))
    page.drag("#painter-canvas", (0.6, 0.2), (0.9, 0.8))
    click(page, "input[value=brush]")
    page.drag("#painter-canvas", (0.1, 0.1), (0.9, 0.1))
    assert page.run("document.querySelector('#painter-shapes').innerText.includes('moves')")
    assert page.run("document.querySelectorAll('#painter-shapes li').length") == 2
    click(page, "#painter-use")
    shown(page, "!document.querySelector('#painter').open")


def test_what_cannot_be_served_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run_cosmos("workbench", "--port", port)
        assert result.exit_code == 2
        words = " ".join(result.stderr.split())
        assert f"{port} is in use" in words
        assert re.search(rf"Pass --port (?!{port})\d+", words)
    Path("file.mp4").touch()
    result = run_cosmos("workbench", "--folder", "none", "--folder", "file.mp4")
    assert result.exit_code == 2
    assert "none does not exist" in result.stderr and "file.mp4 is no folder" in result.stderr
    result = run_cosmos("workbench", "--port", 0, "--output-dir", "file.mp4")
    assert result.exit_code == 1 and "file.mp4 cannot be written: File exists" in " ".join(result.stderr.split())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run_cosmos("workbench")
    assert result.exit_code == 2
    assert 'pip install "cosmos-cli[workbench]"' in " ".join(result.stderr.split())
    assert not Path("outputs").exists()
