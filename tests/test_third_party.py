"""A stranger's package has every right of the families that come with cosmos, and a broken one harms nobody."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cosmos_cli import registry
from cosmos_cli.media.image import write_png
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient
from tests.third_party import COSMOS, HERE, complete, pip_install, run_script
from tests.waiting import PATIENCE_S, until

FAULTS = {
    "exits": "cannot be imported (SystemExit: no licence found)",
    "fails-in-hook": "raised in cosmos_register_families (RuntimeError: lost its calibration)",
    "fails-to-import": "cannot be imported (ImportError: liblidar.so.7 cannot be opened Install the driver first)",
    "not-there": "No module named 'cosmos_broken.not_there'",
    "predict2": "its plugin name 'predict2' is already taken by predict2 (cosmos-cli",
    "takes-core-name": "the family name 'plugins' is a command of cosmos itself",
    "takes-family": "the family name 'predict2' is already taken by predict2 (cosmos-cli",
    "twice-a": "implements hooks that do not exist: cosmos_register_telepathy",
    "twice-b": "its module cosmos_broken.unknown_hook is already plugin 'twice-a'",
    "wrong-import-string": "'cosmos_broken/early.py' is not an import string",
    "wrong-signature": "does not fit the hook contract",
}


def install(tmp_path_factory: pytest.TempPathFactory, *names: str) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    sources = [Path(shutil.copytree(HERE / name, folder / "sources" / name)) for name in names]
    pip_install(folder / "packages", *sources)
    return folder / "packages"


@pytest.fixture(scope="session")
def drift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of an environment in which cosmos-drift is installed."""
    return install(tmp_path_factory, "cosmos-drift")


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of an environment in which cosmos-drift and cosmos-broken are installed."""
    return install(tmp_path_factory, "cosmos-drift", "cosmos-broken")


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of an environment in which cosmos-light is installed."""
    return install(tmp_path_factory, "cosmos-light")


@pytest.fixture
def picture() -> Path:
    """A smooth, bright, grey picture, 64 x 48, that continues over its borders."""
    y, x = np.mgrid[:48, :64]
    waves = [np.sin(2 * np.pi * (x / 64 * i + y / 48 * j)) for i, j in ((1, 1), (2, -1), (1, 2))]
    grey = (150 + 33 * sum(waves)).astype(np.uint8)  # H.264 keeps colours at half the resolution
    write_png(Path("street.png"), np.stack([grey] * 3, axis=-1))
    return Path("street.png")


def test_downloaded_weights_make_a_video_that_drifts_as_they_say(drift: Path, picture: Path) -> None:
    missing = run_script("drift", "run", "--input-path", picture, "--prompt", "A street.", path=drift)
    assert missing.returncode == 4
    assert "cosmos drift download" in missing.stderr

    assert run_script("drift", "download", path=drift).returncode == 0
    made = run_script("drift", "run", "--input-path", picture, "--prompt", "A street.", "--json", path=drift)

    assert (made.returncode, json.loads(made.stdout)["video"]) == (0, "output/drift.mp4")
    frames = read_video(Path("output/drift.mp4")).frames_FHWC.astype(float)
    assert frames.shape == (16, 48, 64, 3)
    moved = np.roll(frames[0], (-5, 15), axis=(0, 1))  # five frames at 3 pixels to the right and 1 up
    error, unmoved = np.abs(frames[5] - moved).mean(), np.abs(frames[5] - frames[0]).mean()
    assert error < 3 < unmoved / 5  # what H.264 rounds away


def test_the_sidecar_of_a_third_party_family_makes_the_same_video_again(drift: Path, picture: Path) -> None:
    run_script("drift", "download", path=drift)
    run_script("drift", "run", "--input-path", picture, "--prompt", "A street.", "--num_frames", 4, path=drift)
    again = run_script("drift", "run", "--from-file", "output/drift.json", "--save-path", "again.mp4", path=drift)
    assert again.returncode == 0, again.stderr
    assert Path("again.mp4").read_bytes() == Path("output/drift.mp4").read_bytes()


def test_a_batch_finishes_the_good_rows_skips_the_finished_and_reports_the_bad(drift: Path, picture: Path) -> None:
    Path("jobs").mkdir()
    shutil.copy(picture, "jobs/street.png")
    rows = [{"input_path": name, "prompt": "A.", "save_path": f"{n}.mp4"} for n, name in enumerate(["street.png", "?"])]
    Path("jobs/all.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    run_script("drift", "download", path=drift)

    first = run_script("drift", "batch", "jobs/all.jsonl", "--json", path=drift)
    second = run_script("drift", "batch", "jobs/all.jsonl", "--json", path=drift)

    assert first.returncode == second.returncode == 1
    statuses = [[sample["status"] for sample in json.loads(run.stdout)["samples"]] for run in (first, second)]
    assert statuses == [["done", "failed"], ["done before", "failed"]]
    assert Path("jobs/0.mp4").is_file()


def test_post_training_finds_the_velocity_of_a_clip(drift: Path, picture: Path) -> None:
    run_script("drift", "download", path=drift)
    run_script("drift", "run", "--input-path", picture, "--prompt", "A street.", path=drift)
    trained = run_script(
        "drift", "post-train", "--input-path", "output/drift.mp4", "--weights", "mine.json", "--json", path=drift
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["velocity"] == pytest.approx([3, -1], abs=0.1)
    assert json.loads(Path("mine.json").read_text())["step"] == 50


def test_ctrl_c_exits_with_130_keeps_what_is_saved_and_the_next_run_goes_on_from_there(
    drift: Path, picture: Path
) -> None:
    run_script("drift", "download", path=drift)
    run_script("drift", "run", "--input-path", picture, "--prompt", "A street.", path=drift)
    train = ["drift", "post-train", "--input-path", "output/drift.mp4", "--weights", "mine.json"]
    endless = subprocess.Popen(
        [str(COSMOS), *train, "--num-steps", "1000000000", "--save-every", "1"],
        env={**os.environ, "PYTHONPATH": str(drift)},
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background inherits that Ctrl-C is ignored
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    until(Path("mine.json").exists)
    endless.send_signal(signal.SIGINT)
    _, stderr = endless.communicate(timeout=PATIENCE_S)

    assert (endless.returncode, stderr.splitlines()[-1]) == (130, "Interrupted. Finished work is kept.")
    step = json.loads(Path("mine.json").read_text())["step"]
    resumed = run_script(*train, "--num-steps", step + 1, "--json", path=drift)
    assert json.loads(resumed.stdout)["notices"] == [f"resumed at step {step}"]
    assert [path.name for path in Path().glob(".*")] == []  # no half-written file


def test_help_lists_families_of_every_plugin_and_says_nothing_else(drift: Path) -> None:
    result = run_script("--help", path=drift)
    assert result.returncode == 0
    listed = re.findall(r"^  (\S+)  ", result.stdout.partition("Commands:\n")[2], re.MULTILINE)
    assert {"predict2", "drift", "plugins"} <= set(listed)
    assert result.stderr == ""


def test_commands_and_options_of_a_third_party_family_complete(drift: Path) -> None:
    assert complete("cosmos dr", drift) == ["drift"]
    assert complete("cosmos drift po", drift) == ["post-train"]
    assert complete("cosmos drift run --fps ", drift) == ["10", "16"]


def test_plugins_list_names_every_fault_beside_its_plugin(broken: Path) -> None:
    result = run_script("plugins", "list", "--json", path=broken)
    assert result.returncode == 0
    plugins = {
        plugin["name"]: plugin
        for plugin in json.loads(result.stdout)["plugins"]
        if plugin["distribution"] == "cosmos-broken"
    }
    assert plugins.keys() == {*FAULTS, "fails-late"}
    for name, fault in FAULTS.items():
        [found] = plugins[name]["faults"]
        assert fault in found
    as_text = run_script("plugins", "list", path=broken).stdout
    assert len(as_text.splitlines()) == 1 + len(json.loads(result.stdout)["plugins"])  # a heading, and a line each


def test_every_fault_costs_one_line_on_stderr_and_nothing_else(broken: Path) -> None:
    result = run_script("--help", path=broken)
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert len(lines) == len(FAULTS)
    for name in FAULTS:
        assert any(line.startswith(f"warning: plugin {name} (cosmos-broken 0.1): ") for line in lines)


def test_a_claim_on_a_taken_name_names_both_claimants_and_the_first_keeps_it(broken: Path) -> None:
    result = run_script("predict2", "--help", path=broken)
    [line] = [line for line in result.stderr.splitlines() if "takes-family" in line]
    assert "takes-family (cosmos-broken 0.1)" in line
    assert "already taken by predict2 (cosmos-cli " in line
    assert "video2world" in result.stdout


def test_sound_families_work_beside_broken_plugins(broken: Path, picture: Path) -> None:
    assert run_script("drift", "download", path=broken).returncode == 0
    assert run_script("drift", "run", "--input-path", picture, "--prompt", "A.", path=broken).returncode == 0
    schema = run_script("predict2", "video2world", "--schema", path=broken)
    assert "num_steps" in json.loads(schema.stdout)["properties"]


def test_what_a_plugin_registered_before_it_broke_works(broken: Path) -> None:
    assert run_script("early", "greet", path=broken).returncode == 0


def test_a_family_whose_commands_cannot_be_imported_says_whose_it_is(broken: Path) -> None:
    result = run_script("late", "run", path=broken)
    assert result.returncode == 1
    assert "plugin fails-late" in result.stderr
    assert "liblidar.so.7 cannot be opened" in result.stderr
    assert "Traceback" not in result.stderr
    info = run_script("plugins", "info", "late", "--json", path=broken)
    assert "liblidar.so.7" in json.loads(info.stdout)["plugins"][0]["faults"][0]


def test_broken_plugins_do_not_disturb_completion(broken: Path) -> None:
    offered = complete("cosmos ", broken)
    assert {"predict2", "early", "late", "drift", "plugins"} <= set(offered)


def tiny_video(picture: Path, prompt: str, *options: object) -> CommandResult:
    size = ["--model", "tiny", "--num-frames", 5, "--num-steps", 1, "--device", "cpu"]
    return run_cosmos(
        "predict2", "video2world", *size, "--input-path", picture, "--prompt", prompt, "--save-path", "a.mp4", *options
    )


def test_a_third_party_guardrail_stops_another_family(
    drift: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(drift)
    blocked = tiny_video(picture, "Then an earthquake begins.", "--json")
    assert blocked.exit_code == 3
    assert blocked.json["problems"][0]["where"] == "guardrail word-list"
    assert not Path("a.mp4").exists()


def test_a_third_party_prompt_refiner_rewrites_the_prompt_of_another_family(
    drift: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(drift)
    assert tiny_video(picture, "The bus drives off.").exit_code == 0
    sidecar = json.loads(Path("a.json").read_text())
    assert sidecar["prompt_used"] == "The bus drives off, by day."
    assert sidecar["request"]["prompt"] == "The bus drives off."
    assert sidecar["checked_by"] == ["blocklist", "word-list"]


def write_levels(**levels: float) -> Path:
    """A checkpoint folder with the weights of cosmos-light."""
    file = Path("weights/acme/cosmos-light/levels.safetensors")
    file.parent.mkdir(parents=True, exist_ok=True)
    defaults = {"glare": 255.0, "lamps": 0.0, "exposure": 0.0}
    save_file({name: torch.tensor(level) for name, level in (defaults | levels).items()}, file)
    return Path("weights")


@pytest.fixture
def lit(light: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """cosmos-light is installed for this process."""
    monkeypatch.syspath_prepend(light)
    yield
    registry.current.cache_clear()


def lit_video(picture: Path, *options: object) -> CommandResult:
    size = ["--model", "tiny", "--num-frames", 5, "--num-steps", 1, "--device", "cpu"]
    given = ["--input-path", picture, "--prompt", "A street.", "--save-path", "a.mp4"]
    return run_cosmos("predict2", "video2world", *size, *given, *options, "--json")


@pytest.mark.usefixtures("lit")
def test_a_third_party_guardrail_and_refiner_load_weights_from_the_checkpoint_folder(picture: Path) -> None:
    blocked = lit_video(picture, "--checkpoint-dir", write_levels(glare=1))
    assert blocked.exit_code == 3, blocked.stderr
    assert blocked.json["problems"][0]["where"] == "guardrail glare"
    assert not Path("a.mp4").exists()

    made = lit_video(picture, "--checkpoint-dir", write_levels(lamps=255))
    assert made.exit_code == 0, made.stderr
    sidecar = json.loads(Path("a.json").read_text())
    assert sidecar["checked_by"] == ["blocklist", "glare"]
    assert sidecar["prompt_used"] == "A street. Lamps lit, says Video2WorldSettings on cpu."


@pytest.mark.usefixtures("lit")
def test_a_third_party_critic_loads_weights_from_the_checkpoint_folder() -> None:
    encode(Path("clip.mp4"), np.full((5, 48, 64, 3), 120, np.uint8))
    judge = ("predict2", "critic", "clip.mp4", "--critic", "exposure", "--device", "cpu", "--json")
    judged = run_cosmos(*judge, "--checkpoint-dir", write_levels(exposure=110))
    assert judged.exit_code == 0, judged.stderr
    [video] = judged.json["videos"]
    assert video["score"] == pytest.approx(90, abs=3)


@pytest.mark.usefixtures("lit")
def test_missing_weights_of_a_third_party_extension_stop_every_family_before_it_computes(picture: Path) -> None:
    encode(Path("clip.mp4"), moving_gradient(5, 48, 64))
    Path("spec.json").write_text(json.dumps({"edge": {}, "input_video_path": "clip.mp4"}))
    transfer = ("transfer", "run", "--model", "tiny", "--controlnet-specs", "spec.json", "--json")
    critic = ("predict2", "critic", "clip.mp4", "--critic", "exposure", "--json")
    runs = [
        lit_video(picture, "--checkpoint-dir", "nowhere"),
        *(run_cosmos(*line, "--checkpoint-dir", "nowhere") for line in (transfer, critic)),
    ]
    assert [run.exit_code for run in runs] == [4, 4, 4]
    for run in runs:
        [problem] = run.json["problems"]
        assert problem["where"] == "nowhere/acme/cosmos-light/levels.safetensors"
