"""One description of a request, four faces: options, manifest rows, JSON Schema, sidecar.

A family describes what a user gives in pydantic models derived from `StrictModel`; everything here is derived
from their fields, so a name, a default, a limit and a help text stand in one place.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem, report_together
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.paths import given_path
from cosmos_cli.flags import JsonFlag
from cosmos_cli.help import OLD, HelpAll, Panel, panel_of


class StrictModel(BaseModel):
    """Base of request models: unknown fields are errors, values are frozen, attribute docstrings are the help.

    Values may be hostile: numbers are finite and no booleans, text is whole characters, and paths are such as a file
    can have, with `~` for the home folder.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        str_max_length=10_000,  # of texts without a limit of their own
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        # pydantic takes no path where it reads JSON itself
        as_path = str if info.mode == "json" else Path
        return _as_meant(value, cls.model_fields[info.field_name].annotation, as_path)


def _as_meant(value: Any, annotation: Any, as_path: Callable[[Path], Any]) -> Any:
    """What pydantic would take as it is: a path as a path, and no boolean for a number. Raises ValueError."""
    members = _members(annotation)
    if isinstance(value, str | Path) and Path in members:
        return as_path(given_path(value))
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"must be text, but {value[error.start]!r} in it is no character.") from error
    kinds = {type(each) for member in members for each in typing.get_args(member)} | set(members)
    if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
        raise ValueError(f"must be a number, but is {value}.")
    if isinstance(value, list | tuple):
        of_each = next((typing.get_args(member)[0] for member in members if _is_sequence(member)), None)
        return value if of_each is None else type(value)(_as_meant(each, of_each, as_path) for each in value)
    return value


def _is_sequence(annotation: Any) -> bool:
    """Whether it is a tuple of any length, of one kind."""
    return typing.get_origin(annotation) is tuple and typing.get_args(annotation)[1:] == (...,)


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line, given in its `Annotated` metadata.

    Args:
        aliases: further option names, with their dashes.
        env: environment variable that is read when the option is not given.
        default: what the help shows as default where the model's own default says too little.
        option: False for a field that only files and Python can give; its first alias is the option of that file.
        argument: True for a field that is given by its place on the command line, without a name; a field of several
            values takes all that are left.
        panel: of the help, where its name does not say it.
        usual: whether help shows it without being asked for all options, where its name does not say it.
        old_names: names of the originals' options that mean the same; help has them apart.
        complete: what the shell offers for it, as Typer's `autocompletion`.
    """

    aliases: tuple[str, ...] = ()
    env: str | None = None
    default: str | None = None
    option: bool = True
    argument: bool = False
    panel: str | None = None
    usual: bool = False
    old_names: tuple[str, ...] = ()
    complete: Callable[..., Iterable[str]] | None = None


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

    Precedence: option, environment variable, `files` from last to first, `--from-file`, default of the model.

    Args:
        groups: options beside those of the fields. `wrapper.renew_options` asks for them anew.
        used: the fields that help shows; others are taken too, for command lines that serve several commands.
        check: looks at all values that were given, by field name, before they are converted; what it raises is reported
            together with what is wrong with the fields.
    """
    _refuse_shared_names(models)
    from_file = FileOption(
        "--from-file",
        "Take the request from a JSON file, or from the sidecar of an earlier video; options override it.",
        lambda path: read_request_file(path, models),
    )
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
            values: dict[str, Any] = {}
            for name, read in readers.items():
                if (path := given.pop(name)) is not None:
                    values |= read(_named_file(name, path))
            values |= {name: value for name, value in given.items() if name in names and value is not None}
            of_groups = {name: value for name, value in given.items() if name not in names and value is not None}
            instances: list[StrictModel] = []
            report_together(
                *(functools.partial(_merge, group, of_groups, values) for group in groups),
                lambda: instances.extend(validate(models, values, name_of=names.__getitem__)),
                lambda: check(values),
            )
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


def _merge(group: OptionGroup, given: Mapping[str, str], values: dict[str, Any]) -> None:
    named = {_field_name(described.names[0]) for described, _ in group.describe()}
    own = {name: value for name, value in given.items() if name in named}
    known = dict(values)
    values[group.field] = {}  # so that what is wrong with it is told once
    values[group.field] = group.merge(own, known)


def _named_file(option: str, path: str) -> Path:
    try:
        return given_path(path)
    except ValueError as error:
        raise InputError(str(error), where=option_name(option), fix="Give the path of a file.") from error


def _field_name(option: str) -> str:
    return option.strip("-").replace("-", "_")


def option_name(field: str) -> str:
    """`num_steps` -> `--num-steps`."""
    return "--" + field.replace("_", "-")


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
    annotation = Annotated[str | None, option] if described.values else Annotated[bool | None, option]
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
    several = typing.get_origin(_members(field.annotation)[0]) in (list, tuple)
    kind: Any = list[str] if several else str
    default: Any = inspect.Parameter.empty
    if not described.required:
        kind, default = kind | None, None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, argument]
    )


def _flag(field: FieldInfo) -> Flag:
    return next((item for item in field.metadata if isinstance(item, Flag)), Flag())


def _show(name: str, field: FieldInfo) -> str | None:
    default = field.get_default() if not field.is_required() else None
    if default is None or default is False or default == "":
        return None
    if default is True:
        return f"true; {option_name(_OFF + name)} turns it off"
    return shortened(str(default))


def _members(annotation: Any) -> tuple[Any, ...]:
    """The non-None members of a union, or the annotation itself; without what they are annotated with."""
    members = (annotation,)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = tuple(member for member in typing.get_args(annotation) if member is not type(None))
    return tuple(typing.get_args(each)[0] if typing.get_origin(each) is Annotated else each for each in members)


def _choices(annotation: Any) -> tuple[str, ...]:
    members = _members(annotation)
    if all(typing.get_origin(member) is typing.Literal for member in members):
        return tuple(str(value) for member in members for value in typing.get_args(member))
    return ()


def _metavar(annotation: Any, choices: Sequence[str]) -> str:
    if choices:
        return "|".join(choices)
    names: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
    return names.get(_members(annotation)[0], "TEXT")


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


def validate(
    models: Sequence[type[StrictModel]],
    values: Mapping[str, Any],
    *,
    name_of: Callable[[str], str] = str,
    where: str | None = None,
    not_offered: Collection[str] = (),
) -> list[StrictModel]:
    """Build one instance per model from one flat mapping.

    Args:
        values: field name to raw value; text is converted to the field's type.
        name_of: how a field is called in messages (`option_name` on the command line).
        where: prefix of the place in messages, such as "batch.jsonl line 3".
        not_offered: fields that no message proposes in place of an unknown one.
    Raises:
        InputError: every wrong, missing and unknown field at once.
    """
    problems: list[Problem] = []
    instances: list[StrictModel] = []
    known = {name for model in models for name in model.model_fields}
    for name in values:
        if name not in known:
            offered = {name_of(each).lstrip("-").replace("-", "_") for each in known - {*not_offered}}
            problems.append(_unknown(name, where, offered))
    for model in models:
        own = {k: _choice(v, model.model_fields[k]) for k, v in values.items() if k in model.model_fields}
        try:
            instances.append(model.model_validate(own))
        except ValidationError as error:
            problems += [_problem(detail, name_of, where) for detail in error.errors()]
    if problems:
        raise InputError.from_problems(problems)
    return instances


M = TypeVar("M", bound=StrictModel)


def as_request(kind: type[M], options: StrictModel, **changes: Any) -> M:
    """The request that options of a command make, of which some may be left open, with some fields changed.

    Raises:
        InputError: what the request needs is missing, or a changed field is out of its range.
    """
    given = {name: value for name, value in options if name in kind.model_fields and value is not None}
    [request] = validate([kind], given | changes, name_of=option_name)
    assert isinstance(request, kind)
    return request


def without_misplaced(values: Mapping[str, Any], places: Mapping[str, str], where: str) -> dict[str, Any]:
    """The values but those that belong elsewhere, each of which gets a notice: the originals read past them too.

    Args:
        places: field that belongs elsewhere to where it belongs, such as "at the top level".
        where: the place of these values in messages.
    """
    for name in values:
        if name in places:
            output.notice(f"{where}: {name} has no effect here; it belongs {places[name]}")
    return {name: value for name, value in values.items() if name not in places}


def _choice(value: Any, field: FieldInfo) -> Any:
    """Text from the command line as the member of a Literal it spells: "16" for Literal[10, 16] is 16."""
    if isinstance(value, str):
        for member in _members(field.annotation):
            for choice in typing.get_args(member):
                if str(choice) == value:
                    return choice
    return value


def _unknown(name: str, where: str | None, known: Iterable[str]) -> Problem:
    name = shortened(name)
    return Problem(f"Unknown field {name!r}.", where, nearest(name, known))


def shortened(text: str) -> str:
    """A text of others as messages show it."""
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """What may be meant by an unknown name, or all that there are."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(sorted(known))}."


_EXPECTATIONS = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "int_parsing_size": "must be a smaller number",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
}


def _problem(detail: Any, name_of: Callable[[str], str], where: str | None) -> Problem:
    """A sentence for one pydantic error: what was expected, and what was given."""
    field = name_of(str(detail["loc"][0])) if detail["loc"] else None
    return problem_of(detail, ", ".join(part for part in (where, field) if part) or None, field)


def problem_of(detail: Any, place: str | None, name: str | None = None) -> Problem:
    """A sentence for one pydantic error of the field `name`, which stands at `place`."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return Problem("is required.", place, f"Give {name}.")
    if kind == "value_error":
        return Problem(str(context["error"]), place)
    if kind == "string_too_short":
        return Problem("must not be empty.", place)
    shown = shortened(repr(detail["input"]))
    if kind == "literal_error":
        return Problem(f"{shown} is not one of {context['expected']}.", place)
    if kind == "string_too_long":
        return Problem(
            f"has {len(detail['input']):,} characters, more than the {context['max_length']:,} that are allowed.",
            place,
            "Shorten it.",
        )
    limits = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}
    if kind in limits:
        bound = context[{"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt"}.get(kind, "le")]
        return Problem(f"must be {limits[kind]} {bound}, but is {shown}.", place)
    expectation = _EXPECTATIONS.get(kind, detail["msg"])
    return Problem(f"{expectation}, but is {shown}.", place)


def read_request_file(path: str | Path, models: Sequence[type[StrictModel]]) -> dict[str, Any]:
    """The request in a JSON file: the object itself, or the one a sidecar keeps under "request".

    Raises:
        InputError: the file is missing, is not JSON, or holds fields that no model has.
    """
    document = read_json(Path(path), from_pipes=True)
    if isinstance(document, dict) and isinstance(document.get("request"), dict):
        document = document["request"]
    if not isinstance(document, dict):
        raise InputError("must hold one JSON object.", where=str(path), fix="See `--schema` for its fields.")
    known = {name for model in models for name in model.model_fields}
    unknown = [name for name in document if name not in known]
    if unknown:
        raise InputError.from_problems(_unknown(name, str(path), known) for name in unknown)
    return dict(document)


def json_schema(*models: type[StrictModel]) -> dict[str, Any]:
    """JSON Schema of a request file, for editors and other programs."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    schema["properties"], schema["required"] = {}, []
    for model in models:
        part = model.model_json_schema()
        schema["properties"] |= part["properties"]
        schema.setdefault("$defs", {}).update(part.get("$defs", {}))
        schema["required"] += part.get("required", [])
    schema["additionalProperties"] = False
    return schema


def request_document(*instances: StrictModel) -> dict[str, Any]:
    """The request as a sidecar keeps it: every field with its value, paths absolute, ready for `--from-file`."""
    document: dict[str, Any] = {}
    for instance in instances:
        document |= _as_kept(instance.model_dump())
    return document


def _as_kept(value: Any) -> Any:
    """A value as JSON has it: with absolute paths at any depth, so that it means the same from any folder."""
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(name): _as_kept(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_kept(each) for each in value]
    return value if isinstance(value, str) else to_jsonable_python(value, fallback=str)
