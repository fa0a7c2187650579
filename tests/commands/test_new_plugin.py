"""`cosmos plugins new`: what it writes installs, passes its own tests, and is nobody's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_cli.commands import new_plugin
from cosmos_cli.files.makers import new_name
from cosmos_cli.testing import run_cosmos
from tests.third_party import pip_install, run_script


@pytest.mark.slow
def test_a_new_package_installs_and_passes_its_own_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = run_cosmos("plugins", "new", "night-rain", "--json")
    assert (written.exit_code, written.json["folder"]) == (0, "cosmos-night-rain")
    package = tmp_path / "cosmos-night-rain"
    texts = [path.read_text() for path in package.rglob("*.*") if path.is_file()]
    assert len(texts) == 10
    assert not any(new_plugin.TEMPLATE in text.lower() for text in texts)

    # the build leaves traces in the sources
    pip_install(tmp_path / "packages", Path(shutil.copytree(package, tmp_path / "build" / package.name)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "packages"), *sys.path])}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(package), str(package)],
        env=environment,
        cwd=package,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert tested.returncode == 0, tested.stdout[-3000:]
    assert " passed" in tested.stdout

    listed = run_script("plugins", "list", path=tmp_path / "packages")
    assert "night-rain" in listed.stdout
    recipes = run_script("night-rain", "recipes", path=tmp_path / "packages")
    assert "night_rain_worlds" in recipes.stdout


@pytest.mark.parametrize("name", ["Night", "night_rain", "night--rain", "2night", "class", "../night", "a" * 41])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    failed = run_cosmos("plugins", "new", name)
    assert (failed.exit_code, "night-rain" in failed.stderr, list(Path.cwd().iterdir())) == (2, True, [])


@pytest.mark.parametrize("name", ["predict2", "transfer", "plugins", "cli"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    failed = run_cosmos("plugins", "new", name)
    assert (failed.exit_code, "taken" in failed.stderr, list(Path.cwd().iterdir())) == (2, True, [])


def test_what_a_killed_process_left_is_cleared_away() -> None:
    line = f"from cosmos_cli.files.makers import new_name; print(new_name({new_plugin._UNFINISHED!r}, ''))"
    gone = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.strip()
    at_work = new_name(new_plugin._UNFINISHED, "")
    for name in (gone, at_work):
        Path(name, "package").mkdir(parents=True)
    assert run_cosmos("plugins", "new", "night").exit_code == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == sorted([at_work, "cosmos-night"])


def test_nothing_is_replaced_and_nothing_half_written_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own").mkdir()
    Path("own/file").write_text("mine")
    failed = run_cosmos("plugins", "new", "night", "--folder", "own")
    assert (failed.exit_code, Path("own/file").read_text()) == (2, "mine")

    def out_of_breath(text: str, name: str) -> str:
        raise KeyboardInterrupt if "batch" in text else OSError(5, "Input/output error")

    monkeypatch.setattr(new_plugin, "_renamed", out_of_breath)
    assert run_cosmos("plugins", "new", "night", "--folder", "new").exit_code == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["own"]
