"""Nobody but the page of the workbench gets anything, and nothing lies outside of its folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from cosmos_cli.errors import InputError
from cosmos_cli.media.video import write_video
from cosmos_cli.workbench.bench import Bench, opened
from cosmos_cli.workbench.folders import Folders
from cosmos_cli.workbench.guard import TOKEN_HEADER
from cosmos_cli.workbench.jobs import Job
from cosmos_cli.workbench.kind import kinds
from cosmos_cli.workbench.server import PAGES, make_app

TOKEN, PORT = "a-token-of-this-test", 8321
HERE = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A workbench that sees `clips` and `out`, with `secret.mp4` beside them."""
    for path in (Path("clips/a.mp4"), Path("secret.mp4")):
        write_video(path, np.zeros((5, 64, 112, 3), np.uint8), 24)
    out = Path("out")
    out.mkdir()
    with opened(Folders([Path("clips"), out]), out, {"device": "cpu"}, kinds()) as bench:
        yield bench


@pytest.fixture
def client(bench: Bench, tmp_path: Path) -> TestClient:
    """Without a token; its worker is not started."""
    app = make_app(bench, token=TOKEN, port=PORT, previews=tmp_path)
    return TestClient(app, base_url=HERE, follow_redirects=False, raise_server_exceptions=False)


OWN = {TOKEN_HEADER: TOKEN}
ADDRESSES = [
    "/",
    "/static/app.js",
    "/api/about",
    "/api/state",
    "/api/file?path=clips/a.mp4",
    "/nothing",
    "/api/preview/1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_the_token_everything_is_403(client: TestClient, address: str) -> None:
    for headers in ({}, {TOKEN_HEADER: "another"}, {"cookie": f"cosmos_workbench_{PORT}=another"}):
        answer = client.get(address, headers=headers)
        assert answer.status_code == 403
        assert "a.mp4" not in answer.text
    assert client.post("/api/jobs", json={}).status_code == 403


def test_the_address_gives_a_cookie_that_scripts_and_other_sites_never_see(client: TestClient) -> None:
    assert client.get("/?t=another").status_code == 403
    assert client.get(f"/api/state?t={TOKEN}").status_code == 403  # in the address of the page alone
    answer = client.get(f"/?t={TOKEN}")
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/").status_code == 200  # by the cookie alone


@pytest.mark.parametrize(
    "headers",
    [
        {"host": f"evil.example:{PORT}"},  # DNS rebinding: a name of theirs that leads here
        {"host": "127.0.0.1:1"},
        {"host": f"192.168.1.2:{PORT}"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},  # another server of this machine
    ],
    ids=str,
)
def test_other_hosts_origins_and_sites_are_refused_even_with_the_token(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.get("/api/state", headers={**OWN, **headers}).status_code == 403
    assert client.post("/api/jobs", json={"kind": "transfer run"}, headers={**OWN, **headers}).status_code == 403


def test_the_page_itself_is_served_with_a_policy_that_names_no_other_host(client: TestClient) -> None:
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert client.get("/api/state", headers={**OWN, **own}).json()["jobs"] == []
    for name in PAGES:
        answer = client.get(f"/static/{name}", headers=OWN)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe" not in policy
        assert "://" not in answer.text, name


@pytest.mark.parametrize("address", ["/api/file", "/api/facts", "/api/thumbnail"])
def test_a_path_that_leads_out_of_the_folders_is_403(client: TestClient, tmp_path: Path, address: str) -> None:
    Path("clips/link.mp4").symlink_to(Path("secret.mp4").absolute())
    Path("clips/up").symlink_to(Path.cwd())
    absolute = str(Path("secret.mp4").absolute())
    for path in ("clips/../secret.mp4", "secret.mp4", absolute, "clips/link.mp4", "clips/up/secret.mp4", "\0", "", "/"):
        answer = client.get(address, params={"path": path}, headers=OWN)
        assert answer.status_code == 403, path
    assert client.get(address, params={"path": "clips/../clips/a.mp4"}, headers=OWN).status_code == 200
    assert [clip["name"] for clip in client.get("/api/clips", headers=OWN).json()["clips"]] == ["a.mp4"]


ODD = [b"caf\xe9.mp4", b'it\'s <b>\n"$(x)" #?&%41=+.mp4', "ünï漢.mp4".encode()]


def about(client: TestClient, what: str, path: str) -> httpx.Response:
    """What the page asks about a file: its path comes as its bytes."""
    return client.get(f"/api/{what}?path={quote(os.fsencode(path))}", headers=OWN)


def test_a_clip_may_have_any_name_that_a_file_can_have(client: TestClient) -> None:
    for name in ODD:
        shutil.copy("clips/a.mp4", Path("clips", os.fsdecode(name)))
    pictures = [f"{os.fsdecode(name)}.PNG" for name in ODD]
    for picture in pictures:
        Image.new("RGB", (112, 64)).save(Path("clips", picture))
    clips = client.get("/api/clips", headers=OWN).json()["clips"]
    assert {clip["name"] for clip in clips} == {"a.mp4", *map(os.fsdecode, ODD), *pictures}
    for clip in clips:
        is_picture = clip["name"] in pictures
        for what in ("facts", "thumbnail", "file"):
            answer = about(client, what, clip["path"])
            assert answer.status_code == 200, clip
        assert answer.headers["content-type"] == ("image/png" if is_picture else "video/mp4")
        kind = "predict2 video2world" if is_picture else "transfer run"
        own = {"input_path": clip["path"]} if is_picture else {"input_video_path": clip["path"], "edge": {}}
        spec = {"model_size": "tiny", **own}
        body = json.dumps({"kind": kind, "spec": spec})  # as the page writes it, bytes as \udcXX
        made = client.post("/api/jobs", content=body, headers=OWN).json()
        assert client.get("/api/state", headers=OWN).json()["jobs"][-1] == made
        assert about(client, "file", made["spec"]).status_code == 200


def test_what_is_no_clip_is_not_offered_and_what_was_one_is_said(client: TestClient) -> None:
    os.mkfifo("clips/pipe.mp4")  # reading it would wait for ever
    Path("clips/folder.mp4").mkdir()
    Path("clips/nowhere.mp4").symlink_to("none.mp4")
    assert [clip["name"] for clip in client.get("/api/clips", headers=OWN).json()["clips"]] == ["a.mp4"]
    Path("clips/a.mp4").unlink()  # after it was listed
    for name in ("a.mp4", "pipe.mp4", "folder.mp4", "nowhere.mp4"):
        for what in ("facts", "thumbnail", "file"):
            answer = about(client, what, str(Path("clips", name).absolute()))
            assert answer.status_code == 422
            assert answer.json()["problems"][0]["what"].startswith(("is no file.", "is not there")), name


def test_what_nobody_has_foreseen_is_said_in_words_and_the_rest_goes_on(client: TestClient, bench: Bench) -> None:
    bench.jobs.add(Job(id=1, what="make", kind="transfer run", folder="out/1", notices=(object(),)))  # type: ignore[arg-type]
    answer = client.get("/api/state", headers=OWN)
    assert answer.status_code == 500
    [problem] = answer.json()["problems"]
    assert "TypeError" in problem["what"] and "defect" in problem["fix"]
    assert client.get("/api/about", headers=OWN).status_code == 200


def test_only_videos_and_specifications_are_read(client: TestClient) -> None:
    Path("clips/page.html").write_text("<script>alert(1)</script>")
    assert client.get("/api/file", params={"path": "clips/page.html"}, headers=OWN).status_code == 403
    assert client.get("/static/../server.py", headers=OWN).status_code == 404


@pytest.mark.parametrize("address", ["/api/jobs", "/api/looks", "/api/plan", "/api/export"])
@pytest.mark.parametrize(
    "changes",
    [
        {"input_video_path": "secret.mp4"},
        {"edge": {"input_control": "../here/secret.mp4"}},
        {"edge": {"control_weight": "/etc/hostname"}},
        {"edge": {"ckpt_path": "weights.pt"}},
    ],
    ids=str,
)
def test_no_file_outside_of_the_folders_gets_into_a_run(
    client: TestClient, bench: Bench, address: str, changes: dict[str, object]
) -> None:
    spec = {"input_video_path": "clips/a.mp4", "model_size": "tiny", "edge": {"control_weight": 1}, **changes}
    assert client.post(address, json={"kind": "transfer run", "spec": spec}, headers=OWN).status_code == 403
    assert bench.jobs.all() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"checkpoint_dir": "/tmp"}, "Unknown entry 'checkpoint_dir'"),
        ({"upsampler_url": "http://evil.example"}, "Unknown entry 'upsampler_url'"),
        ({"input_video_path": None}, "No clip is chosen"),
        ({"edge": None}, "No control takes part"),
        ({"num_steps": 0}, "must be >= 1"),
        ({"edge": {"control_weight": 2}}, "must be in [0, 1]"),
        ({"input_video_path": "clips/none.mp4"}, "none.mp4"),
        ({"input_video_path": "clips/broken.mp4"}, "broken.mp4"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_before_it_is_queued(
    client: TestClient, bench: Bench, changes: dict[str, object], says: str
) -> None:
    Path("clips/broken.mp4").write_bytes(b"no video")
    spec = {"input_video_path": "clips/a.mp4", "model_size": "tiny", "edge": {"control_weight": 1}, **changes}
    spec = {name: value for name, value in spec.items() if value is not None}
    if spec.get("input_video_path", "clips/a.mp4") != "clips/a.mp4":  # said as soon as it is chosen
        facts = client.get("/api/facts", params={"path": spec["input_video_path"]}, headers=OWN)
        assert facts.status_code == 422 and says in facts.text
    answer = client.post("/api/jobs", json={"kind": "transfer run", "spec": spec}, headers=OWN)
    assert answer.status_code == 422
    assert any(says in f"{each['where']} {each['what']}" for each in answer.json()["problems"]), answer.text
    for address in ("/api/looks", "/api/export"):
        client.post(address, json={"kind": "transfer run", "spec": spec}, headers=OWN)
    assert [job for job in bench.jobs.all() if job.what == "make"] == []
    assert not list(Path("out").glob("0*"))


@pytest.mark.parametrize(
    ("kind", "spec", "status", "says"),
    [
        ("predict2 video2world", {}, 422, "No picture or clip is chosen"),
        ("predict2 video2world", {"input_path": "clips/a.mp4", "edge": {}}, 422, "Unknown entry 'edge'"),
        ("predict2 video2world", {"input_path": "clips/a.mp4", "save_path": "x.mp4"}, 422, "Unknown entry 'save_path'"),
        ("predict2 video2world", {"input_path": "secret.mp4"}, 403, "outside"),
        ("predict2 text2image", {}, 422, "--prompt is required"),
        ("predict2 text2image", {"prompt": "A bus.", "input_path": "clips/a.mp4"}, 422, "Unknown entry 'input_path'"),
        ("predict1 video2world", {"input_image_or_video_path": "clips/none.png"}, 422, "none.png"),
        ("nemo run", {"conditioned_image_or_video_path": "clips/a.mp4"}, 422, "--prompt is required"),
        ("predict1-multiview run", {"prompt": "A bus.", "num_steps": 0}, 422, "must be >= 1"),
        ("transfer", {}, 422, "cannot be made here"),
    ],
    ids=str,
)
def test_every_kind_refuses_what_is_not_its_own(
    client: TestClient, bench: Bench, kind: str, spec: dict[str, object], status: int, says: str
) -> None:
    spec = {"model_size": "tiny", **spec}
    for address in ("/api/jobs", "/api/plan", "/api/looks"):
        answer = client.post(address, json={"kind": kind, "spec": spec}, headers=OWN)
        assert answer.status_code == (422 if address == "/api/looks" else status)
        words = [f"{each['where']} {each['what']}" for each in answer.json()["problems"]]
        expected = "has no controls" if address == "/api/looks" and kind != "transfer" else says
        assert any(expected in each for each in words), (address, words)
    assert bench.jobs.all() == [] and not list(Path("out").glob("0*"))


def test_what_an_absent_package_has_queued_is_shown_and_refused_when_its_turn_comes(
    client: TestClient, bench: Bench
) -> None:
    job = bench.jobs.add(Job(id=1, what="make", kind="drift run", folder="out/1"))
    [shown] = client.get("/api/state", headers=OWN).json()["jobs"]
    assert (shown["kind"], shown["command"], shown["output"]) == ("drift run", "", None)
    with pytest.raises(InputError, match="'drift run' cannot be made here"):
        bench.options(job)


def test_a_plan_says_what_is_missing_and_how_to_get_it(client: TestClient) -> None:
    spec = {"input_video_path": "clips/a.mp4", "edge": {"control_weight": 1}}
    plan = client.post("/api/plan", json={"kind": "transfer run", "spec": spec}, headers=OWN).json()
    assert plan["files"]["missing_bytes"] > 0 and plan["time"]["seconds"] > 0
    assert any("cosmos download" in problem for problem in plan["problems"])


def test_a_body_that_is_no_document_is_refused(client: TestClient) -> None:
    for content in (b"{", b"[]", b'{"kind": "none"}', b"\xff", b"[" * 99_999, b'{"kind": "transfer run", "spec": []}'):
        assert client.post("/api/jobs", content=content, headers=OWN).status_code == 422
    assert client.post("/api/maps", content=b"0" * (5 << 20), headers=OWN).status_code == 422
