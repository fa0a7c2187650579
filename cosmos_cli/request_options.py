"""Fields of request models as options of a command."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from cosmos_cli import output
from cosmos_cli.configuration import default_of
from cosmos_cli.errors import CosmosError, InputError, report_together
from cosmos_cli.files.paths import given_anywhere
from cosmos_cli.flags import JsonFlag
from cosmos_cli.help import OLD, HelpAll, Panel, panel_of
from cosmos_cli.requests import (
    Flag,
    StrictModel,
    json_schema,
    option_name,
    read_request_file,
    shortened,
    union_members,
    validate,
)


@dataclass(frozen=True)
class FileOption:
    """An option that names a file of field values, in a form of its own.

    Args:
        name: the option, with its dashes.
        help: what the file is.
        read: the values by field name; raises InputError.
    """

    name: str
    help: str
    read: Callable[[Path], dict[str, Any]]


def request_file(models: Sequence[type[StrictModel]]) -> FileOption:
    """`--from-file`, which every command with these models has."""
    return FileOption(
        "--from-file",
        "Take the request from a JSON file, or from the sidecar of an earlier video; options override it.",
        lambda path: read_request_file(path, models),
    )


@dataclass(frozen=True)
class OptionGroup:
    """Options that together make up what one field holds, whatever files say of it.

    Args:
        field: the field.
        describe: the options, and where help shows them; asked for each command line, since plugins may bring some.
            One whose values are in brackets may stand alone, and is 1 then.
        merge: what the field holds, from the options that were given, by name with underscores, and from the values of
            all fields; raises InputError.
    """

    field: str
    describe: Callable[[], Iterable[tuple[OptionDescription, Panel]]]
    merge: Callable[[Mapping[str, str], Mapping[str, Any]], Any]


def request_options(
    *models: type[StrictModel],
    files: Sequence[FileOption] = (),
    groups: Sequence[OptionGroup] = (),
    used: Collection[str] | None = None,
    check: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command so that the fields of `models` become its options.

    The command is called with one validated instance per model, in the order given. Added beside the fields:
    `--from-file` (a JSON request or a sidecar, which options given on the command line override), `--schema`
    (print the JSON Schema) and `--json`. A default stands in the model only: options default to "not given".

    Precedence: option, environment variable, `files` from last to first, `--from-file`, what the project's and the
    user's file say (`cosmos_cli.configuration`), what is found (`Flag.found`), default of the model.

    Args:
        groups: options beside those of the fields. `wrapper.renew_options` asks for them anew.
        used: the fields that help shows; others are taken too, for command lines that serve several commands.
        check: looks at all values that were given, by field name, before they are converted; what it raises is reported
            together with what is wrong with the fields.
    """
    _refuse_shared_names(models)
    from_file = request_file(models)
    fields = [item for model in models for item in model.model_fields.items()]
    names = {name: _name_on_the_command_line(name, field) for name, field in fields}
    readers = {_field_name(option.name): option.read for option in (from_file, *files)}
    switched_on = [name for name, field in _option_fields(models) if _is_switched_on(field)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            if given.pop("schema"):
                output.data(json_schema(*models))
                return
            for name in ("json", "help_all"):
                given.pop(name)
            _turn_off(given, switched_on)
            configured = {name: found for name, field in fields if (found := default_of(_flag(field).env))}
            values: dict[str, Any] = {name: found.value for name, found in configured.items()}
            for name, read in readers.items():
                if (path := given.pop(name)) is not None:
                    values |= read(_named_file(name, path))
            values |= {name: value for name, value in given.items() if name in names and value is not None}
            for name, field in fields:
                if name not in values and (find := _flag(field).found) and (value := find()) is not None:
                    values[name] = value
            of_groups = {name: value for name, value in given.items() if name not in names and value is not None}
            in_files = {
                name: f"{found.place}, {name}" for name, found in configured.items() if values[name] is found.value
            }
            instances: list[StrictModel] = []
            report_together(
                *(functools.partial(_merge, group, of_groups, values) for group in groups),
                lambda: instances.extend(validate(models, values, name_of=(names | in_files).__getitem__)),
                lambda: check(values),
            )
            with _telling({names[name]: place for name, place in in_files.items()}):
                command(*instances)

        def renew() -> None:
            parameters = [_file_parameter(option) for option in files]
            parameters += [_group_parameter(*each) for group in groups for each in group.describe()]
            parameters += own
            wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
            wrapper.__annotations__ = {p.name: p.annotation for p in parameters}

        own: list[inspect.Parameter] = []
        for name, field in _option_fields(models):
            is_hidden = used is not None and name not in used
            own += [_parameter(name, field, is_hidden=is_hidden), *([_off(name)] if name in switched_on else [])]
        own += [_file_parameter(from_file), _schema_parameter(), _switch("json", JsonFlag)]
        own.append(_switch("help_all", HelpAll))
        if groups:
            wrapper.renew_options = renew  # type: ignore[attr-defined]
        else:
            renew()
        return wrapper

    return decorate


@contextmanager
def _telling(places: Mapping[str, str]) -> Iterator[None]:
    """A block whose errors about an option that nobody has given say where its value stands.

    Args:
        places: option to that place.
    """
    try:
        yield
    except CosmosError as error:
        error.problems = [replace(each, where=places.get(each.where or "", each.where)) for each in error.problems]
        raise


def _merge(group: OptionGroup, given: Mapping[str, str], values: dict[str, Any]) -> None:
    named = {_field_name(described.names[0]) for described, _ in group.describe()}
    own = {name: value for name, value in given.items() if name in named}
    known = dict(values)
    values[group.field] = {}  # so that what is wrong with it is told once
    values[group.field] = group.merge(own, known)


def _named_file(option: str, path: str) -> Path:
    try:
        return given_anywhere(path)
    except ValueError as error:
        raise InputError(str(error), where=option_name(option), fix="Give the path of a file.") from error


def _field_name(option: str) -> str:
    return option.strip("-").replace("-", "_")


def _name_on_the_command_line(name: str, field: FieldInfo) -> str:
    flag = _flag(field)
    if flag.argument:
        return name.upper()
    return option_name(name) if flag.option else flag.aliases[0]


def _refuse_shared_names(models: Iterable[type[StrictModel]]) -> None:
    names = [name for model in models for name in model.model_fields]
    shared = {name for name in names if names.count(name) > 1}
    assert not shared, f"request models of one command share field names: {sorted(shared)}"


@dataclass(frozen=True)
class OptionDescription:
    """One option as help and guides show it.

    names: the option and its aliases. values: what may follow it, "" for a switch. default: None if there is none.
    """

    names: tuple[str, ...]
    values: str
    help: str
    default: str | None = None
    required: bool = False
    env: str | None = None


def describe_options(
    *models: type[StrictModel], files: Sequence[FileOption] = (), groups: Sequence[OptionGroup] = ()
) -> list[OptionDescription]:
    """The options of `request_options` that come from files, groups and fields, in order."""
    from_files = [OptionDescription((file.name,), "PATH", file.help) for file in files]
    from_groups = [described for group in groups for described, _ in group.describe()]
    return from_files + from_groups + [_describe(name, field) for name, field in _option_fields(models)]


def _option_fields(models: Iterable[type[StrictModel]]) -> list[tuple[str, FieldInfo]]:
    fields = [item for model in models for item in model.model_fields.items()]
    return [(name, field) for name, field in fields if _flag(field).option]


def _describe(name: str, field: FieldInfo) -> OptionDescription:
    flag = _flag(field)
    return OptionDescription(
        names=(_name_on_the_command_line(name, field), *flag.aliases, *flag.old_names),
        values=_values(field),
        help=" ".join((field.description or "").split()),
        default=flag.default or _show(name, field),
        required=field.is_required(),
        env=flag.env,
    )


def _values(field: FieldInfo) -> str:
    if _is_switched_on(field):
        return "true|false"
    return "" if field.annotation is bool else _metavar(field.annotation, _choices(field.annotation))


def _parameter(name: str, field: FieldInfo, *, is_hidden: bool = False) -> inspect.Parameter:
    described, flag = _describe(name, field), _flag(field)
    choices = _choices(field.annotation)
    if flag.argument:
        return _argument(name, field, described)
    extra = f"  [default: {described.default}]" if described.default else ""
    option = typer.Option(
        *described.names,
        help=described.help + extra + ("  [required]" if described.required else ""),
        envvar=described.env,
        show_default=False,
        metavar=described.values or None,
        autocompletion=flag.complete or ((lambda: list(choices)) if choices else None),
        hidden=is_hidden,
        rich_help_panel=panel_of(
            name,
            panel=OLD if _has_no_effect(field) else flag.panel,
            is_usual=flag.usual or described.required,
            old_names=flag.old_names,
        ),
    )
    # everything but a switch arrives as text: pydantic converts, so all wrong fields are reported together
    annotation: Any = Annotated[str | None, option] if described.values else Annotated[bool | None, option]
    if _holds_several(field):
        annotation = Annotated[list[str] | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _has_no_effect(field: FieldInfo) -> bool:
    """Whether it is there for old command lines alone: then its description says so, in these words."""
    return re.search("Accepted (for|from) ", field.description or "") is not None


def _is_switched_on(field: FieldInfo) -> bool:
    """Whether it is a switch that is on by default. It takes a value, as the originals' do, and can be turned off."""
    return field.annotation is bool and field.default is True


_OFF = "no_"


def _off(name: str) -> inspect.Parameter:
    option = typer.Option(option_name(_OFF + name), hidden=True, show_default=False)
    annotation = Annotated[bool | None, option]
    return inspect.Parameter(_OFF + name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def with_values(options: Mapping[str, str | None], args: Sequence[str]) -> list[str]:
    """A command line on which what stands alone, where a value may follow, has one.

    That of a switch that is on by default is "true", and that of an option whose values are in brackets is 1.

    Args:
        options: all names of the command's options, with what help says of their values.
    """
    switches = {name for name in options if option_name(_OFF + name.removeprefix("--")) in options}
    numbers = {name for name, values in options.items() if values and values.startswith("[") and name.startswith("--")}

    def given(arg: str, following: str) -> str:
        name = arg.replace("_", "-")
        if name in switches and (not following or following.startswith("-")):
            return f"{arg}=true"
        # only a number is taken: what follows may be an argument of the command
        return f"{arg}=1" if name in numbers and not _is_number(following) else arg

    return [given(arg, following) for arg, following in zip(args, (*args[1:], ""), strict=True)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _turn_off(given: dict[str, Any], switched_on: Iterable[str]) -> None:
    """Have `--no-NAME` mean the field's "false". Raises InputError: its value is given too."""
    for name in switched_on:
        if given.pop(_OFF + name):
            if given[name] is not None:
                raise InputError(
                    f"does not go with {option_name(name)}.", where=option_name(_OFF + name), fix="Give one of them."
                )
            given[name] = "false"


def _argument(name: str, field: FieldInfo, described: OptionDescription) -> inspect.Parameter:
    argument = typer.Argument(help=described.help, metavar=name.upper(), show_default=False)
    kind: Any = list[str] if _holds_several(field) else str
    default: Any = inspect.Parameter.empty
    if not described.required:
        kind, default = kind | None, None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, argument]
    )


def _holds_several(field: FieldInfo) -> bool:
    return typing.get_origin(union_members(field.annotation)[0]) in (list, tuple)


def _flag(field: FieldInfo) -> Flag:
    return next((item for item in field.metadata if isinstance(item, Flag)), Flag())


def _show(name: str, field: FieldInfo) -> str | None:
    default = field.get_default() if not field.is_required() else None
    if default is None or default is False or default == "":
        return None
    if default is True:
        return f"true; {option_name(_OFF + name)} turns it off"
    return shortened(str(default))


def _choices(annotation: Any) -> tuple[str, ...]:
    members = union_members(annotation)
    if all(typing.get_origin(member) is typing.Literal for member in members):
        return tuple(str(value) for member in members for value in typing.get_args(member))
    return ()


def _metavar(annotation: Any, choices: Sequence[str]) -> str:
    if choices:
        return "|".join(choices)
    names: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
    member = union_members(annotation)[0]
    of_each = typing.get_args(member)[0] if typing.get_origin(member) in (list, tuple) else member
    return names.get(of_each, "TEXT")


def _file_parameter(file: FileOption) -> inspect.Parameter:
    name = _field_name(file.name)
    option = typer.Option(file.name, metavar="PATH", help=file.help, show_default=False, rich_help_panel=panel_of(name))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _group_parameter(described: OptionDescription, panel: Panel) -> inspect.Parameter:
    option = typer.Option(
        *described.names, metavar=described.values, help=described.help, show_default=False, rich_help_panel=panel
    )
    return inspect.Parameter(
        _field_name(described.names[0]),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _schema_parameter() -> inspect.Parameter:
    option = typer.Option(
        "--schema",
        help="Print the JSON Schema of the request and exit.",
        show_default=False,
        rich_help_panel=panel_of("schema"),
    )
    return _switch("schema", Annotated[bool, option])


def _switch(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
