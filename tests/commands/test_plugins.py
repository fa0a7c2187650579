"""`cosmos plugins`: what is installed and what it brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.testing import CommandResult
from tests.third_party import write_distribution

Cosmos = Callable[..., CommandResult]

SOUND = """
import typer
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_families(register):
    register(name="radar", help="Listens.", commands="listed_radar:app")

@hookimpl
def cosmos_register_guardrails(register):
    register(name="hush", help="Refuses noise.", factory="listed_radar:nothing")

app = typer.Typer()

@app.command()
def listen() -> None:
    \"\"\"Listen for a while. Example: cosmos radar listen\"\"\"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sound plugin beside the project's own, and one that cannot be imported."""
    packages = tmp_path / "packages"
    modules = {"listed_radar": SOUND, "listed_broken": "import no_such_module"}
    plugins = {"radar-plugin": "listed_radar", "broken-plugin": "listed_broken"}
    write_distribution(packages, "listed", modules, plugins, {"hush": "listed_radar"})
    monkeypatch.syspath_prepend(packages)


@pytest.mark.usefixtures("installed")
def test_list_shows_what_each_plugin_brings_and_its_state(cosmos: Cosmos) -> None:
    result = cosmos("plugins", "list")
    assert result.exit_code == 0
    heading, *rows = [line.split("  ") for line in result.stdout.splitlines()]
    assert heading[0] == "PLUGIN"
    by_name = {row[0]: " ".join(part.strip() for part in row[1:] if part) for row in rows}
    assert by_name["radar-plugin"] == "listed 1.0 radar, guardrails:hush ok"
    assert by_name["broken-plugin"].startswith("listed 1.0 - cannot be imported (ModuleNotFoundError: ")
    assert by_name["predict2"].endswith(
        "predict2, critics:reason1, critics:measured, demos:video2world, demos:best-of-n, recipes:predict2 ok"
    )


@pytest.mark.usefixtures("installed")
def test_list_as_json_keeps_its_keys(cosmos: Cosmos) -> None:
    document = cosmos("plugins", "list", "--json").json
    [radar] = [plugin for plugin in document["plugins"] if plugin["name"] == "radar-plugin"]
    assert radar == {
        "name": "radar-plugin",
        "distribution": "listed",
        "version": "1.0",
        "module": "listed_radar",
        "families": [{"name": "radar", "help": "Listens."}],
        "extensions": [{"kind": "guardrails", "name": "hush", "help": "Refuses noise."}],
        "faults": [],
        "lost_guardrails": [],
    }
    assert document["notices"] == []


@pytest.mark.parametrize("name", ["radar", "radar-plugin"])
@pytest.mark.usefixtures("installed")
def test_info_finds_a_plugin_by_its_own_name_and_by_that_of_a_family(cosmos: Cosmos, name: str) -> None:
    result = cosmos("plugins", "info", name)
    assert result.exit_code == 0
    assert "cosmos radar listen  Listen for a while." in result.stdout
    assert "guardrails: hush: Refuses noise." in result.stdout
    [plugin] = cosmos("plugins", "info", name, "--json").json["plugins"]
    assert plugin["families"][0]["commands"] == {"listen": "Listen for a while."}


def test_info_of_an_unknown_name_suggests_the_nearest(cosmos: Cosmos) -> None:
    result = cosmos("plugins", "info", "predit2", "--json")
    assert result.exit_code == 2
    assert result.json["problems"][0]["fix"] == "Did you mean predict2?"
