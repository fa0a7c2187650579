"""The command line: exit codes, panels, `--json`, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli import __version__
from cosmos_cli.testing import CommandResult
from tests.third_party import COSMOS, complete, run_script, write_distribution

Cosmos = Callable[..., CommandResult]

ENDINGS = '''
"""A family whose command ends in every way a command can end."""

import typer
from cosmos_cli import output
from cosmos_cli.flags import JsonFlag
from cosmos_cli.errors import CheckpointError, CosmosError, GuardrailBlocked, InputError
from cosmos_cli.hookspecs import hookimpl

ERRORS = {
    "failed": CosmosError("Out of memory.", where="stage decode", fix="Use a smaller size."),
    "input": InputError("is missing.", where="--input-path"),
    "blocked": GuardrailBlocked("Refused."),
    "checkpoint": CheckpointError("Damaged."),
    "exit": typer.Exit(7),
    "interrupt": KeyboardInterrupt(),
    "abort": typer.Abort(),
    "defect": ZeroDivisionError("division by zero"),
    "closed": PermissionError(13, "Permission denied", "/closed/videos"),
}

@hookimpl
def cosmos_register_families(register):
    register(name="endings", help="Ends.", commands="main_endings:app")

app = typer.Typer()

@app.callback()
def endings() -> None:
    """Ends."""

@app.command()
def end_with(how: str, num_times: int = 1, json: JsonFlag = False) -> int:
    """End."""
    output.notice("about to end")
    if how in ERRORS:
        raise ERRORS[how]
    output.result(how, {"status": how, "num_times": num_times})
    return 5
'''


@pytest.fixture
def endings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with a family whose command ends as it is told."""
    write_distribution(tmp_path / "packages", "endings", {"main_endings": ENDINGS}, {"endings": "main_endings"})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return tmp_path / "packages"


@pytest.mark.parametrize(
    "how, exit_code",
    [
        ("well", 0),
        ("failed", 1),
        ("defect", 1),
        ("input", 2),
        ("blocked", 3),
        ("checkpoint", 4),
        ("exit", 7),
        ("interrupt", 130),
        ("abort", 130),
    ],
)
@pytest.mark.usefixtures("endings")
def test_exit_codes_say_how_it_ended(cosmos: Cosmos, how: str, exit_code: int) -> None:
    result = cosmos("endings", "end-with", how)
    assert result.exit_code == exit_code
    assert "Traceback" not in result.stderr
    assert (result.stdout == "") == (how != "well")


@pytest.mark.usefixtures("endings")
def test_a_path_that_is_closed_is_no_defect(cosmos: Cosmos) -> None:
    [problem] = cosmos("endings", "end-with", "closed", "--json").json["problems"]
    assert (problem["where"], problem["what"]) == ("/closed/videos", "is closed to you: Permission denied.")


@pytest.mark.usefixtures("endings")
def test_a_panel_says_what_where_and_what_to_do(cosmos: Cosmos) -> None:
    panel = cosmos("endings", "end-with", "failed").stderr.splitlines()
    assert panel[0] == "note: about to end"
    assert panel[1].startswith("╭─ Failed ")
    assert [line.strip("│ ") for line in panel[2:-1]] == ["stage decode", "Out of memory.", "Use a smaller size."]


@pytest.mark.usefixtures("endings")
def test_json_is_the_only_thing_on_stdout_however_it_ends(cosmos: Cosmos) -> None:
    well = cosmos("endings", "end-with", "well", "--json")
    assert well.json == {"status": "well", "num_times": 1, "notices": ["about to end"]}
    failed = cosmos("endings", "end-with", "failed", "--json")
    assert failed.json == {
        "status": "failed",
        "exit_code": 1,
        "error": "Failed",
        "problems": [{"what": "Out of memory.", "where": "stage decode", "fix": "Use a smaller size."}],
        "notices": ["about to end"],
    }
    assert "Out of memory." in failed.stderr  # people read along


@pytest.mark.usefixtures("endings")
def test_a_defect_is_told_from_a_mistake_and_debugging_shows_where(
    cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "COSMOS_DEBUG=1" in cosmos("endings", "end-with", "defect").stderr
    monkeypatch.setenv("COSMOS_DEBUG", "1")
    result = cosmos("endings", "end-with", "defect", "--json")
    assert "Traceback" in result.stderr
    assert "main_endings.py" in result.stderr
    assert result.json["problems"][0]["what"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("option", ["--num-times", "--num_times"])
@pytest.mark.parametrize("command", ["end-with", "end_with"])
@pytest.mark.usefixtures("endings")
def test_both_spellings_of_commands_and_options_work(cosmos: Cosmos, command: str, option: str) -> None:
    assert cosmos("endings", command, "well", option, 3, "--json").json["num_times"] == 3


@pytest.mark.parametrize(
    "arguments, where, what",
    [
        (["nothing"], "cosmos", "No such command 'nothing'."),
        (["plugins", "nothing"], "cosmos plugins", "No such command 'nothing'."),
        (["--nothing"], "cosmos", "No such option: --nothing"),
        (["plugins", "info"], "cosmos plugins info", "Missing argument"),
        (["plugins", "list", "--nothing"], "cosmos plugins list", "No such option: --nothing"),
    ],
)
def test_wrong_usage_is_2_and_points_to_the_help(cosmos: Cosmos, arguments: list[str], where: str, what: str) -> None:
    result = cosmos(*arguments, "--json")
    assert result.exit_code == result.json["exit_code"] == 2
    [problem] = result.json["problems"]
    assert (problem["where"], problem["fix"]) == (where, f"See `{where} --help`.")
    assert what in problem["what"]


def test_the_bare_command_and_the_bare_family_show_their_help(cosmos: Cosmos) -> None:
    root = cosmos()
    assert (root.exit_code, root.stdout) == (0, cosmos("--help").stdout)
    assert cosmos("plugins").stdout.startswith("Usage: cosmos plugins ")
    assert "List every plugin" in cosmos("plugins").stdout


def test_version(cosmos: Cosmos) -> None:
    result = cosmos("--version")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"cosmos {__version__}\n", "")


def test_the_script_and_the_module_are_the_same_command() -> None:
    script = run_script("--version")
    module = subprocess.run([sys.executable, "-m", "cosmos_cli", "--version"], capture_output=True, text=True)
    assert script.stdout == module.stdout == f"cosmos {__version__}\n"
    wrong = subprocess.run([sys.executable, "-m", "cosmos_cli", "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "See `cosmos --help`." in wrong.stderr


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([COSMOS, "plugins", "list"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


def test_tab_offers_commands_options_and_choices() -> None:
    assert complete("cosmos pl") == ["plugins"]
    assert complete("cosmos plugins ") == ["list", "info", "new"]
    assert complete("cosmos predict2 video2world --num-s") == ["--num-steps"]
    assert complete("cosmos predict2 video2world --num_steps 3 --fps ") == ["10", "16"]


def test_the_completion_script_is_for_cosmos_whatever_started_it() -> None:
    protocol = {**os.environ, "_COSMOS_COMPLETE": "source_bash"}
    script = subprocess.run([sys.executable, "-m", "cosmos_cli"], env=protocol, capture_output=True, text=True).stdout
    assert "_COSMOS_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith(" cosmos")


def test_all_wrong_fields_of_a_family_command_come_in_one_document(cosmos: Cosmos) -> None:
    result = cosmos("predict2", "video2world", "--num_steps", 0, "--fps", 12, "--prompt", "A.", "--json")
    assert result.exit_code == 2
    assert {problem["where"] for problem in result.json["problems"]} == {"--num-steps", "--fps", "--input-path"}


def test_a_schema_is_printed_without_a_request(cosmos: Cosmos) -> None:
    assert json.loads(cosmos("predict2", "video2world", "--schema").stdout)["type"] == "object"
