"""Best of N as a user runs it: seeds, scores, ranking, going on after a kill, and critics of other packages."""

from __future__ import annotations

import gc
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.testing import CommandResult
from cosmos_plugins.predict2.critic.choice import load_critic
from cosmos_plugins.predict2.critic.reason import MODEL
from cosmos_plugins.predict2.critic.requests import CriticSettings
from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline
from tests.chat_models import build_qwen, chat_server, says
from tests.clips import encode, moving_gradient
from tests.third_party import HERE, write_distribution

Run = Callable[..., CommandResult]

FOLDER = Path("output/best-of-n")


@pytest.fixture
def best_of_n(picture: Path, cosmos: Run) -> Run:
    """`cosmos predict2 best-of-n --json`: three seeds of five frames, unless options say otherwise."""

    def run(*arguments: object) -> CommandResult:
        quick: list[object] = ["--input-path", picture, "--prompt", "The slope drifts on.", "--model", "tiny"]
        for option, value in (("--num-frames", 5), ("--num-steps", 1), ("--num-generations", 3)):
            if option not in arguments:
                quick += [option, value]
        return cosmos("predict2", "best-of-n", *quick, "--json", *arguments)

    return run


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(2):
        encode(folder / f"{number}.mp4", moving_gradient(4 + number, 96, 160))
    return folder


def statuses(result: CommandResult) -> list[str]:
    return [generation["status"] for generation in result.json["generations"]]


def videos(folder: Path = FOLDER) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mp4"))}


def test_three_seeds_are_made_judged_named_by_score_and_ranked(best_of_n: Run, cosmos: Run, picture: Path) -> None:
    result = best_of_n("--num_generations", 3, "--num_critic_trials", 2, "--seed", 7)
    assert result.exit_code == 0, result.stderr
    document = result.json
    assert set(document) == {
        "status", "exit_code", "best", "videos", "generations", "critic", "report", "notices"
    }  # fmt: skip
    scores = [video["score"] for video in document["videos"]]
    assert scores == sorted(scores, reverse=True)
    assert document["best"][0] == document["videos"][0]["video"]
    assert document["critic"] == "measured"
    assert any(notice.startswith("critic: measured, since") for notice in document["notices"])
    assert [generation["seed"] for generation in document["generations"]] == [7, 8, 9]
    for generation in document["generations"]:
        [judged] = [video for video in document["videos"] if video["video"] == generation["video"]]
        video = Path(generation["video"])
        assert video.name == f"picture_seed{generation['seed']}_score{judged['score']:03d}.mp4"
        assert json.loads(video.with_suffix(".json").read_text())["request"]["seed"] == generation["seed"]
        assert video.with_suffix(".html").is_file()
    assert (FOLDER / "report.html").read_text().count("<article") == 3
    line = ("--input-path", picture, "--prompt", "The slope drifts on.", "--model", "tiny", "--seed", 8)
    alone = cosmos("predict2", "video2world", *line, "--num-frames", 5, "--num-steps", 1, "--save-path", "alone.mp4")
    assert alone.exit_code == 0
    assert Path("alone.mp4").read_bytes() == Path(document["generations"][1]["video"]).read_bytes()


def test_people_get_a_table_and_the_best(cosmos: Run, best_of_n: Run) -> None:
    best_of_n()
    result = cosmos("predict2", "best-of-n", "--skip-generation", "--model", "tiny")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["RANK", "SCORE", "VIDEO", "ERROR"]
    assert len(lines) == 6
    assert lines[1].split()[2] in lines[4]
    assert lines[4].startswith("best")
    assert lines[5] == f"report: {FOLDER / 'report.html'}"


def test_what_was_made_and_judged_is_kept_and_more_seeds_are_added(best_of_n: Run) -> None:
    best_of_n()
    before = {path.name: path.stat().st_mtime_ns for path in FOLDER.glob("*.mp4")}
    again = best_of_n("--offload-text-encoder", "--num-generations", 4)
    assert statuses(again) == ["done before"] * 3 + ["done"]
    # they are compared with each other, and now there is one more
    assert not any(video["is_reused"] for video in again.json["videos"])
    after = {path.stat().st_mtime_ns for path in FOLDER.glob("*.mp4")}
    assert set(before.values()) < after
    finished = best_of_n("--num-generations", 4)
    assert "Loading tiny" not in finished.stderr
    assert [video["is_reused"] for video in finished.json["videos"]] == [True] * 4


def test_another_request_or_input_replaces_nothing_unless_asked(best_of_n: Run, picture: Path) -> None:
    best_of_n()
    first = videos()
    refused = best_of_n("--guidance", 3)
    assert (refused.exit_code, statuses(refused)) == (1, ["failed"] * 3)
    assert "from another request" in refused.json["generations"][0]["error"]
    assert refused.json["report"] is None
    write_png(picture, moving_gradient(3, 90, 160)[2])
    assert statuses(best_of_n()) == ["failed"] * 3
    assert videos() == first


def test_overwriting_leaves_one_video_per_seed(best_of_n: Run) -> None:
    best_of_n()
    first = videos()
    replaced = best_of_n("--guidance", 5, "--overwrite")
    assert (replaced.exit_code, statuses(replaced)) == (0, ["done"] * 3)
    assert len(videos()) == 3
    assert set(videos().values()).isdisjoint(first.values())
    assert len(list(FOLDER.glob("*_seed0*"))) == 4  # video, sidecar, answers, report


@pytest.mark.parametrize("suffix", [".mp4", ".json"])
def test_a_judged_video_that_is_damaged_or_lost_its_sidecar_is_made_again(best_of_n: Run, suffix: str) -> None:
    best_of_n("--num-generations", 2)
    before = videos()
    name = min(before)
    (FOLDER / name).with_suffix(suffix).write_bytes(b"x" * 50)
    again = best_of_n("--num-generations", 2)
    assert again.exit_code == 0, again.stderr
    assert statuses(again) == ["done", "done before"]
    assert videos() == before
    assert json.loads((FOLDER / name).with_suffix(".json").read_text())["request"]["seed"] == 0


def test_a_killed_run_goes_on_where_it_stopped(best_of_n: Run, picture: Path) -> None:
    line = ["--input-path", str(picture), "--prompt", "The slope drifts on.", "--model", "tiny", "--num-frames", "5"]
    command = [sys.executable, "-m", "cosmos_cli", "predict2", "best-of-n", *line, "--num-steps", "40"]
    process = subprocess.Popen([*command, "--num-generations", "3"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "[3/3]" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (FOLDER / "picture_seed0.mp4").read_bytes()
    resumed = best_of_n("--num-steps", 40)
    assert resumed.exit_code == 0, resumed.stderr
    assert statuses(resumed)[0] == "done before"
    assert statuses(resumed)[2] == "done"
    assert len(videos()) == 3
    assert first in videos().values()
    assert not list(FOLDER.glob(".*"))


def test_videos_that_are_there_are_judged_without_generation(cosmos: Run, clips: Path) -> None:
    line = ("--skip_generation", "--save_path", clips, "--model", "tiny", "--json")
    result = cosmos("predict2", "best-of-n", *line)
    assert result.exit_code == 0, result.stderr
    assert len(result.json["videos"]) == 2
    assert result.json["generations"] == []
    assert (clips / "report.html").is_file()
    assert all("_score" in name for name in videos(clips))


def test_the_critic_command_judges_files_and_folders_again_only_if_asked(cosmos: Run, clips: Path) -> None:
    line = ("predict2", "critic", "--critic", "measured", "--report", "here", "--json")
    first = cosmos(*line, clips / "1.mp4")
    assert (first.exit_code, len(first.json["videos"])) == (0, 1)
    both = cosmos(*line, clips, "--num_critic_trials", 3)
    assert sorted(video["is_reused"] for video in both.json["videos"]) == [False, True]
    assert not any(video["is_reused"] for video in cosmos(*line, clips, "--again").json["videos"])
    assert both.json["report"] == "here/report.html"
    assert Path("here/report.html").is_file()
    (clips / "bad.mp4").write_text("not a video")
    spoilt = cosmos(*line, clips)
    assert (spoilt.exit_code, spoilt.json["status"]) == (1, "failed")
    assert [video["status"] for video in spoilt.json["videos"]] == ["ok", "ok", "failed"]


def test_bad_input(cosmos: Run, best_of_n: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = cosmos("predict2", "best-of-n", "--skip-generation", "--save-path", tmp_path / "empty", "--model", "tiny")
    assert (empty.exit_code, "holds no videos" in empty.stderr) == (2, True)
    unknown = best_of_n("--critic", "nobody")
    assert unknown.exit_code == 2
    assert "measured, reason1" in unknown.json["problems"][0]["fix"]
    overflow = best_of_n("--seed", 2**32 - 2)
    assert [problem["where"] for problem in overflow.json["problems"]] == ["--seed"]
    nothing = cosmos("predict2", "best-of-n", "--model", "tiny", "--json")
    assert [problem["where"] for problem in nothing.json["problems"]] == ["--input-path"]
    file = best_of_n("--save-path", tmp_path / "picture.png")
    assert [problem["where"] for problem in file.json["problems"]] == ["--save-path"]
    assert not FOLDER.exists()


def test_missing_weights_of_the_critic_are_known_before_anything_is_made(
    best_of_n: Run, cosmos: Run, clips: Path, tmp_path: Path
) -> None:
    result = best_of_n("--critic", "reason1", "--checkpoint-dir", tmp_path / "weights")
    assert result.exit_code == 4
    [problem] = result.json["problems"]
    assert problem["where"] == str(tmp_path / "weights" / MODEL)
    assert "--critic measured" in problem["fix"]
    assert not FOLDER.exists()
    assert cosmos("predict2", "critic", clips).exit_code == 4


def test_the_checkpoint_folder_of_the_command_line_is_that_of_the_critic(tmp_path: Path) -> None:
    build_qwen(tmp_path / MODEL)
    critic = load_critic("reason1", CriticSettings(checkpoint_dir=tmp_path, device="cpu"))
    assert critic.name == MODEL


def test_a_critic_on_a_server_is_asked_for_every_trial(best_of_n: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    replies = [says(f"<answer>{word}</answer>") for word in ("no", "yes", "no", "no", "yes", "maybe")]
    with chat_server(*replies) as server:
        monkeypatch.setenv("COSMOS_CRITIC_URL", server.url)
        result = best_of_n("--num_critic_trials", 2)
    assert result.exit_code == 0, result.stderr
    assert len(server.requests) == 6
    assert [video["score"] for video in result.json["videos"]] == [100, 50, 0]
    assert result.json["videos"][2]["num_unread"] == 1


CRITIC = """
import gc
from cosmos_cli.critics import Trial
from cosmos_cli.hookspecs import hookimpl

class Length:
    name = "length"
    def judge(self, frames_FHWC, fps, *, num_trials, seed):
        return [Trial("long", None, float(len(frames_FHWC)))] * num_trials

def length(device, offload):
    length.alive = sum(type(thing).__name__ == "Video2WorldPipeline" for thing in gc.get_objects())
    return Length()

class SecondVideo:
    def __init__(self):
        self.count = 0
    def check_prompt(self, prompt):
        pass
    def check_video(self, frames_FHWC):
        self.count += 1
        if self.count == 2:
            raise RuntimeError("out of luck")
        return frames_FHWC

def second_video(device, offload):
    return SecondVideo()

@hookimpl
def cosmos_register_critics(register):
    register(name="length", help="Counts frames.", factory="other_package:length")

@hookimpl
def cosmos_register_guardrails(register):
    register(name="second", help="Breaks at the second video.", factory="other_package:second_video")
"""


def test_a_generation_that_fails_costs_only_itself_and_the_pipeline_is_gone_before_the_critic_comes(
    best_of_n: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "site", "other-package", {"other_package": CRITIC}, {"other": "other_package"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    gc.collect()
    alive = sum(type(thing) is Video2WorldPipeline for thing in gc.get_objects())
    result = best_of_n("--critic", "length")
    assert result.exit_code == 3
    assert statuses(result) == ["done", "blocked", "done"]
    assert "out of luck" in result.json["generations"][1]["error"]
    assert [video["score"] for video in result.json["videos"]] == [5, 5]
    assert sorted(videos()) == ["picture_seed0_score005.mp4", "picture_seed2_score005.mp4"]
    import other_package

    assert other_package.length.alive == alive


def test_the_critic_of_the_guide_s_package_judges(
    cosmos: Run, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path / "site", "cosmos-drift", {}, {"drift": "cosmos_drift"})
    for folder in (tmp_path / "site", HERE / "cosmos-drift" / "src"):
        monkeypatch.syspath_prepend(folder)
    result = cosmos("predict2", "critic", clips, "--critic", "steady-light", "--json")
    assert result.exit_code == 0, result.stderr
    assert all(video["score"] > 90 for video in result.json["videos"])


@pytest.mark.parametrize("command", ["batch", "best-of-n", "critic"])
def test_every_option_is_in_the_guide(cosmos: Run, command: str) -> None:
    flags = set(re.findall(r"--[a-z][a-z0-9-]*(?<!-)(?![a-z0-9-])", cosmos("predict2", command, "--help-all").stdout))
    guide = (HERE.parents[1] / "docs" / "predict2.md").read_text()
    assert not {flag for flag in flags if not re.search(rf"{flag}(?![a-z0-9-])", guide)}
