"""The whole way: a training that learns and resumes, videos by its weights, a batch that goes on, errors that help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult, run_cosmos

TRAINED = Path("checkpoints/posttraining/mirage/mirage_worlds")


def train(steps: int) -> CommandResult:
    changes = (f"trainer.max_iter={steps}", "log.logging_iter=1", "data.num_mock_clips=8")
    return run_cosmos("mirage", "post-train", "--experiment", "mirage_worlds", "--device", "cpu", "--", *changes)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights of twenty steps, and a picture."""
    folder = tmp_path_factory.mktemp("mirage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(20).exit_code == 0
        y, x = np.mgrid[:48, :64]
        write_png(Path("street.png"), np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8))
    return folder


@pytest.fixture(autouse=True)
def there(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


def test_a_training_learns_and_goes_on_where_it_stopped() -> None:
    losses = [json.loads(line)["loss"] for line in (TRAINED / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])

    went_on = train(22)

    assert went_on.exit_code == 0, went_on.stderr
    assert "step 22 of 22" in went_on.stderr
    assert "step 20 of 22" not in went_on.stderr


def test_a_picture_goes_on_as_a_video() -> None:
    arguments = ("--weights", TRAINED, "--input-path", "street.png", "--prompt", "A street.", "--num-frames", 6)
    made = run_cosmos("mirage", "run", *arguments, "--json")
    assert made.exit_code == 0, made.stderr
    video = Path(made.json["video"])
    assert read_video(video).frames_FHWC.shape == (6, 48, 64, 3)

    again = run_cosmos("mirage", "run", "--from-file", video.with_suffix(".json"), "--save-path", "again.mp4")
    assert again.exit_code == 0, again.stderr
    assert Path("again.mp4").read_bytes() == video.read_bytes()


def test_a_batch_makes_only_what_is_missing() -> None:
    rows = [{"input_path": "street.png", "prompt": "A street.", "save_path": f"many/{n}.mp4"} for n in range(2)]
    Path("all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run_cosmos("mirage", "batch", "all.jsonl", "--weights", TRAINED).exit_code == 0
    Path("many/1.mp4").unlink()

    first = run_cosmos("mirage", "batch", "all.jsonl", "--weights", TRAINED, "--share", "1/2", "--json")
    second = run_cosmos("mirage", "batch", "all.jsonl", "--weights", TRAINED, "--json")

    assert [sample["status"] for sample in first.json["samples"]] == ["done before"]
    assert [sample["status"] for sample in second.json["samples"]] == ["done before", "done"]
    assert Path("many/1.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--weights", "nothing.pt", "--input-path", "street.png"), 4, "nothing.pt"),
        (("--weights", TRAINED, "--input-path", "nothing.png"), 2, "nothing.png"),
        (("--weights", TRAINED, "--input-path", "street.png", "--save-path", "a.avi"), 2, "--save-path"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[object, ...], exit_code: int, said: str) -> None:
    failed = run_cosmos("mirage", "run", "--prompt", "A street.", "--overwrite", *arguments)
    assert (failed.exit_code, said in failed.stderr) == (exit_code, True), failed.stderr
