"""`cosmos plugins`: what is installed, what it brings, and what is wrong with it."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli import output, registry
from cosmos_cli.commands.options import as_meant
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.flags import JsonFlag
from cosmos_cli.import_strings import resolve
from cosmos_cli.registered import Family, Plugin

app = typer.Typer(help="List the installed plugins and what they bring, or begin one.", no_args_is_help=True)


@app.command("list")
def list_plugins(json: JsonFlag = False) -> None:
    """List every plugin, working or not. Example: cosmos plugins list"""
    found = registry.current()
    rows = []
    for plugin in found.plugins:
        brings = [family.name for family in plugin.families] + [f"{e.kind}:{e.name}" for e in plugin.extensions]
        state = "; ".join(plugin.faults) or "ok"
        if plugin.lost_guardrails:
            state = f"blocks all generation: {state}"
        rows.append((plugin.name, f"{plugin.distribution} {plugin.version}", ", ".join(brings) or "-", state))
    output.result(
        output.table(("PLUGIN", "DISTRIBUTION", "BRINGS", "STATE"), rows),
        {"plugins": [_document(plugin) for plugin in found.plugins]},
    )


@app.command()
def info(name: Annotated[str, typer.Argument(help="Name of a plugin or of a family.")], json: JsonFlag = False) -> None:
    """Show one plugin in full. Example: cosmos plugins info predict2"""
    found = registry.current()
    matches = [p for p in found.plugins if p.name == name or any(f.name == name for f in p.families)]
    if not matches:
        known = [plugin.name for plugin in found.plugins]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Installed are: {', '.join(known)}."
        raise InputError(f"There is no plugin or family named {name!r}.", where="NAME", fix=hint)
    documents = [_document(plugin, commands=True) for plugin in matches]
    output.result("\n\n".join(_describe(document) for document in documents), {"plugins": documents})


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the family: lower-case words joined by hyphens.")],
    folder: Annotated[
        Path | None, typer.Option(callback=as_meant, help="Folder to write.", show_default="cosmos-NAME")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write a package with a family that works, its tests and a training. Example: cosmos plugins new night-rain"""
    from cosmos_cli.commands.new_plugin import write_plugin

    written = write_plugin(name, folder)
    steps = (f"cd {shlex.quote(str(written))}", 'pip install -e ".[test]"', "pytest", f"cosmos {name} --help")
    told = "\n".join((f"{written}: a package with the family {name}. Next:", "", *(f"  {step}" for step in steps)))
    output.result(told, {"status": "ok", "folder": str(written)})


def _document(plugin: Plugin, commands: bool = False) -> dict[str, Any]:
    families: list[dict[str, Any]] = []
    faults = list(plugin.faults)
    for family in plugin.families:
        entry: dict[str, Any] = {"name": family.name, "help": family.help}
        if commands:
            entry |= {"commands": {}, "models": {}}
            try:
                entry["commands"] = _commands(family)
                entry["models"] = _models(family)
            except CosmosError as error:
                faults.append(error.problems[0].what)
        families.append(entry)
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "families": families,
        "extensions": [{"kind": e.kind, "name": e.name, "help": e.help} for e in plugin.extensions],
        "faults": faults,
        "lost_guardrails": plugin.lost_guardrails,
    }


def _commands(family: Family) -> dict[str, str]:
    group = typer.main.get_group(resolve(family.commands, needed_by=f"plugin {family.plugin}"))
    return {name: command.get_short_help_str(limit=90) for name, command in group.commands.items()}


def _models(family: Family) -> dict[str, list[dict[str, Any]]]:
    """What is published for the family: model name to repositories."""
    if family.checkpoints is None:
        return {}
    catalogue = resolve(family.checkpoints, needed_by=f"plugin {family.plugin}")
    return {
        model: [
            {"repository": r.name, "revision": r.revision, "licence": r.licence, "bytes": r.num_bytes}
            for r in repositories
        ]
        for model, repositories in catalogue.items()
    }


def _describe(document: dict[str, Any]) -> str:
    lines = [
        f"{document['name']}: {document['distribution']} {document['version']}, module {document['module']}",
        f"state: {'; '.join(document['faults']) or 'ok'}",
        *(f"blocks all generation: {lost}" for lost in document["lost_guardrails"]),
    ]
    for family in document["families"]:
        lines += ["", f"family {family['name']}: {family['help']}"]
        rows = [(f"  cosmos {family['name']} {name}", text) for name, text in family["commands"].items()]
        if rows:
            lines.append(output.table(("", ""), rows))
        for model, repositories in family["models"].items():
            lines += [f"  model {model}:"]
            lines += [f"    {r['repository']}  {r['bytes'] / 1e9:.1f} GB  {r['licence']}" for r in repositories]
    lines += [f"{e['kind']}: {e['name']}: {e['help']}" for e in document["extensions"]]
    return "\n".join(lines)
