"""Judging a folder of videos: names with scores, what is kept and reused, and the reports as a browser shows them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.critics import Component, Trial, score
from cosmos_cli.errors import InputError
from cosmos_plugins.predict2.critic.files import find_judged, find_videos
from cosmos_plugins.predict2.critic.judgement import Judgement, best, rank
from cosmos_plugins.predict2.critic.measured import measured
from cosmos_plugins.predict2.critic.report import Facts, video_page
from cosmos_plugins.predict2.critic.run import judge_videos
from tests.browser import CHROMIUM, PLAYED, WIDEST, Page, chromium
from tests.clips import encode, moving_gradient

DATE = datetime(2026, 1, 2, 3, 4)
HOSTILE = '<think>"&<img src="http://evil.test/x.png" onerror="document.title=1"></think></pre><script>x</script>'


class Scripted:
    """A critic as another package may bring one: its verdicts go by the length of the clip."""

    name = "scripted"

    def __init__(self, verdicts: dict[int, str]) -> None:
        self.verdicts, self.asked = verdicts, []  # type: tuple[dict[int, str], list[int]]

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        self.asked.append(len(frames_FHWC))
        return [self._trial(letter) for letter in self.verdicts[len(frames_FHWC)][:num_trials]]

    def _trial(self, letter: str) -> Trial:
        if letter == "?":
            return Trial(HOSTILE, None)
        parts = (Component("the slope", "It drifts. " * 20, letter == "y"), Component("block" * 20, "Moves.", None))
        return Trial(f"<answer>{letter}</answer>", letter == "n", None, "A slope that drifts.", parts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four clips of 4 to 7 frames with sidecars, in a folder where other things lie about."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for seed in range(4):
        encode(videos / f"a_seed{seed}.mp4", moving_gradient(4 + seed, 96, 160))
        request = {"prompt": "The slope <drifts>.", "negative_prompt": "blur", "seed": seed, "guidance": 7.0}
        sidecar = {
            "request": request,
            "prompt_used": "The slope drifts & shines.",
            "weights": {"dit": {"path": "/m.pt"}},
        }
        (videos / f"a_seed{seed}.json").write_text(json.dumps(sidecar))
    (videos / "a_seed0.png").write_bytes(b"contact sheet")
    (videos / ".b.1.part.mp4").write_bytes(b"half a video")
    (videos / "notes.txt").write_text("mine")
    return videos


def judge(folder: Path, critic: Any, **changes: Any) -> list[Judgement]:
    settings = {"num_trials": 3, "seed": 0, "folder": folder, "date": DATE}
    return judge_videos([folder], critic, **{**settings, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_scores_go_into_the_names_and_sidecars_follow(folder: Path) -> None:
    before = content(folder)
    ranked = judge(folder, Scripted({4: "nyy", 5: "nnn", 6: "???", 7: "ny?"}))
    names = ["a_seed1_score100", "a_seed3_score050", "a_seed0_score033", "a_seed2_unscored"]
    assert [one.video.stem for one in ranked] == names
    assert [one.score for one in ranked] == [100, 50, 33, None]
    assert [one.num_unread for one in ranked] == [0, 1, 0, 3]
    after = content(folder)
    expected = {f"{name}{suffix}" for name in names for suffix in (".mp4", ".json", ".html", ".critic.json")}
    assert set(after) == expected | {"a_seed0_score033.png", "report.html", ".b.1.part.mp4", "notes.txt"}
    for seed, name in ((0, "a_seed0_score033"), (2, "a_seed2_unscored")):
        assert after[f"{name}.mp4"] == before[f"a_seed{seed}.mp4"]
        assert after[f"{name}.json"] == before[f"a_seed{seed}.json"]
    answers = json.loads(after["a_seed3_score050.critic.json"])
    assert [trial["text"] for trial in answers["trials"]] == ["<answer>n</answer>", "<answer>y</answer>", HOSTILE]
    assert (answers["score"], answers["critic"]) == (50, "scripted")


def test_what_was_judged_is_not_judged_again_until_the_question_changes(folder: Path) -> None:
    critic = Scripted(dict.fromkeys(range(4, 8), "nny"))
    judge(folder, critic)
    first = content(folder)
    again = judge(folder, critic)
    assert critic.asked == [4, 5, 6, 7]
    assert all(one.is_reused for one in again)
    assert content(folder) == first

    critic.verdicts[4] = "nnn"
    judge(folder, critic, again=True)
    assert len(critic.asked) == 8
    assert find_judged(folder / "a_seed0.mp4") == folder / "a_seed0_score100.mp4"
    assert {path.name for path in folder.glob("a_seed0*")} == {
        f"a_seed0_score100{suffix}" for suffix in (".mp4", ".json", ".png", ".html", ".critic.json")
    }

    judge(folder, critic, seed=1)
    assert len(critic.asked) == 12
    encode(folder / "a_seed1_score066.mp4", moving_gradient(7, 32, 32))
    judge(folder, critic, seed=1)
    assert critic.asked[12:] == [7]


def test_an_interrupted_run_goes_on_where_it_stopped(folder: Path) -> None:
    class Interrupted(Scripted):
        def judge(self, frames_FHWC: np.ndarray, fps: float, **settings: Any) -> list[Trial]:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().judge(frames_FHWC, fps, **settings)

    verdicts = dict.fromkeys(range(4, 8), "nny")
    with pytest.raises(KeyboardInterrupt):
        judge(folder, Interrupted(verdicts))
    assert not (folder / "report.html").exists()
    # as if it had been killed between keeping the answers and renaming the video
    (folder / "a_seed1_score066.mp4").rename(folder / "a_seed1.mp4")
    critic = Scripted(verdicts)
    assert [one.video.stem for one in judge(folder, critic)] == [f"a_seed{seed}_score066" for seed in range(4)]
    assert critic.asked == [6, 7]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"trials": 3}', "{}"])
def test_damaged_answers_are_asked_for_again(folder: Path, damage: str) -> None:
    critic = Scripted(dict.fromkeys(range(4, 8), "nny"))
    judge(folder, critic)
    (folder / "a_seed2_score066.critic.json").write_text(damage)
    judge(folder, critic)
    assert critic.asked == [4, 5, 6, 7, 6]


def test_a_video_that_cannot_be_judged_costs_the_others_nothing(folder: Path) -> None:
    (folder / "a_seed3.mp4").write_text("not a video")
    ranked = judge(folder, Scripted({4: "nnn", 5: "nny"}))
    assert [one.score for one in ranked] == [100, 66, None, None]
    assert [bool(one.error) for one in ranked] == [False, False, True, True]
    assert "KeyError" in ranked[2].error
    assert "cannot be read as a video" in ranked[3].error
    assert {"a_seed2.mp4", "a_seed3.mp4"} < set(content(folder))
    page = (folder / "report.html").read_text()
    assert page.count("Could not be judged") == 2


def test_no_other_file_is_ever_replaced(folder: Path) -> None:
    (folder / "a_seed0_score100.json").write_text('["answers that the original left"]')
    ranked = judge(folder, Scripted(dict.fromkeys(range(4, 8), "nnn")))
    [failed] = [one for one in ranked if one.error]
    assert "a_seed0_score100.json exists already" in failed.error
    assert (folder / "a_seed0.mp4").exists()
    assert "original" in (folder / "a_seed0_score100.json").read_text()


def test_what_cannot_be_judged_at_all_is_said_at_once_and_nothing_is_touched(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "a_seed0_score050.mp4").write_bytes((folder / "a_seed0.mp4").read_bytes())
    before = content_of_files(folder)
    paths = [folder, folder / "empty", folder / "gone.mp4", folder / "notes.txt"]
    with pytest.raises(InputError) as caught:
        judge_videos(paths, Scripted({}), num_trials=1, seed=0, folder=folder)
    said = str(caught.value)
    for words in ("empty: holds no videos", "gone.mp4: does not exist", "notes.txt: is not an mp4"):
        assert words in said
    assert "a_seed0.mp4 and a_seed0_score050.mp4 have one name" in said
    assert content_of_files(folder) == before


def content_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_video_named_twice_is_judged_once(folder: Path) -> None:
    assert len(find_videos([folder, folder / "a_seed1.mp4", folder / ".." / "videos" / "a_seed1.mp4"])) == 4


def test_the_same_run_writes_the_same_report(folder: Path) -> None:
    critic = measured("cpu", offload=False)
    judge(folder, critic)
    first = content(folder)
    judge(folder, critic, again=True)
    assert content(folder) == first


def test_a_report_asks_for_nothing_and_lets_no_text_become_markup(folder: Path) -> None:
    judge(folder, Scripted({4: "n?y", 5: "nnn", 6: "???", 7: "yyy"}))
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert "<img" not in text
        assert text.count("<script>") == 1
        assert "&lt;img src=&#34;http://evil.test" in text or page.stem not in ("report", "a_seed2_unscored")
        assert "The slope &lt;drifts&gt;." in text
        assert "The slope drifts &amp; shines." in text
        outside = re.sub(r'data:video/mp4;base64,[^"]*', "", text)
        assert not re.search(r'(?:src|href|action|poster)="(?!data:|")', outside)
        assert "@import" not in outside and "url(" not in outside


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@needs_chromium
@pytest.mark.parametrize(("width", "is_phone"), [(390, True), (1280, False)])
@pytest.mark.parametrize("name", ["report", "a_seed3_score050"])
def test_in_a_browser_it_plays_fits_and_is_quiet(
    folder: Path, browser: Page, name: str, width: int, is_phone: bool
) -> None:
    judge(folder, Scripted({4: "nyy", 5: "nnn", 6: "???", 7: "ny?"}))
    before = len(browser.requests)
    browser.open(folder / f"{name}.html", width=width, is_phone=is_phone)
    for opened in (False, True):
        if opened:
            browser.run("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert browser.run("innerWidth") == width
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(WIDEST) <= width
    assert browser.run(PLAYED) == [True] * (4 if name == "report" else 1)
    assert browser.run("document.title") == ("4 videos, best first" if name == "report" else f"{name}.mp4")
    asked_for = [url for url in browser.requests[before:] if not url.startswith("data:")]
    assert asked_for == [(folder / f"{name}.html").as_uri()]


def test_equal_scores_are_ranked_by_what_was_cut_off_and_ties_are_said() -> None:
    def judged(name: str, *numbers: float) -> Judgement:
        trials = tuple(Trial("", None, number) for number in numbers)
        return Judgement(Path(name), score(trials), trials)

    one, two, three = judged("b", 95.2), judged("a", 95.7), judged("c")
    assert rank([one, three, two]) == [two, one, three]
    assert best([one, two, three]) == [two]
    assert best([one, judged("d", 95.2)]) == [one, judged("d", 95.2)]
    assert best([three]) == []


def test_a_number_is_the_same_as_the_score_of_a_video_and_of_its_only_trial() -> None:
    trial = Trial("", None, 10.96)
    page = video_page(Judgement(Path("a.mp4"), score([trial]), (trial,)), Facts("a critic", 1, 0, DATE))
    assert "10<small> / 100</small>" in page
    assert ">10 / 100<" in page
    assert "11" not in page.partition("<body>")[2].replace(DATE.isoformat(), "")
    assert " of 100" not in page


@needs_chromium
def test_one_button_plays_all_and_a_browser_without_data_videos_gets_blobs(folder: Path, browser: Page) -> None:
    judge(folder, Scripted(dict.fromkeys(range(4, 8), "nny")))
    browser.open(folder / "report.html", width=1280)
    paused = "[...document.querySelectorAll('video')].map(video => video.paused)"
    browser.run("document.getElementById('together').click()")
    assert browser.run(paused) == [False] * 4
    browser.run("document.getElementById('together').click()")
    assert browser.run(paused) == [True] * 4
    browser.run("document.querySelectorAll('video').forEach(video => video.dispatchEvent(new Event('error')))")
    assert set(browser.run("[...document.querySelectorAll('video')].map(video => video.src.slice(0, 5))")) == {"blob:"}
    assert browser.run(PLAYED) == [True] * 4


@needs_chromium
def test_a_page_that_does_ask_the_network_is_caught(tmp_path: Path, browser: Page) -> None:
    (tmp_path / "page.html").write_text('<img src="http://elsewhere.test/x.png">')
    browser.open(tmp_path / "page.html", width=390)
    assert "http://elsewhere.test/x.png" in browser.requests


HOSTILE_SIDECARS: dict[str, bytes] = {
    "empty": b"",
    "deep": b"[" * 100_000,
    "digits": b'{"request": {"seed": ' + b"9" * 5000 + b"}}",
    "NaN": b'{"request": {"guidance": NaN}}',
    "latin-1": b'{"request": {"prompt": "caf\xe9"}}',
    "a list": b"[1]",
    "a list as request": b'{"request": [1]}',
    "lists and objects everywhere": b'{"request": {"prompt": [1], "seed": {}, "negative_prompt": {"a": []}, "": 1}, '
    b'"prompt_used": {}, "weights": {"dit": 5, "vae": {"path": []}, "t5": []}, "environment": [1]}',
    "half a character": b'{"request": {"prompt": "caf\\udce9", "name\\udc80": "x"}, "prompt_used": "\\udcff"}',
    "larger than a sidecar": b'{"request": {"prompt": "' + b"x" * (2 << 20) + b'"}}',
    "thousands of fields": json.dumps({"request": {str(n): n for n in range(5000)}}).encode(),
}


@pytest.mark.parametrize("case", HOSTILE_SIDECARS)
def test_a_hostile_sidecar_costs_at_most_what_it_tells(folder: Path, case: str) -> None:
    (folder / "a_seed0.json").write_bytes(HOSTILE_SIDECARS[case])
    judgements = judge(folder, Scripted(dict.fromkeys(range(4, 8), "n")))
    assert [one.error for one in judgements] == [""] * 4
    assert {one.score for one in judgements} == {100}
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count("<article") == 4
    assert len(report) < 2 << 20


def test_a_sidecar_that_is_no_file_holds_nobody_up(folder: Path) -> None:
    (folder / "a_seed0.json").unlink()
    os.mkfifo(folder / "a_seed0.json")
    (folder / "a_seed1.json").unlink()
    (folder / "a_seed1.json").mkdir()
    assert [one.error for one in judge(folder, Scripted(dict.fromkeys(range(4, 8), "n")))] == [""] * 4


@pytest.mark.parametrize(
    "change",
    [
        {"score": 1e308},
        {"score": True, "verdict": []},
        {"components": {"a": 1}},
        {"text": None},
        {"components": [{"name": [], "analysis": 1}]},
    ],
)
def test_hostile_answers_are_asked_again(folder: Path, change: dict[str, Any]) -> None:
    critic = Scripted(dict.fromkeys(range(4, 8), "n"))
    judge(folder, critic)
    path = folder / "a_seed0_score100.critic.json"
    answers = json.loads(path.read_text())
    answers["trials"][0] |= change
    path.write_text(json.dumps(answers))
    assert [one.error for one in judge(folder, critic)] == [""] * 4
    assert critic.asked == [4, 5, 6, 7, 4]


def test_a_video_whose_name_is_not_utf_8_is_judged_too(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (folder / "a_seed0.mp4").rename(folder / f"{name}.mp4")
    judgements = judge(folder, Scripted(dict.fromkeys(range(4, 8), "n")))
    assert [one.error for one in judgements] == [""] * 4
    assert f"{name}_score100" in {one.video.stem for one in judgements}
    assert r"caf\udce9" in (folder / "report.html").read_text(encoding="utf-8")
