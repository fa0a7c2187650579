"""A control modality of another package: its own name, its own control video, its own weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli import registry
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.media.video import read_video
from cosmos_cli.testing import CommandResult, run_cosmos
from cosmos_plugins.transfer1.checkpoints import control_file, distilled_file
from tests.third_party import run_script, write_distribution

PLUGIN = """
from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.hookspecs import Package, hookimpl

MODELS = (Repository("acme/grey", "main", (PublishedFile("level.txt", 3),), "MIT"),)

@hookimpl
def cosmos_register_controls(register):
    fields = dict(FIELDS)
    fields.setdefault("compute", __name__ + ":grey")
    register(name="grey", help="Brightness alone.", checkpoint="grey/grey_control.pt", **fields)

def grey(frames_FHWC, job):
    return frames_FHWC.mean(axis=-1, keepdims=True).astype("uint8").repeat(3, axis=-1)

def level(frames_FHWC, job):
    frames_FHWC[:] = int((job.checkpoint_dir / "acme/grey/level.txt").read_text())
    return frames_FHWC
"""


_numbers = count()


@pytest.fixture(autouse=True)
def forgetting() -> Iterator[None]:
    """What a test installs in this process is gone after it."""
    yield
    registry.current.cache_clear()


class Grey:
    """Command lines under the modality grey, of a package that registers it with further fields.

    Args:
        fields: `MODULE` in them stands for the module of the package.
    """

    def __init__(self, folder: Path, clip: Path, fields: str = "") -> None:
        self.packages, self._clip = folder / "packages", clip
        module = f"grey_control_{next(_numbers)}"  # a name of its own: modules of earlier tests stay imported
        plugin = PLUGIN.replace("FIELDS", fields.replace("MODULE", module))
        write_distribution(self.packages, "cosmos-grey", {module: plugin}, {"grey": module})

    def run(
        self, *options: object, command: str = "run", branch: str | None = "edge", **others: object
    ) -> CommandResult:
        """`cosmos transfer`, with the weights of one of our branches; `others` are further controls."""
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(self.packages)
            return run_cosmos(*self.line(*options, command=command, branch=branch, **others))

    def line(
        self, *options: object, command: str = "run", branch: str | None = "edge", **others: object
    ) -> tuple[object, ...]:
        """The words after `cosmos`; writes the specification that they name."""
        grey: dict[str, object] = {"control_weight": 1.0}
        if branch is not None:
            grey["ckpt_path"] = str(TINY_ROOT / control_file(branch))
        Path("spec.json").write_text(json.dumps({"grey": grey, **others, "input_video_path": str(self._clip)}))
        return ("transfer", command, "--controlnet-specs", "spec.json", "--num-steps", 1, "--json", *options)


TINY = ("--model", "tiny")


def problems(result: CommandResult) -> list[dict[str, str]]:
    found: list[dict[str, str]] = result.json["problems"]
    return found


def test_a_modality_of_another_package_controls_a_video(clip: Path, tmp_path: Path) -> None:
    grey = Grey(tmp_path, clip)
    result = run_script(*grey.line(*TINY), path=grey.packages)
    assert result.returncode == 0, result.stderr
    frames = read_video(Path(json.loads(result.stdout)["controls"]["grey"])).frames_FHWC.astype(int)
    assert np.abs(frames[..., 0] - frames[..., 1]).max() < 8  # grey, but for the video codec

    without = run_script("transfer", "run", *TINY, "--controlnet-specs", "spec.json", "--json")
    assert without.returncode == 2
    assert "Unknown modality 'grey'" in without.stderr


def test_a_modality_that_upscales_goes_alone_and_makes_the_video_three_times_as_large(
    clip: Path, tmp_path: Path
) -> None:
    grey = Grey(tmp_path, clip, "upscales=True, save_computed=False")
    beside_another = grey.run(*TINY, edge={})
    assert beside_another.exit_code == 2
    [problem] = problems(beside_another)
    assert (problem["where"], problem["what"]) == ("grey", "goes alone.")

    made = grey.run(*TINY, "--guidance", 0)
    assert made.exit_code == 0, made.stderr
    document = made.json
    assert (document["height"], document["width"]) == (3 * 80, 3 * 112)
    assert document["controls"] == {}
    assert not list(Path("outputs").glob("*grey*"))


def test_a_modality_for_driving_scenes_goes_with_their_base_model(clip: Path, tmp_path: Path) -> None:
    grey = Grey(tmp_path, clip, "driving=True")
    usual = grey.run(*TINY)
    assert usual.exit_code == 2
    assert problems(usual)[0]["what"] == "grey need the base model for driving scenes."
    driving = grey.run(*TINY, "--is-av-sample", branch="hdmap")
    assert driving.exit_code == 0, driving.stderr


def test_a_modality_with_a_distilled_model_can_be_asked_for_it(clip: Path, tmp_path: Path) -> None:
    asked = (*TINY, "--use-distilled")
    [problem] = problems(Grey(tmp_path / "without", clip).run(*asked))
    assert problem["what"] == "is a model of edge alone, but the controls are grey."
    both = str(TINY_ROOT / distilled_file("edge"))
    result = Grey(tmp_path / "with", clip, f"distilled={both!r}").run(*asked, branch=None)
    assert result.exit_code == 0, result.stderr


def test_a_modality_that_needs_a_package_says_so_while_its_video_is_not_given(clip: Path, tmp_path: Path) -> None:
    needs = "needs=Package('no_such_package', does='counts greys', install='greys[all]')"
    result = Grey(tmp_path, clip, needs).run(*TINY)
    assert result.exit_code == 2
    [problem] = problems(result)
    assert problem["what"] == "has no control video, and no_such_package, which counts greys, is not installed."
    assert 'pip install "greys[all]"' in problem["fix"]


FAMILY = """
from cosmos_cli.checkpoints.catalogue import PublishedFile, Repository
from cosmos_cli.hookspecs import hookimpl

CATALOGUE = {"greys": (Repository("grey", "main", (PublishedFile("grey_control.pt", 3_000_000_000),), "MIT"),)}

@hookimpl
def cosmos_register_families(register):
    register(name="greys", help="Grey.", commands=__name__ + ":app", checkpoints=__name__ + ":CATALOGUE")
"""


def test_weights_that_no_catalogue_knows_are_said_to_be_unpublished_and_those_of_a_plugins_own_as_it_says(
    clip: Path, tmp_path: Path
) -> None:
    grey = Grey(tmp_path, clip)
    missing = grey.run(branch=None)
    assert missing.exit_code == 4
    first, *others = problems(missing)
    assert first["where"] == "grey" and "not published" in first["what"]
    assert first["fix"] == "Place them at checkpoints/grey/grey_control.pt, or name them as ckpt_path."
    assert not any("grey" in f"{problem['what']} {problem['fix']}" for problem in others)
    planned = {file["path"]: file for file in grey.run("--plan", branch=None).json["files"]["needed"]}
    assert planned["checkpoints/grey/grey_control.pt"]["licence"] == "not published"
    write_distribution(grey.packages, "cosmos-greys", {"greys_family": FAMILY}, {"greys": "greys_family"})
    told = " ".join(problem["what"] for problem in problems(grey.run(branch=None)))
    assert "grey_control.pt missing (3.0 GB, MIT)" in told and "not published" not in told


def test_models_that_compute_a_modality_come_from_the_checkpoint_folder(clip: Path, tmp_path: Path) -> None:
    grey = Grey(tmp_path, clip, "models='MODULE:MODELS', compute='MODULE:level'")
    missing = grey.run("--checkpoint-dir", "weights", command="annotate")
    assert missing.exit_code == 4
    problem = problems(missing)[0]
    assert problem["where"] == "weights/acme/grey"
    assert problem["fix"] == "cosmos download acme/grey/level.txt --checkpoint-dir weights"
    level = Path("weights/acme/grey/level.txt")
    level.parent.mkdir(parents=True)
    level.write_text("200")
    made = grey.run("--checkpoint-dir", "weights", command="annotate")
    assert made.exit_code == 0, made.stderr
    frames = read_video(Path(made.json["files"]["control:grey"])).frames_FHWC
    assert abs(frames.mean() - 200) < 5
