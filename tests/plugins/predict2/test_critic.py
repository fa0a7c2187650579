"""The critics: what the measurements tell apart, how a chat model is asked, and how its answers become a score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest

from cosmos_cli.critics import Trial, score
from cosmos_cli.errors import CheckpointError, InputError
from cosmos_plugins.predict2.critic.measured import measured
from cosmos_plugins.predict2.critic.reason import INSTRUCTIONS, QUESTION, parse, reason1, watched


def pan(num_frames: int = 17, height: int = 96, width: int = 160) -> np.ndarray:
    """A camera that moves steadily over a soft texture."""
    wide = np.random.default_rng(0).uniform(0, 255, (height, width + 2 * num_frames, 3)).astype(np.float32)
    wide = cv2.normalize(cv2.GaussianBlur(wide, (0, 0), 2), None, 40, 215, cv2.NORM_MINMAX)
    return np.stack([wide[:, 2 * i : 2 * i + width] for i in range(num_frames)]).astype(np.uint8)


def measure(frames_FHWC: np.ndarray) -> Trial:
    [trial] = measured("cpu", offload=False).judge(frames_FHWC, 16, num_trials=3, seed=0)
    return trial


def measure_of(name: str, frames_FHWC: np.ndarray) -> float:
    [component] = [component for component in measure(frames_FHWC).components if component.name.startswith(name)]
    return float(component.name.split(": ")[1].split()[0])


def flickering(frames_FHWC: np.ndarray) -> np.ndarray:
    sign = np.where(np.arange(len(frames_FHWC)) % 2, 1, -1)[:, None, None, None]
    return (frames_FHWC + 12.0 * sign).clip(0, 255).astype(np.uint8)


def blurring(frames_FHWC: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 0.3 + 0.4 * i) for i, frame in enumerate(frames_FHWC)])


def unrelated(frames_FHWC: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, frames_FHWC.shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("spoil", "measure_that_sees_it"),
    [(flickering, "Flicker"), (blurring, "Sharpness"), (unrelated, "Temporal consistency")],
)
def test_a_steady_pan_scores_above_a_spoilt_one_and_the_right_measure_says_why(spoil: Any, measure_that_sees_it: str):
    good, bad = measure(pan()), measure(spoil(pan()))
    assert good.score is not None and bad.score is not None
    assert good.score > 90 > bad.score
    assert good.verdict is True
    assert measure_of(measure_that_sees_it, spoil(pan())) < measure_of(measure_that_sees_it, pan()) - 20


def test_the_score_does_not_depend_on_resolution_or_on_a_slow_change_of_light() -> None:
    plain = measure(pan()).score
    large = np.stack([cv2.resize(frame, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for frame in pan()])
    dawn = (pan() + np.linspace(-25, 25, 17)[:, None, None, None].round()).clip(0, 255).astype(np.uint8)
    assert measure(large).score == pytest.approx(plain, abs=3)
    assert measure(dawn).score == pytest.approx(plain, abs=3)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 9), (40, 300)])
def test_measures_are_repeatable_and_within_bounds_for_every_shape(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    black_and_white = np.zeros((5, *size, 3), np.uint8)
    black_and_white[::2] = 255
    for frames in (noise, black_and_white):
        first, second = measure(frames), measure(frames)
        assert first == second
        assert first.score is not None and 0 <= first.score <= 100


def test_a_still_passes_in_full_and_is_told_not_to_be_trusted_for_it() -> None:
    trial = measure(np.repeat(pan(1), 9, axis=0))
    assert score([trial]) is not None and trial.score == pytest.approx(100, abs=0.5)
    assert "a picture that never moves passes" in trial.overview


def test_a_single_frame_shows_nothing_over_time() -> None:
    with pytest.raises(InputError, match="single frame"):
        measure(pan(1))


def test_of_several_videos_of_one_request_the_one_in_their_middle_scores_highest() -> None:
    still = np.repeat(pan(1), 9, axis=0)
    clips = [(still + np.uint8(shift)) for shift in (0, 8, 10, 12, 30)]
    alone = measured("cpu", offload=False)
    critic = alone.among(iter(clips))
    scores = [score_of(critic.judge(clip, 16, num_trials=1, seed=0)) for clip in clips]
    assert scores.index(max(scores)) == 3  # the mean is 12
    assert scores.index(min(scores)) == 4
    # another order is the same question, another video another one
    assert critic.name == alone.among(clips[::-1]).name != alone.among(clips[1:]).name != alone.name
    [trial] = critic.judge(clips[4], 16, num_trials=1, seed=0)
    assert trial.verdict is True and trial.components[-1].anomaly is None


def test_a_video_of_another_length_is_judged_as_if_alone() -> None:
    critic = measured("cpu", offload=False).among([pan(9), pan(9), pan(17)])
    assert len(critic.judge(pan(9), 16, num_trials=1, seed=0)[0].components) == 4
    assert critic.judge(pan(17), 16, num_trials=1, seed=0) == [measure(pan(17))]


def score_of(trials: list[Trial]) -> float:
    [trial] = trials
    assert trial.score is not None
    return trial.score


NO = """<think>
<overview>
A bus & a <b>tram</b>.
</overview>
<component name="the bus">
<analysis>Its wheels turn.</analysis>
<anomaly>No</anomaly>
</component>
<component name='the "tram"'><analysis> Bends. </analysis><anomaly> YES </anomaly></component>
<component name="the sky"><analysis>Grey.</analysis></component>
</think>
<ANSWER>
 no
</ANSWER> and more"""


def test_an_answer_is_read_even_where_it_is_no_well_formed_xml() -> None:
    trial = parse(NO)
    assert (trial.verdict, trial.text, trial.overview) == (True, NO, "A bus & a <b>tram</b>.")
    assert [(part.name, part.analysis, part.anomaly) for part in trial.components] == [
        ("the bus", "Its wheels turn.", False),
        ('the "tram"', "Bends.", True),
        ("the sky", "Grey.", None),
    ]


@pytest.mark.parametrize("answer", ["", "No", "<answer>Maybe</answer>", "<answer>No anomalies</answer>", "<answer>No"])
def test_an_answer_without_a_verdict_is_kept_and_counts_in_no_score(answer: str) -> None:
    trial = parse(answer)
    assert trial.verdict is None
    assert trial.value is None
    assert trial.text == answer
    assert score([trial]) is None
    assert score([trial, parse("<answer>no</answer>")]) == 100


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ("nny", 66),  # truncated, not rounded
        ("nyy", 33),
        ("yyy", 0),
        ("nnn", 100),
        ("ny??", 50),
        ("n" * 29 + "y" * 21, 58),
        ("???", None),
        ("", None),
    ],
)
def test_the_score_is_the_percentage_of_readable_answers_that_say_no(trials: str, expected: int | None) -> None:
    verdicts = {"n": True, "y": False, "?": None}
    assert score(Trial("", verdicts[letter]) for letter in trials) == expected


def test_numbers_are_averaged_and_nothing_outside_0_to_100_is_a_score() -> None:
    assert score([Trial("", None, 70.0), Trial("", None, 80.9), Trial("", None)]) == 75
    for impossible in (-1.0, 100.5, float("nan")):
        with pytest.raises(ValueError, match="0 to 100"):
            Trial("", None, impossible)


def test_the_model_sees_16_frames_a_second_evenly_spaced_and_an_even_number_of_them() -> None:
    frames = np.arange(93, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    clip = watched(frames, fps=16)
    assert (len(clip.frames_FHWC), clip.total_pixels) == (92, 8192 * 28 * 28)
    assert clip.fps == pytest.approx(92 / 93 * 16)
    shown = clip.frames_FHWC[:, 0, 0, 0]
    assert (shown[0], shown[-1]) == (0, 92)
    assert len(watched(frames, fps=32).frames_FHWC) == 46
    assert len(watched(frames[:5], fps=100).frames_FHWC) == 4
    assert len(watched(frames[:1], fps=16).frames_FHWC) == 2


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A chat server that finds an anomaly under the seed 8, and answers "I cannot say." under 9."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request)
            said = {8: "<answer>Yes</answer>", 9: "I cannot say."}.get(request["seed"], "<answer>No</answer>")
            body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    running.requests = requests  # type: ignore[attr-defined]
    Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_every_trial_asks_a_chat_model_on_its_own_seed_as_the_original_asks(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSMOS_CRITIC_URL", f"http://127.0.0.1:{server.server_port}")
    trials = reason1("cpu", offload=False, checkpoint_dir=Path("checkpoints")).judge(pan(8), 16, num_trials=3, seed=7)
    assert [trial.verdict for trial in trials] == [True, False, None]
    assert score(trials) == 50
    for request, seed in zip(server.requests, (7, 8, 9), strict=True):
        assert (request["seed"], request["temperature"], request["top_p"]) == (seed, 0.6, 0.95)
        assert request["max_tokens"] == 4096
        system, user = request["messages"]
        assert system["content"] == INSTRUCTIONS
        kinds = [entry["type"] for entry in user["content"]]
        assert kinds == ["image_url"] * 8 + ["text"]
        assert user["content"][-1]["text"] == QUESTION


def test_the_instructions_spell_out_the_form_that_is_read() -> None:
    filled = INSTRUCTIONS[INSTRUCTIONS.index("<think>") :].replace("Yes or No", "No")
    trial = parse(filled)
    assert trial.overview
    assert [part.anomaly for part in trial.components] == [False]
    assert trial.verdict is None  # repeating the form is no answer


def test_without_the_model_the_way_out_is_named() -> None:
    with pytest.raises(CheckpointError, match="cosmos download nvidia/Cosmos-Reason1-7B") as caught:
        reason1("cpu", offload=False, checkpoint_dir=Path("checkpoints"))
    assert "measured" in str(caught.value)
