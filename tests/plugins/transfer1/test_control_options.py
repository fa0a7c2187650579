"""Controls without a specification: options of their own, merged with what files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import registry
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.requests import ControlSpec
from tests.third_party import run_script, write_distribution

Cosmos = Callable[..., CommandResult]
Requests = Callable[..., dict[str, ControlSpec]]


@pytest.fixture
def controls_of(cosmos: Cosmos, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The controls of the request that a command line of `cosmos transfer run` makes."""

    def run(*line: object) -> dict[str, ControlSpec]:
        made: list[Any] = []
        monkeypatch.setattr(
            "cosmos_cli.generation.command.run", lambda inputs, settings, request, _: made.append(request)
        )
        result = cosmos("transfer", "run", "--model", "tiny", "--input-video-path", clip, *line)
        assert result.exit_code == 0, result.stderr
        return dict(made[0].controls)

    return run


def test_a_control_is_named_by_its_option_with_or_without_a_number(controls_of: Requests) -> None:
    assert controls_of("--edge", 0.5, "--depth", "--seg_objects", "cup . arm", "--vis-weight-map", "map.pt") == {
        "edge": ControlSpec(control_weight=0.5),
        "depth": ControlSpec(control_weight=1.0),
        "seg": ControlSpec(control_weight=1.0, input_control_prompt="cup . arm"),
        "vis": ControlSpec(control_weight=Path("map.pt")),
    }


def test_an_option_changes_its_own_key_of_a_control_in_a_file(controls_of: Requests) -> None:
    said = {"control_weight": 0.2, "input_control": "edges.mp4"}
    Path("spec.json").write_text(json.dumps({"edge": said, "vis": {}}))
    Path("edges.mp4").touch()
    Path("request.json").write_text(json.dumps({"controls": {"edge": said, "vis": {}}}))
    for file in (("--controlnet-specs", "spec.json"), ("--from-file", "request.json")):
        assert controls_of(*file, "--edge", 0.7, "--depth-prompt", "arms", "--vis-video", "edges.mp4") == {
            "edge": ControlSpec.model_validate(said | {"control_weight": 0.7}),
            "vis": ControlSpec.model_validate({"input_control": "edges.mp4"}),
            "depth": ControlSpec(control_weight=1.0, control_weight_prompt="arms"),
        }


def test_a_specification_without_controls_may_say_the_rest(controls_of: Requests) -> None:
    Path("spec.json").write_text(json.dumps({"num_steps": 3}))
    assert controls_of("--controlnet-specs", "spec.json", "--edge") == {"edge": ControlSpec(control_weight=1.0)}


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        (["--edge", "1.5"], "--edge", "must be in [0, 1]"),
        (["--edge", "-0.5"], "--edge", "must be in [0, 1]"),
        (["--seg-prompt", " "], "--seg-prompt", "must not be empty"),
        (["--edge", "0.5", "--edge-weight-map", "map.pt"], "--edge-weight-map", "does not go with --edge"),
        ([], "--controlnet-specs", "no control is given"),
        (["--edge", "much"], "cosmos transfer run", "much"),
    ],
)
def test_a_wrong_control_is_told_by_the_name_of_its_option(
    cosmos: Cosmos, clip: Path, line: list[str], where: str, what: str
) -> None:
    result = cosmos("transfer", "run", "--model", "tiny", "--input-video-path", clip, *line, "--num-steps", 0, "--json")
    assert result.exit_code == 2
    problems = {problem["where"]: problem["what"] for problem in result.json["problems"]}
    assert what in problems.pop(where)
    assert set(problems) <= {"--num-steps"}  # each thing is told once


def test_batches_have_them_too_and_their_file_is_no_number(cosmos: Cosmos, clip: Path) -> None:
    Path("clips.jsonl").write_text(json.dumps({"visual_input": str(clip)}) + "\n")
    result = cosmos("transfer", "batch", "--model", "tiny", "--plan", "--json", "--edge", "clips.jsonl")
    assert result.exit_code == 0, result.stderr
    assert result.json["request"]["num_rows"] == 1


def test_the_control_of_another_package_has_its_options(clip: Path, tmp_path: Path) -> None:
    plugin = """
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_controls(register):
    register(name="grey", help="Brightness alone.", checkpoint="grey/grey.pt", compute=__name__ + ":grey")
    register(name="seed", help="A name that is taken.", checkpoint="grey/seed.pt")
"""
    write_distribution(tmp_path / "packages", "cosmos-grey", {"grey_of_options": plugin}, {"grey": "grey_of_options"})
    shown = run_script("transfer", "run", "--help", path=tmp_path / "packages")
    assert shown.stderr == ""
    assert "--grey [NUMBER]" in shown.stdout
    line = ("transfer", "run", "--model", "tiny", "--input-video-path", clip, "--grey", "0.3", "--plan", "--json")
    result = run_script(*line, path=tmp_path / "packages")
    assert json.loads(result.stdout)["request"]["controls"] == ["grey"]
    assert "--grey" not in run_script("transfer", "run", "--help-all").stdout
    assert "grey" not in registry.current().controls
