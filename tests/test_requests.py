"""A request model and its four faces: options, manifest rows, JSON Schema, sidecar."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field, model_validator

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import write_json
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import Flag, StrictModel, json_schema, read_request_file, request_document, validate

Call = Callable[..., tuple[Any, ...]]


class Settings(StrictModel):
    """What is loaded once."""

    model_size: Annotated[Literal["2B", "tiny"], Flag(aliases=("--model",), env="COSMOS_TEST_MODEL")] = "2B"
    """Model."""
    root: Annotated[Path, Flag(default="the current folder")] = Path()
    """Folder of weights."""


class Request(StrictModel):
    """One video."""

    prompt: str
    """What shall happen."""
    num_steps: Annotated[int, Field(ge=1, le=100), Flag(env="COSMOS_TEST_STEPS")] = 35
    """Denoising steps."""
    guidance: float = Field(default=7.0, ge=0, allow_inf_nan=False)
    """Strength."""
    fps: Literal[10, 16] = 16
    """Frames per second."""
    input_path: Path | None = None
    """Picture."""
    overwrite: bool = False
    """Replace."""
    smooth: bool = True
    """Smooth edges."""


class Window(StrictModel):
    """A rule over two fields."""

    start: int = 0
    end: int = 10

    @model_validator(mode="after")
    def ordered(self) -> Window:
        if self.end < self.start:
            raise ValueError("--end lies before --start.")
        return self


def command(calls: list[tuple[Any, ...]], *models: type[StrictModel]) -> typer.Typer:
    """A command with the fields of the models, that records what it is called with."""
    app = typer.Typer(rich_markup_mode=None)

    @app.command()
    @request_options(*models)
    def make(*instances: StrictModel) -> None:
        """Make."""
        calls.append(instances)

    return app


@pytest.fixture
def call() -> Call:
    """What a command with the fields of both models is called with; nothing if it is not."""

    def run(*arguments: object) -> tuple[Any, ...]:
        calls: list[tuple[Any, ...]] = []
        command(calls, Request, Settings)([str(argument) for argument in arguments], standalone_mode=False)
        return calls[0] if calls else ()

    return run


def problems_of(error: pytest.ExceptionInfo[InputError]) -> list[tuple[str | None, str]]:
    return [(problem.where, problem.what) for problem in error.value.problems]


def test_a_command_gets_one_validated_instance_per_model(call: Call) -> None:
    request, settings = call("--prompt", "A bus.", "--num-steps", 7, "--fps", 10, "--model", "tiny", "--overwrite")
    assert request == Request(prompt="A bus.", num_steps=7, fps=10, overwrite=True)
    assert settings == Settings(model_size="tiny")


def test_an_option_beats_the_environment_which_beats_the_file_which_beats_the_default(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("r.json").write_text('{"prompt": "A.", "num_steps": 2, "guidance": 2.5, "model_size": "tiny"}')
    assert call("--prompt", "A.")[0].num_steps == 35
    request, settings = call("--from-file", "r.json")
    assert (request.num_steps, request.guidance, settings.model_size) == (2, 2.5, "tiny")
    monkeypatch.setenv("COSMOS_TEST_STEPS", "3")
    assert call("--from-file", "r.json")[0].num_steps == 3
    assert call("--from-file", "r.json", "--num-steps", 4)[0].num_steps == 4


def test_all_wrong_fields_of_all_models_are_reported_at_once(call: Call) -> None:
    with pytest.raises(InputError) as raised:
        call("--num-steps", "many", "--guidance", "-1", "--fps", 12, "--model", "3B")
    assert problems_of(raised) == [
        ("--prompt", "is required."),
        ("--num-steps", "must be a whole number, but is 'many'."),
        ("--guidance", "must be >= 0.0, but is '-1'."),
        ("--fps", "'12' is not one of 10 or 16."),
        ("--model-size", "'3B' is not one of '2B' or 'tiny'."),
    ]


@pytest.mark.parametrize(
    "option, value, what",
    [
        ("--num-steps", "0", "must be >= 1, but is '0'."),
        ("--num-steps", "101", "must be <= 100, but is '101'."),
        ("--num-steps", "2.5", "must be a whole number, but is '2.5'."),
        ("--guidance", "nan", "must be a finite number, but is 'nan'."),
        ("--guidance", "x" * 99, f"must be a number, but is '{'x' * 56}...."),
    ],
)
def test_a_wrong_value_is_answered_with_what_would_be_right(call: Call, option: str, value: str, what: str) -> None:
    with pytest.raises(InputError) as raised:
        call("--prompt", "A.", option, value)
    assert problems_of(raised) == [(option, what)]


@pytest.mark.parametrize(
    ("given", "is_on"),
    [([], True), (["--smooth", "False"], False), (["--smooth", "true"], True), (["--no-smooth"], False)],
)
def test_a_switch_that_is_on_can_be_turned_off(call: Call, given: list[str], is_on: bool) -> None:
    request, _ = call("--prompt", "drifts", *given)
    assert request.smooth is is_on


def test_a_switch_is_not_turned_off_and_given_a_value(call: Call) -> None:
    with pytest.raises(InputError, match="does not go with --smooth"):
        call("--prompt", "drifts", "--smooth", "true", "--no-smooth")


def test_a_rule_over_several_fields_speaks_for_itself() -> None:
    with pytest.raises(InputError, match="--end lies before --start"):
        validate([Window], {"start": 5, "end": 1})


def test_unknown_fields_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(InputError) as raised:
        validate([Request, Settings], {"prompt": "A.", "num-step": 1, "zzz": 2})
    near, far = raised.value.problems
    assert (near.what, near.fix) == ("Unknown field 'num-step'.", "Did you mean 'num_steps'?")
    assert far.fix is not None
    assert far.fix.startswith("Known fields: fps, guidance, ")


def test_models_of_one_command_may_not_share_a_field() -> None:
    with pytest.raises(AssertionError, match="prompt"):
        request_options(Request, Request)


def test_help_shows_descriptions_defaults_choices_and_variables(capsys: pytest.CaptureFixture[str]) -> None:
    command([], Request, Settings)(["--help"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "--prompt TEXT What shall happen. [required]" in text
    assert "--num-steps INTEGER Denoising steps. [default: 35] [env var: COSMOS_TEST_STEPS]" in text
    assert "--model-size, --model 2B|tiny Model. [default: 2B]" in text
    assert "--root PATH Folder of weights. [default: the current folder]" in text
    assert "--fps 10|16 Frames per second." in text


def test_the_schema_is_what_an_editor_needs(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--schema") == ()  # no field is required for it, and the command does not run
    schema = json.loads(capsys.readouterr().out)
    assert schema == json_schema(Request, Settings)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["prompt"], False)
    assert schema["properties"].keys() == {*Request.model_fields, *Settings.model_fields}
    steps = schema["properties"]["num_steps"]
    assert steps["description"] == "Denoising steps."
    assert (steps["type"], steps["minimum"], steps["maximum"], steps["default"]) == ("integer", 1, 100, 35)
    assert schema["properties"]["fps"]["enum"] == [10, 16]
    assert "$ref" not in json.dumps(schema)


def test_a_sidecar_makes_the_same_request_again(call: Call) -> None:
    request, settings = call("--prompt", "A.", "--input-path", "in.png", "--fps", 10, "--root", "weights")
    Path("out.json").write_text(json.dumps({"request": request_document(settings, request), "seconds": {"total": 1}}))
    again, settings_again = call("--from-file", "out.json")
    # paths are absolute, so the sidecar means the same from any folder
    assert again == request.model_copy(update={"input_path": Path("in.png").absolute()})
    assert settings_again.root == Path("weights").absolute()


def test_unknown_keys_of_a_file_are_all_reported_with_its_name() -> None:
    Path("r.json").write_text('{"prompt": "A.", "num_step": 2, "sigma": 1}')
    with pytest.raises(InputError) as raised:
        read_request_file("r.json", [Request])
    assert problems_of(raised) == [("r.json", "Unknown field 'num_step'."), ("r.json", "Unknown field 'sigma'.")]


@pytest.mark.parametrize(
    "content, message",
    [("{", "is not JSON"), ("[1]", "must hold one JSON object"), (None, "cannot be read: No such file")],
)
def test_a_request_file_that_is_none_is_refused(content: str | None, message: str) -> None:
    if content is not None:
        Path("r.json").write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        read_request_file("r.json", [Request])
    assert "r.json" in (raised.value.problems[0].where or "")


def test_json_of_a_command_is_decided_by_its_flag(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call("--prompt", "A.", "--json")
    output.result("text", {"status": "ok"})
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    output.configure(speaking=False)


HOSTILE: dict[str, tuple[object, str]] = {
    "num_steps": (True, "must be a number, but is True."),
    "fps": (False, "must be a number, but is False."),
    "guidance": (float("inf"), "must be a finite number, but is inf."),
    "root": ("a\0b", "'a\\x00b' holds a NUL, which no file name can."),
    "input_path": ("x" * 300, f"'{'x' * 57}...' has a name of 300 bytes; names have at most 255."),
    "prompt": (os.fsdecode(b"caf\xe9"), "must be text, but '\\udce9' in it is no character."),
    "overwrite": (2.5, "must be true or false, but is 2.5."),
    "model_size": ("x" * 100_000, f"'{'x' * 56}... is not one of '2B' or 'tiny'."),
}


def test_hostile_values_are_all_answered_as_wrong_fields() -> None:
    with pytest.raises(InputError) as raised:
        validate([Request, Settings], {name: value for name, (value, _) in HOSTILE.items()})
    assert dict(problems_of(raised)) == {name: what for name, (_, what) in HOSTILE.items()}


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"num_steps": "9" * 5000}, "must be a smaller number"),
        ({"num_steps": 10**90}, "must be <= 100"),
        ({"num_steps": 1e308}, "must be a smaller number"),
        ({"num_steps": [1]}, "must be a whole number"),
        ({"guidance": "9" * 5000}, "must be a finite number"),
        ({"guidance": {}}, "must be a number"),
        ({"prompt": ["A."]}, "must be text"),
        ({"prompt": "x" * 10_001}, "has 10,001 characters"),
        ({"root": 5}, "must be a path"),
        ({"x" * 100_000: 1}, f"Unknown field '{'x' * 57}...'"),
    ],
)
def test_a_value_of_another_kind_is_a_short_problem(values: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError) as raised:
        validate([Request, Settings], {"prompt": "A."} | values)
    [problem] = raised.value.problems
    assert problem.what.startswith(what)
    assert len(str(problem)) < 300


class Files(StrictModel):
    """Paths in every form."""

    several: tuple[Path, ...] = ()
    """Several."""
    strength: float | Path = 0.5
    """Number or map."""
    inner: Mapping[str, Settings] = Field(default_factory=dict)
    """Further models."""


def test_a_tilde_is_the_home_folder_in_options_variables_files_and_python(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    home = Path("/home/ada")
    assert call("--prompt", "A.", "--input-path", "~/in.png")[0].input_path == home / "in.png"
    Path("r.json").write_text('{"prompt": "~/is no path", "input_path": "~/in.png", "root": "~"}')
    request, settings = call("--from-file", "r.json")
    assert (request.prompt, request.input_path, settings.root) == ("~/is no path", home / "in.png", home)
    assert Request(prompt="A.", input_path=Path("~/in.png")).input_path == home / "in.png"
    assert request_document(request)["input_path"] == "/home/ada/in.png"
    files = Files.model_validate({"several": ["~/a", "b"], "strength": "~/w.pt", "inner": {"x": {"root": "~/r"}}})
    assert (files.several, files.strength) == ((home / "a", Path("b")), home / "w.pt")
    assert files.inner["x"].root == home / "r"


def test_the_file_of_a_request_may_lie_in_the_home_folder(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    Path("r.json").write_text('{"prompt": "A."}')
    assert call("--from-file", "~/r.json")[0].prompt == "A."
    with pytest.raises(InputError, match=r"--from-file: .* holds a NUL"):
        call("--from-file", "a\0b")


def test_paths_at_any_depth_of_a_sidecar_are_absolute() -> None:
    files = Files(several=(Path("a"),), strength=Path("w.pt"), inner={"x": Settings(root=Path("r"))})
    here = Path.cwd()
    assert request_document(files) == {
        "several": [f"{here}/a"],
        "strength": f"{here}/w.pt",
        "inner": {"x": {"model_size": "2B", "root": f"{here}/r"}},
    }


def test_a_name_that_is_not_utf_8_survives_the_sidecar_and_no_text_does(call: Call) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    request, settings = call("--prompt", "A.", "--input-path", name)
    write_json(Path("out.json"), {"request": request_document(settings, request)})
    assert call("--from-file", "out.json")[0].input_path == Path(name).absolute()
    Path("r.json").write_text('{"prompt": "caf\\udce9"}')
    with pytest.raises(InputError, match="--prompt: must be text"):
        call("--from-file", "r.json")


def test_a_request_file_may_be_a_pipe_and_begin_with_a_mark(call: Call) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=('\ufeff{"prompt": "A."}',))
    writer.start()
    assert call("--from-file", "pipe")[0].prompt == "A."
    writer.join()
