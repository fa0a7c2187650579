"""Guided generation as a user runs it, with the tiny model on small rendered episodes."""

from __future__ import annotations

import itertools
import json
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cosmos_cli.files.scratch import scratch_array
from cosmos_cli.generation.steps import Clock
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.media.frames import to_frames_truncated, to_video
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.chunks import plan_chunks, take
from cosmos_plugins.transfer1.guided.episodes.synthetic import render
from cosmos_plugins.transfer1.guided.episodes.written import create_episode
from cosmos_plugins.transfer1.guided.generation import GuidedGeneration
from cosmos_plugins.transfer1.guided.guidance import Held
from cosmos_plugins.transfer1.guided.masks import pixel_masks
from cosmos_plugins.transfer1.guided.pipeline import GuidedPipeline
from cosmos_plugins.transfer1.guided.requests import GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.guided.room import room_sample
from cosmos_plugins.transfer1.guided.samples import seed_of
from tests.kills import killed_again_and_again

COSMOS = str(Path(sysconfig.get_path("scripts")) / "cosmos")
QUICK = ("--model", "tiny", "--num-steps", "1", "--guidance", "0")
RGB = "data/demo_0/observations/rgb_images"


def write_episodes(folder: Path, *numbers: int, num_frames: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        create_episode(folder / f"rec_{number}.hdf5", render(num_frames, size=48, seed=number))
    return folder


@pytest.fixture
def episodes() -> Path:
    """Two episodes in the folder "in" of the working folder."""
    return write_episodes(Path("in"), 0, 1)


def pictures(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file[RGB][:]


def test_a_folder_of_episodes_becomes_another(episodes: Path, cosmos: Callable[..., CommandResult]) -> None:
    prompts = {f"meta {i}": {"top_view_prompt": f"Room {i}.", "bottom_view_prompt": f"Table {i}."} for i in range(20)}
    Path("prompts.json").write_text(json.dumps(prompts))
    Path("config").mkdir()
    Path("prompts.json").rename("config/prompts.json")
    control = {"control_weight": 0.5, "input_control": "placeholder_not_needed.mp4"}
    spec = {"prompt": "elsewhere/prompts.json", "input_video_path": "placeholder_not_needed.mp4"}
    Path("config/spec.json").write_text(json.dumps(spec | dict.fromkeys(("edge", "depth", "seg"), control)))
    line = ("--source_data_dir", episodes, "--output_data_dir", "out", "--save_name_offset", 7, "--preview", "--json")
    line = (*QUICK, *line, "--controlnet_specs", "config/spec.json", "--video_save_folder", "unused")
    result = cosmos("transfer", "guided", *line)
    assert result.exit_code == 0, result.stderr
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "done"]
    names = ("", "_preview", "_room_view", "_wrist_view")
    expected = {f"data_7{name}" for name in names} | {f"data_8{name}" for name in names} | {"guided.ledger", "report"}
    assert {path.name.partition(".")[0] + (".ledger" * ("ledger" in path.name)) for path in Path("out").iterdir()} == {
        *expected
    }
    with h5py.File("out/data_7.hdf5") as made, h5py.File("in/rec_0.hdf5") as source:
        for name in source["data/demo_0/observations"]:
            same = np.array_equal(made[f"data/demo_0/observations/{name}"], source[f"data/demo_0/observations/{name}"])
            assert same == (name != "rgb_images")
        told = json.loads(made["data/demo_0"].attrs["cosmos"])
    room, wrist = told["prompts_used"]["room"], told["prompts_used"]["wrist"]
    assert room in {f"Room {i}." for i in range(20)}
    assert wrist == room.replace("Room", "Table") + " The bottom video is facing the same table in the top video " + (
        "without reflection."
    )
    assert Path("out/data_7_wrist_view.txt").read_text() == f"{wrist}\n"

    again = cosmos("transfer", "guided", *line)
    assert [sample["status"] for sample in again.json["samples"]] == ["done before", "done before"]
    assert "Loading tiny" not in again.stderr

    alone = cosmos("transfer", "guided", "--from-file", "out/data_8.json", "--output-data-dir", "alone")
    assert alone.exit_code == 0, alone.stderr
    for name in ("data_8.hdf5", "data_8_wrist_view.mp4"):
        same = Path("alone", name).read_bytes() == Path("out", name).read_bytes()
        assert same or name.endswith("hdf5")  # which tells the folder that it was written to
    assert np.array_equal(pictures(Path("alone/data_8.hdf5")), pictures(Path("out/data_8.hdf5")))


def test_copies_beside_the_originals_do_not_become_episodes(
    episodes: Path, cosmos: Callable[..., CommandResult]
) -> None:
    one = ("transfer", "guided", *QUICK, "--source-data-dir", episodes / "rec_1.hdf5")
    assert cosmos(*one, "--save-name-offset", 5).exit_code == 0
    planned = cosmos("transfer", "guided", *QUICK, "--source-data-dir", episodes, "--plan", "--json")
    assert planned.json["request"]["num_episodes"] == 2
    assert "1 of the episodes in in were made by an earlier run" in planned.stderr


@pytest.mark.parametrize(
    ("switch", "is_on"),
    [
        (["--concat-video-second-view"], True),
        (["--concat_video_second_view", "False"], False),
        (["--concat_video_second_view=0"], False),
        (["--concat-video-second-view", "true"], True),
        (["--no-concat-video-second-view"], False),
        ([], True),
    ],
)
def test_a_switch_that_is_on_by_default_needs_no_value(
    switch: list[str], is_on: bool, episodes: Path, cosmos: Callable[..., CommandResult]
) -> None:
    for line in ((*switch, "--source-data-dir", "in/rec_0.hdf5"), ("--source-data-dir", "in/rec_0.hdf5", *switch)):
        planned = cosmos("transfer", "guided", *QUICK, "--output-data-dir", "out", "--plan", "--json", *line)
        assert planned.exit_code == 0, planned.stderr
        [waiting] = [notice for notice in planned.json["not_counted"] if "MB of frames that wait" in notice]
        assert ("up to 0.1 MB" in waiting) == is_on, waiting


@pytest.mark.parametrize("option", ["--concat-video-second-view", "--no-concat-video-second-view", "--as-original"])
def test_a_plan_knows_what_the_disk_must_hold(
    option: str, episodes: Path, cosmos: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("transfer", "guided", *QUICK, option, "--source-data-dir", episodes, "--output-data-dir", "out")
    planned = cosmos(*line, "--plan", "--json")
    assert planned.exit_code == 0, planned.stderr
    assert planned.json["disk"]["output_bytes"] > sum(path.stat().st_size for path in episodes.iterdir())
    taken: list[np.ndarray] = []

    def watched(*given: Any) -> np.ndarray:
        taken.append(scratch_array(*given))
        return taken[-1]

    for module in ("pipeline", "wrist"):
        monkeypatch.setattr(f"cosmos_plugins.transfer1.guided.{module}.scratch_array", watched)
    request = GuidedRequest(
        source_data_dir=episodes / "rec_0.hdf5",
        output_data_dir="out",
        num_steps=1,
        guidance=0,
        concat_video_second_view=option != "--no-concat-video-second-view",
        as_original=option == "--as-original",
    )
    pipeline = GuidedPipeline.load(GuidedSettings(model_size="tiny", device="cpu"), [request])
    generated = pipeline.generate(request)
    assert sum(array.nbytes for array in taken) == generated.sample.scratch_bytes
    waiting = f"up to {generated.sample.scratch_bytes / 1e6:,.1f} MB of frames that wait"
    assert waiting in " ".join(planned.json["not_counted"])


def test_no_copy_replaces_a_recording_beside_it(episodes: Path, cosmos: Callable[..., CommandResult]) -> None:
    for number in (0, 1):
        (episodes / f"rec_{number}.hdf5").rename(episodes / f"data_{number}.hdf5")
    before = (episodes / "data_1.hdf5").read_bytes()
    Path("other").symlink_to(episodes)
    line = ("transfer", "guided", *QUICK, "--overwrite", "--save-name-offset", 1, "--output-data-dir", "other")
    one = cosmos(*line, "--source-data-dir", episodes / "data_0.hdf5")
    assert one.exit_code == 2 and "would be replaced by the copy of in/data_0.hdf5" in one.stderr
    both = cosmos(*line, "--source-data-dir", episodes, "--json")
    assert [sample["status"] for sample in both.json["samples"]] == ["failed", "done"]
    assert (episodes / "data_1.hdf5").read_bytes() == before
    again = cosmos(*line, "--source-data-dir", episodes, "--plan", "--json")
    assert again.json["request"]["num_episodes"] == 2  # by whatever name the folder goes, copies are left out


@pytest.mark.parametrize(
    "options",
    [
        ("--as-original",),
        ("--concat_video_second_view", "False", "--no-fill-missing-pixels"),
        ("--sigma-max", "20", "--foreground-label", "4", "--height", "96", "--width", "64"),
    ],
)
def test_options_change_the_pictures(
    options: tuple[str, ...], episodes: Path, cosmos: Callable[..., CommandResult]
) -> None:
    one = ("transfer", "guided", *QUICK, "--source-data-dir", episodes / "rec_0.hdf5")
    for folder, given in (("plain", ()), ("other", options)):
        result = cosmos(*one, "--output-data-dir", folder, *given)
        assert result.exit_code == 0, result.stderr
    assert not np.array_equal(pictures(Path("plain/data_0.hdf5")), pictures(Path("other/data_0.hdf5")))


def test_a_corrupt_episode_costs_itself_only(episodes: Path, cosmos: Callable[..., CommandResult]) -> None:
    whole = (episodes / "rec_0.hdf5").read_bytes()
    (episodes / "rec_2.hdf5").write_bytes(whole[: len(whole) // 2])
    result = cosmos("transfer", "guided", *QUICK, "--source-data-dir", episodes, "--output-data-dir", "out", "--json")
    assert result.exit_code == 1
    assert [sample["status"] for sample in result.json["samples"]] == ["done", "done", "failed"]
    assert "rec_2.hdf5" in result.json["samples"][2]["place"] and result.json["samples"][2]["error"]
    assert not Path("out/data_2.hdf5").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--source-data-dir", "in/data_0.hdf5"), ["data_0.hdf5", "replaced by its own copy", "--save-name-offset"]),
        (("--source-data-dir", "nowhere"), ["nowhere does not exist"]),
        (("--source-data-dir", "empty"), ["holds no episode"]),
        ((), ["--source-data-dir", "is required", "--demo-episode"]),
        (("--source-data-dir", "in", "--foreground-label", "3,9"), ["labels from 0 to 4"]),
        (("--source-data-dir", "in", "--prompt", "none.json"), ["none.json"]),
        (("--source-data-dir", "in", "--controlnet-specs", "keypoint.json"), ["keypoint", "out of an episode"]),
        (("--source-data-dir", "in", "--output-data-dir", "in/data_0.hdf5"), ["cannot be written", "Not a directory"]),
    ],
)
def test_bad_input_is_told_before_a_model_loads(
    options: tuple[str, ...], words: list[str], cosmos: Callable[..., CommandResult]
) -> None:
    write_episodes(Path("in"), 0)
    Path("in/rec_0.hdf5").rename("in/data_0.hdf5")
    Path("empty").mkdir()
    Path("keypoint.json").write_text(json.dumps({"keypoint": {"control_weight": 0.5}}))
    result = cosmos("transfer", "guided", *QUICK, *options)
    assert result.exit_code == 2, result.stderr
    assert "Loading" not in result.stderr and "defect" not in result.stderr
    said = " ".join(result.stderr.replace("│", " ").split())
    assert all(word in said for word in words), said


def test_missing_weights_are_asked_for_without_the_makers_of_controls(
    episodes: Path, cosmos: Callable[..., CommandResult]
) -> None:
    result = cosmos("transfer", "guided", "--source-data-dir", episodes, "--output-data-dir", "out")
    assert result.exit_code == 4
    assert "seg_control.pt" in result.stderr and "Depth-Anything" not in result.stderr and "sam2" not in result.stderr


def test_a_demo_episode_can_be_used(cosmos: Callable[..., CommandResult]) -> None:
    made = cosmos("transfer", "guided", "--demo-episode", "demo_3.h5", "--demo-frames", 2, "--json")
    assert made.exit_code == 0 and made.json["num_frames"] == 2
    assert cosmos("transfer", "guided", "--demo-episode", "demo_3.h5").exit_code == 2
    planned = cosmos("transfer", "guided", *QUICK, "--source-data-dir", "demo_3.h5", "--plan", "--json")
    assert planned.exit_code == 0 and planned.json["frames"]["made"] == 4


def test_a_seed_belongs_to_the_name_of_an_output() -> None:
    request = GuidedRequest(source_data_dir="a/rec_3.hdf5")
    moved = request.model_copy(update={"source_data_dir": Path("b/other_2.h5"), "save_name_offset": 1})
    copied = request.model_copy(update={"save_name_offset": 1})
    assert seed_of(request) == seed_of(moved) != seed_of(copied)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> GuidedPipeline:
    folder = write_episodes(tmp_path_factory.mktemp("episodes") / "in", 0, num_frames=9)
    return GuidedPipeline.load(GuidedSettings(model_size="tiny", device="cpu"), [asked(folder / "rec_0.hdf5")])


def asked(path: Path, **changes: Any) -> GuidedRequest:
    return GuidedRequest(source_data_dir=path, output_data_dir=path.parent / "out", num_steps=6, guidance=0, **changes)


def closeness_db(pipeline: GuidedPipeline, path: Path, sigma_threshold: float) -> list[float]:
    """How close each view's held latents end to the simulation's: signal to noise in decibels."""
    caught: list[float] = []

    class Watching(GuidedGeneration):
        def _decode(self, latents: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
            assert self._injection is not None
            reference = self._injection.reference_BCTHW
            held = self._injection.layers[-1].mask_B1THW.expand_as(latents) == 1
            error = (latents.float() - reference)[held].square().mean()
            caught.append(float(10 * torch.log10(reference[held].square().mean() / error)))
            return super()._decode(latents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosmos_plugins.transfer1.guided.pipeline.GuidedGeneration", Watching)
        pipeline.generate(asked(path, sigma_threshold=sigma_threshold))
    return caught


def test_prompts_are_checked_as_they_are_checked_ahead(episode: Path) -> None:
    """A verdict that is not known yet would load a guardrail among the other networks."""
    checked: list[str] = []

    class Watching:
        def check_prompt(self, prompt: str) -> None:
            checked.append(prompt)

        def check_video(self, frames: np.ndarray) -> np.ndarray:
            return frames

    request, settings = asked(episode, prompt="A quiet room."), GuidedSettings(model_size="tiny", device="cpu")
    pipeline = GuidedPipeline.load(settings, [request], Guardrails({"watching": Watching()}))
    generated = pipeline.generate(request)
    assert sorted(checked) == sorted(pipeline.inputs.prompts_of(settings, request)) == sorted(generated.prompts)


def test_the_foreground_stays_and_a_higher_threshold_holds_it_less(pipeline: GuidedPipeline, episode: Path) -> None:
    thresholds = (0.0, 0.02, 0.1, 0.5)
    room, wrist = zip(*(closeness_db(pipeline, episode, each) for each in thresholds), strict=True)
    # held at every step, all that is left is what the last noise level, 0.002, lets through
    assert room[0] > 35 and wrist[0] > 35
    for view in (room, wrist):
        assert all(closer > farther for closer, farther in itertools.pairwise(view)), view


@pytest.mark.parametrize("as_original", [False, True])
def test_a_later_chunk_is_held_to_its_own_time(as_original: bool, pipeline: GuidedPipeline, episode: Path) -> None:
    """Its frames, its masks, the last of both where the clip has ended, and noise of its own."""
    request = asked(episode, num_input_frames=9, as_original=as_original)
    short, num_frames = pipeline.inputs.read(pipeline.settings, request), 50
    levels = np.arange(num_frames, dtype=np.uint8)[:, None, None]
    frames = np.broadcast_to(levels[..., None], (num_frames, 80, 80, 3))
    view = replace(room_sample(short), frames_FHWC=frames, num_frames=num_frames)
    held = [Held(lambda places: np.ones((1, 80, 80), np.float32) * levels[places] / np.float32(255), "minimum")]
    generation = GuidedGeneration(
        pipeline.models, view, [], None, Clock(), guidance=0, held=held, sigma_threshold=1.0, one_noise=as_original
    )
    noises = []
    with torch.inference_mode():
        for chunk in plan_chunks(num_frames, 9, 33):
            generation._start(chunk, [])
            assert generation._injection is not None
            reference, noise, [layer] = vars(generation._injection).values()
            expected = frames[np.arange(chunk.start, chunk.start + 33).clip(max=49)]
            video = to_video(expected, pipeline.device, pipeline.dtype)
            assert torch.equal(reference, pipeline.models.tokenizer.encode(video).float())
            first_of_each = [0, *range(1, 33, 8)]
            assert (layer.mask_B1THW[0, 0, :, 0, 0] * 255).round().tolist() == expected[first_of_each, 0, 0, 0].tolist()
            noises.append(noise)
    assert len(noises) == 2 and torch.equal(*noises) == as_original


def test_held_pixels_are_as_good_as_the_tokenizer_lets_them_be(pipeline: GuidedPipeline, episode: Path) -> None:
    request = asked(episode, sigma_threshold=0.0)
    sample = pipeline.inputs.read(pipeline.settings, request)
    simulated = room_sample(sample).frames_FHWC[:]
    [chunk] = plan_chunks(len(simulated), 1, 33)
    with torch.inference_mode():
        latents = pipeline.models.tokenizer.encode(to_video(take(simulated, chunk), pipeline.device, pipeline.dtype))
        coded = np.concatenate([to_frames_truncated(each) for each in pipeline.models.tokenizer.decode_chunks(latents)])
    mask = pixel_masks(sample.episode.labels("room"), (3, 4), simulated.shape[1:3]) == 1
    made = pipeline.generate(request).frames.room
    assert psnr(made[mask], simulated[mask]) > psnr(coded[: len(simulated)][mask], simulated[mask]) - 1


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(ours.astype(float) - theirs).mean()))


@pytest.fixture
def episode(pipeline: GuidedPipeline, tmp_path: Path) -> Path:
    return write_episodes(tmp_path / "in", 0, num_frames=9) / "rec_0.hdf5"


@pytest.mark.usefixtures("one_thread")
def test_kills_lose_nothing(tmp_path: Path, one_thread: None, cosmos: Callable[..., CommandResult]) -> None:
    source = write_episodes(tmp_path / "in", 0, 1, 2, 3)
    (source / "rec_4.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))

    line = ("transfer", "guided", *QUICK, "--source-data-dir", str(source), "--output-data-dir")

    assert cosmos(*line, tmp_path / "undisturbed").exit_code == 1
    ledger, needs = tmp_path / "killed/guided.ledger.jsonl", "cosmos_plugins.transfer1.guided.pipeline"
    assert killed_again_and_again([*line, tmp_path / "killed"], ledger, needs=needs) > 1
    assert cosmos(*line, tmp_path / "killed").exit_code == 1
    for number in range(4):
        for name in (f"data_{number}.hdf5", f"data_{number}_room_view.mp4", f"data_{number}_wrist_view.mp4"):
            whole, resumed = (tmp_path / folder / name for folder in ("undisturbed", "killed"))
            if name.endswith("hdf5"):
                assert np.array_equal(pictures(whole), pictures(resumed))
            else:
                assert whole.read_bytes() == resumed.read_bytes()
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {path.name for path in (tmp_path / "undisturbed").iterdir()}
