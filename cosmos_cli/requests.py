"""What a user gives, as one description: its fields, their help, and how values are checked and kept.

A family describes it in pydantic models derived from `StrictModel`; options (`cosmos_cli.request_options`), rows of
batches, JSON Schema and sidecars are derived from their fields, so a name, a default, a limit and a help text stand in
one place.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.paths import given_path
from cosmos_cli.files.stores import StorePath, check_is_here, stored

Anywhere = Annotated[Path, AfterValidator(stored)]
"""A field with a path here or in a store."""


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

    @field_validator("*")
    @classmethod
    def _is_here(cls, value: Any) -> Any:
        """Fields that may lie in a store have made paths of stores of their addresses, see `Anywhere`."""
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Path) and not isinstance(each, StorePath):
                check_is_here(each)
        return value


def _as_meant(value: Any, annotation: Any, as_path: Callable[[Path], Any]) -> Any:
    """What pydantic would take as it is: a path as a path, and no boolean for a number. Raises ValueError."""
    members = union_members(annotation)
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
        found: its value on a command line where nobody says one, from how the process was started; None leaves it to
            the default.
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
    found: Callable[[], Any] | None = None


def option_name(field: str) -> str:
    """`num_steps` -> `--num-steps`."""
    return "--" + field.replace("_", "-")


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The non-None members of a union, or the annotation itself; without what they are annotated with."""
    members = (annotation,)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = tuple(member for member in typing.get_args(annotation) if member is not type(None))
    return tuple(typing.get_args(each)[0] if typing.get_origin(each) is Annotated else each for each in members)


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
        for member in union_members(field.annotation):
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
    document = read_json(stored(Path(path)), from_pipes=True)
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
