"""Recipes by name, and what a command line changes of one, in this project's spelling or that of the originals."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from cosmos_cli import registry
from cosmos_cli.errors import CosmosError, InputError, Problem
from cosmos_cli.requests import nearest, problem_of
from cosmos_cli.training.recipe import Recipe

R = TypeVar("R", bound=Recipe)

_SPELLINGS: Sequence[tuple[str, str]] = (
    (r"model_parallel\.context_parallel_size|model\.(config\.)?context_parallel_size", "parallel.cp"),
    (r"model_parallel\.tensor_model_parallel_size", "parallel.tp"),
    (r"model\.(config\.)?(fsdp\.sharding_group_size|fsdp_shard_size)", "parallel.shard"),
    (r"model\.(config\.)?ema\.(.+)", r"ema.\2"),
    (r"model\.(config\.)?loss_add_logvar", "loss.log_variance"),
    (r"model\.(config\.)?loss_(reduce|scale)", r"loss.\2"),
    (r"model\.(config\.)?(conditioner|pipe_config\.conditioner)\.text\.dropout_rate", "draws.text_dropout"),
    (r"model\.(config\.)?high_sigma_ratio", "draws.high_sigma_ratio"),
    (r"model\.(config\.)?sde\.p_(mean|std)", r"draws.sigma_\2"),
    (r"scheduler\.(.+)", r"schedule.\1"),
    (r"dataloader_train\.dataset\.(.+)", r"data.\1"),
    (r"dataloader_train\.(.+)", r"data.\1"),
    (r"trainer\.callbacks\.grad_clip\.clip_norm", "optimizer.clip_norm"),
    (r"trainer\.(callbacks\.iter_speed\.every_n|logging_iter)", "log.logging_iter"),
    (r"job\.wandb_mode|trainer\.callbacks\.wandb\..*", "log.wandb_project"),
)
"""Names of the originals' configurations, as patterns, and what they are called here."""

_OF_THE_FAMILY = ("task", "workload")
"""Fields of a recipe that name code of its family, and so are no choice of who runs it."""


def experiments(family: str) -> dict[str, Recipe]:
    """The post-trainings of a family by name, those of other packages too.

    Raises:
        CosmosError: a package's recipes cannot be loaded, are no recipes, or two have one name.
    """
    found: dict[str, Recipe] = {}
    holders: dict[str, str] = {}
    for collection in registry.current().recipe_collections(family):
        where = f"recipes '{collection.name}' of plugin {collection.plugin}"
        recipes = collection.resolve()
        if not isinstance(recipes, Mapping):
            raise CosmosError(f"is {type(recipes).__name__}, not a mapping of names to recipes.", where=where)
        for name, recipe in recipes.items():
            if not isinstance(recipe, Recipe):
                raise CosmosError(f"{name!r} is {type(recipe).__name__}, not a Recipe.", where=where)
            if name in found:
                raise CosmosError(f"the recipe {name!r} is already brought by {holders[name]}.", where=where)
            found[name], holders[name] = recipe, where
    return found


def find(family: str, name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of that name, changed.

    Args:
        overrides: `part.field=value` each; values as in JSON, or text.
    Raises:
        InputError: there is no such recipe, part or field, or a value does not fit; all at once, with the nearest name.
        CosmosError: as for `experiments`.
    """
    known = experiments(family)
    if name not in known:
        raise InputError(
            f"there is no experiment {name!r}.",
            where="--experiment",
            fix=_closest(name, known) or f"cosmos {family} recipes lists them.",
        )
    return changed(known[name], overrides)


def split(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The experiment that arguments name in the originals' spelling, `experiment=NAME`, and the other ones.

    Raises:
        InputError: an argument is no override.
    """
    wrong = [argument for argument in arguments if not re.match(r"[+~]*[A-Za-z_][\w.]*=", argument)]
    if wrong:
        raise InputError(
            f"{wrong[0]!r} is no override.",
            where="overrides",
            fix="Write part.field=value, such as trainer.max_iter=20.",
        )
    pairs = [argument.lstrip("+~").partition("=") for argument in arguments]
    names = [value for key, _, value in pairs if key == "experiment"]
    others = [f"{key}={value}" for key, _, value in pairs if key not in ("experiment", "config")]
    return (names[-1] if names else None), others


def changed(recipe: R, overrides: Iterable[str]) -> R:
    """The recipe with other values in some fields; errors as for `find`."""
    return with_changes(recipe, [change for override in overrides for change in read_override(override)])


class Change(NamedTuple):
    """Another value of a field. written: how the user calls the field, for messages. name: dotted, of this project."""

    written: str
    name: str
    value: Any


def read_override(override: str) -> list[Change]:
    """What `part.field=value` changes, under the names of this project."""
    written, _, text = override.partition("=")
    return [Change(written, name, value) for name, value in _ours(written, _value(text))]


def with_changes(recipe: R, changes: Iterable[Change]) -> R:
    """The recipe with other values in some fields; errors as for `find`."""
    values = recipe.model_dump()
    problems: list[Problem] = []
    spelt: dict[tuple[str, ...], str] = {}
    for written, name, value in changes:
        try:
            place = _place(recipe, name)
            _set(values, place, value)
            spelt[place] = written
        except _Unknown as error:
            problems.append(Problem(error.args[0], written, error.args[1] or None))
    if problems:
        raise InputError.from_problems(problems)
    try:
        return type(recipe).model_validate(values)
    except ValidationError as error:
        places = [_spelt(tuple(map(str, detail["loc"])), spelt) for detail in error.errors()]
        raise InputError.from_problems(
            [problem_of(detail, place, place) for detail, place in zip(error.errors(), places, strict=True)]
        ) from None


def _ours(written: str, value: Any) -> list[tuple[str, Any]]:
    """An override under the names of this project."""
    name = written
    for pattern, ours in _SPELLINGS:
        if re.fullmatch(pattern, written):
            name = re.sub(f"^(?:{pattern})$", ours, written)
            break
    if name in ("data.video_size", "data.resolution") and isinstance(value, list) and len(value) == 2:
        return [("data.height", value[0]), ("data.width", value[1])]
    return [(name, value)]


def _value(text: str) -> Any:
    lowered = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text.startswith(("[", "(")) and text.endswith(("]", ")")):  # as Hydra writes lists of words
        return [_value(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return text.strip("'\"")


class _Unknown(Exception):
    """There is no such field to change; with what was meant."""


def _place(recipe: BaseModel, name: str) -> tuple[str, ...]:
    """The keys that lead to a field. Raises _Unknown."""
    parts, here = name.split("."), recipe
    for depth, part in enumerate(parts):
        fields = type(here).model_fields
        if depth == 0 and part in _OF_THE_FAMILY:
            raise _Unknown("is what makes the recipe one of its family, and cannot be changed.", "Name another recipe.")
        if part not in fields:
            at = ".".join(parts[:depth])
            known = [name for name in fields if depth or name not in _OF_THE_FAMILY]
            raise _Unknown(f"The recipe has no {part!r}{f' in {at}' if at else ''}.", nearest(part, known))
        value = getattr(here, part)
        if depth == len(parts) - 1:
            return tuple(parts)
        if not isinstance(value, BaseModel):
            if value is None:
                return tuple(parts)  # a part that this recipe leaves out, such as lora: validation speaks
            raise _Unknown(f"{'.'.join(parts[: depth + 1])} is a value, without fields of its own.", "")
        here = value
    raise AssertionError("a name has parts")


def _set(values: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        if values.get(key) is None:
            values[key] = {}
        values = values[key]
    values[place[-1]] = value


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _spelt(place: tuple[str, ...], spelt: Mapping[tuple[str, ...], str]) -> str:
    """A field as the user wrote it, or by its name here."""
    return next((spelt[place[:end]] for end in range(len(place), 0, -1) if place[:end] in spelt), ".".join(place))
