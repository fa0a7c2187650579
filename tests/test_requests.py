"""A request model and its four faces: options, manifest rows, JSON Schema, sidecar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field, model_validator

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.requests import (
    Flag,
    StrictModel,
    json_schema,
    read_request_file,
    request_document,
    request_options,
    validate,
)

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
