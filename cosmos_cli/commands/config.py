"""`cosmos config`: defaults of a user and of a project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmos_cli import configuration, output, registry
from cosmos_cli.configuration import KEYS, PROJECT_FILE, project_file, shown, user_file
from cosmos_cli.errors import InputError
from cosmos_cli.flags import JsonFlag
from cosmos_cli.runtime.machine import parse_device

if TYPE_CHECKING:
    from cosmos_cli.requests import StrictModel

app = typer.Typer(help="Show and set defaults, of a user and of a project.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help=f"One of {', '.join(KEYS)}.", autocompletion=lambda: list(KEYS), show_default=False
    ),
]
Project = Annotated[bool, typer.Option("--project", help=f"In the project's {PROJECT_FILE}, not in the user's file.")]


@app.callback()
def _group() -> None:
    """Show and set defaults, of a user and of a project.

    An option on the command line goes before its variable, that before the project's cosmos.toml, in the working
    folder or above it, and that before the user's file.
    """


@app.command()
def show(json: JsonFlag = False) -> None:
    """Show every default and where it comes from. Example: cosmos config show"""
    settings = _settings()
    rows = [(each["key"], each["value"] or "-", each["from"]) for each in settings]
    project, user = project_file(), user_file()
    lines = [
        output.table(("KEY", "VALUE", "FROM"), rows),
        "",
        f"Project file: {shown(project) if project else 'none; --project writes ' + PROJECT_FILE}",
        f"User file: {shown(user)}{'' if user.is_file() else ', which is not there'}",
    ]
    found = {"project": None if project is None else str(project), "user": str(user)}
    output.result("\n".join(lines), {"status": "ok", "settings": settings, "files": found})


@app.command("set")
def set_default(
    name: Name,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="What options of this name are to be.")],
    project: Project = False,
    json: JsonFlag = False,
) -> None:
    """Write a default into a file. Example: cosmos config set checkpoint-dir /data/checkpoints"""
    name, path = _known(name), _file(project)
    value = _kept(_checked(name, value), path)
    configuration.change_file(path, name, value)
    _tell(name, path, f"{shown(path)}: {name} is {value}.")


@app.command()
def unset(name: Name, project: Project = False, json: JsonFlag = False) -> None:
    """Remove a default from a file. Example: cosmos config unset device"""
    name, path = _known(name), _file(project)
    if not path.is_file() or name not in configuration.read_file(path):
        raise InputError(f"holds no {name}.", where=shown(path), fix="`cosmos config show` says where each comes from.")
    configuration.change_file(path, name, None)
    _tell(name, path, f"{shown(path)}: {name} is gone.")


def _tell(name: str, path: Path, text: str) -> None:
    now = next(each for each in _settings() if each["key"] == name)
    if now["from"] != shown(path) and now["from"] != "default":
        text += f" {name} is {now['value']} here, from {now['from']}, which goes before."
    output.result(text, {"status": "ok", "file": str(path), "setting": now})


def _settings() -> list[dict[str, Any]]:
    """Every key with its value and where it comes from."""
    of_variables, files = configuration.variables(), list(configuration.files())
    settings = []
    for name, key in KEYS.items():
        default = next((found[name] for found in files if name in found), None)
        if name in of_variables:
            value, source = of_variables[name], f"variable {key.variable}"
        elif default is not None:
            value, source = str(default.value), default.place
        else:
            value, source = _built_in(name), "default"
        settings.append({"key": name, "value": value, "from": source, "variable": key.variable})
    return settings


def _built_in(name: str) -> str:
    settings = _settings_with(name)()
    value = getattr(settings, "cache_folder" if name == "cache_dir" else name)
    return "" if value is None else str(value)


def _checked(name: str, value: str) -> Any:
    """The value as options take it. Raises InputError."""
    from cosmos_cli.requests import validate

    if not value:
        raise InputError("is empty.", where=name, fix=f"`cosmos config unset {name}` leaves it to the command.")
    if name == "device":
        parse_device(value)
    known = registry.current().extensions.get("batch_engines", {})
    if name == "engine" and value not in known:
        raise InputError(
            f"There is no engine named {value!r}.", where=name, fix=f"Use one of {', '.join(sorted(known))}."
        )
    [settings] = validate([_settings_with(name)], {name: value}, name_of=str)
    return getattr(settings, name)


def _settings_with(name: str) -> type[StrictModel]:
    from cosmos_cli.settings import Engines, ParallelSettings

    return next(model for model in (ParallelSettings, Engines) if name in model.model_fields)


def _kept(value: Any, file: Path) -> str:
    """A value as the file holds it. A project moves with its folder: there a relative path stays one."""
    if not isinstance(value, Path):
        return str(value)
    if value.is_absolute() or file == user_file():
        return str(value.resolve())
    return os.path.relpath(value.resolve(), file.parent.resolve())


def _known(name: str) -> str:
    name = name.replace("-", "_")
    if name not in KEYS:
        raise InputError(f"There is no default named {name!r}.", where="KEY", fix=configuration.nearest(name, KEYS))
    return name


def _file(project: bool) -> Path:
    return (project_file() or Path.cwd() / PROJECT_FILE) if project else user_file()
