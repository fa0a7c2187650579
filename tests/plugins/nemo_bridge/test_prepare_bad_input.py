"""What is wrong with raw data sets and output folders is told before any model loads."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient

Run = Callable[..., CommandResult]
SUBJECT, INSTRUCTION = "prepare-dataset", "prepare-instruction-dataset"


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("cosmos_cli.models.cosmos_tokenizer_files.load_chunked_tokenizer", refuse)
    monkeypatch.setattr("cosmos_cli.models.t5.CachedTextEncoder._load", refuse)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clips") / "good.mp4", moving_gradient(122, 16, 32))


def say(result: CommandResult) -> str:
    """Its words, without the frame of the panel."""
    return " ".join(result.stderr.replace("│", " ").split())


def refused(result: CommandResult, exit_code: int = 2) -> str:
    assert result.exit_code == exit_code, result.stderr
    assert "defect" not in result.stderr
    return say(result)


def prepare(cosmos: Run, raw: Path, *more: object, command: str = SUBJECT) -> CommandResult:
    small = ("--model", "tiny", "--height", "16", "--width", "32", "--num_chunks", "1")
    return cosmos("nemo", command, *small, "--dataset_path", raw, "--output_path", "samples", *more)


def spoil(clip: Path, folder: Path) -> None:
    """A good video and five that cannot be used."""
    folder.mkdir(parents=True)
    shutil.copy(clip, folder / "good.mp4")
    for length in (32, 7):
        encode(folder / f"short{length}.mp4", moving_gradient(length, 16, 32))
    whole = clip.read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "noise.mp4").write_bytes(b"\0" * 1000)
    damaged = bytearray(whole)
    begin = whole.index(b"mdat") + 4
    end = begin + int.from_bytes(whole[begin - 8 : begin - 4], "big") - 8
    damaged[begin + 2000 : end] = bytes(end - begin - 2000)  # its headers say nothing of that
    (folder / "damaged.mp4").write_bytes(damaged)


@pytest.mark.usefixtures("nothing_loads")
def test_all_videos_that_cannot_be_used_are_named_with_their_lengths(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    spoil(clip, tmp_path / "raw")
    said = refused(prepare(cosmos, tmp_path / "raw"))
    assert "holds 2 videos with fewer than the 33 frames of a sample: short32.mp4 (32), short7.mp4 (7)." in said
    for name in ("cut.mp4", "noise.mp4", "damaged.mp4"):
        assert name in said.replace(" ", "")  # lines may end within a name
    assert "cannot be read as a video after 12 frames" in said
    assert "--skip-bad" in said
    assert not list(Path().iterdir())


def test_with_skip_bad_they_are_left_out_and_named(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    spoil(clip, tmp_path / "raw")
    result = prepare(cosmos, tmp_path / "raw", "--skip-bad", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.json["videos"] == 1
    notices = " ".join(result.json["notices"])
    assert "short32.mp4 (32), short7.mp4 (7)" in notices
    assert all(name in notices for name in ("cut.mp4", "noise.mp4", "damaged.mp4"))
    (tmp_path / "raw" / "good.mp4").unlink()
    assert "short7.mp4" in refused(prepare(cosmos, tmp_path / "raw", "--skip-bad"))


@pytest.mark.usefixtures("nothing_loads")
def test_folders_without_videos_are_refused(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    (empty / "videos").mkdir(parents=True)
    shutil.copy(clip, empty / "videos" / "good.mp4")
    assert "there is no such folder" in refused(prepare(cosmos, tmp_path / "nowhere"))
    said = refused(prepare(cosmos, empty))
    assert "holds no videos (*.mp4)" in said
    assert str(empty) in said.replace(" ", "")  # a long path is broken over lines
    assert "there is no such folder" in refused(prepare(cosmos, tmp_path / "nowhere", command=INSTRUCTION))
    shutil.rmtree(empty / "videos")
    said = refused(prepare(cosmos, empty, command=INSTRUCTION))
    assert "there is no such folder" in said
    assert f"{empty}/videos" in said.replace(" ", "")


BAD_INSTRUCTIONS = {
    "no_key": ('{"language_instruction_1": "lift"}', "has no key language_instruction_0; it holds"),
    "number": ('{"language_instruction_0": 7}', "has no text under the key language_instruction_0"),
    "empty": ('{"language_instruction_0": " "}', "has no text under the key language_instruction_0"),
    "list": ('["lift"]', "is no JSON object with the key language_instruction_0"),
    "torn": ('{"language_instr', "is not JSON"),
    "long": (json.dumps({"language_instruction_0": "lift " * 1200}), "has 6,000 characters"),
    "missing": (None, "is missing: the instruction of missing.mp4"),
}


def test_all_instructions_that_are_none_are_named(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    robot = tmp_path / "robot"
    for folder in ("videos", "instructions"):
        (robot / folder).mkdir(parents=True)
    for name, (document, _) in {**BAD_INSTRUCTIONS, "fine": ('{"language_instruction_0": "lift"}', "")}.items():
        shutil.copy(clip, robot / "videos" / f"{name}.mp4")
        if document is not None:
            (robot / "instructions" / f"{name}.json").write_text(document)
    said = refused(prepare(cosmos, robot, command=INSTRUCTION))
    for name, (_, what) in BAD_INSTRUCTIONS.items():
        assert f"{name}.json" in said.replace(" ", "")
        assert what in said
    result = prepare(cosmos, robot, "--skip-bad", "--json", command=INSTRUCTION)
    assert result.exit_code == 0, result.stderr
    assert result.json["written"] == 1


@pytest.mark.usefixtures("nothing_loads")
def test_an_output_folder_that_is_not_of_this_run_is_refused(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(clip, raw / "good.mp4")
    Path("samples").mkdir()
    Path("samples", "README.md").write_text("")
    assert "no run of cosmos has begun it: it holds README.md" in refused(prepare(cosmos, raw))
    shutil.rmtree("samples")
    Path("samples").write_text("")
    assert "is not a folder" in refused(prepare(cosmos, raw))
    Path("samples").unlink()
    Path("samples.manifest.json").write_text("{}")
    assert "is no record of a run" in refused(prepare(cosmos, raw))
    for odd in (7, [7, {"path": 7}, {"path": "a", "fingerprint": [], "num_frames": "x"}], None):
        Path("samples.manifest.json").write_text(json.dumps({"format": 1, "settings": odd, "videos": odd}))
        said = refused(prepare(cosmos, raw))
        assert "holds samples of another run" in said
        assert "videos that are new: good.mp4" in said
    Path("samples.manifest.json").unlink()
    # the videos themselves are not to be trained on as samples
    assert "it holds good.mp4" in refused(prepare(cosmos, raw, "--output-path", raw))


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize("closed", ["samples", "."])
def test_an_output_folder_that_cannot_be_written_is_refused(
    cosmos: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    raw, real = tmp_path / "raw", tempfile.TemporaryFile
    raw.mkdir()
    shutil.copy(clip, raw / "good.mp4")
    Path("samples").mkdir()

    def temporary(*, dir: Path) -> Any:
        if dir == Path(closed).absolute():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real(dir=dir)

    monkeypatch.setattr("cosmos_cli.files.outputs.tempfile.TemporaryFile", temporary)
    said = refused(prepare(cosmos, raw))
    assert "cannot be written: Permission denied." in said
    assert ("Notes lie beside the folder of samples" in said) == (closed == ".")


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="needs a folder that is a disk of its own")
def test_an_output_folder_that_is_a_disk_of_its_own_is_refused(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "good.mp4")
    said = refused(prepare(cosmos, tmp_path, "--output-path", "/dev/shm"))
    assert "/dev/shm is a disk of its own" in said
    assert "such as /dev/shm/samples" in said


@pytest.mark.usefixtures("nothing_loads")
def test_a_disk_without_room_is_told_before(
    cosmos: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(clip, raw / "good.mp4")
    monkeypatch.setattr("cosmos_plugins.nemo_bridge.dataset.command.free_bytes", lambda _: 5_000_000)
    said = refused(prepare(cosmos, raw, "--num-chunks", "100"))
    assert "100 samples, but its disk has 0.0 GB free" in said
    assert not Path("samples.manifest.json").exists()


def test_sizes_and_numbers_that_cannot_be_are_told_together(cosmos: Run, tmp_path: Path) -> None:
    said = refused(prepare(cosmos, tmp_path, "--height", "700", "--num-chunks", "0", "--seed", "-1", "--prompt", " "))
    for option in ("--height", "--num-chunks", "--seed", "--prompt"):
        assert option in said


@pytest.mark.usefixtures("nothing_loads")
def test_more_chunks_than_any_disk_holds_are_refused_before_they_are_drawn(cosmos: Run, tmp_path: Path) -> None:
    said = refused(prepare(cosmos, tmp_path, "--num-chunks", 10**9))
    assert "--num-chunks must be <= 100000" in said


def test_missing_networks_are_told_with_the_command_that_fetches_them(cosmos: Run, clip: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(clip, raw / "good.mp4")
    said = refused(cosmos("nemo", SUBJECT, "--dataset_path", raw, "--output_path", "samples"), exit_code=4)
    assert "Cosmos-1.0-Tokenizer-CV8x8x8" in said
    assert "cosmos download" in said
    said = refused(prepare(cosmos, raw, "--tokenizer_dir", tmp_path / "nowhere"), exit_code=4)
    assert "holds no tokenizer of videos with its mean_std.pt" in said
    assert not Path("samples.manifest.json").exists()
