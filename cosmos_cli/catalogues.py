"""What the families publish, and which files a user means by a name."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from cosmos_cli import registry
from cosmos_cli.checkpoints.catalogue import (
    DATA_SETS,
    T5_FLOAT32,
    PublishedFile,
    Repository,
    asked_for,
    download_command,
)
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.import_strings import resolve
from cosmos_cli.registered import Family

_SIZE = re.compile(r"\d+(\.\d+)?B", re.IGNORECASE)

Catalogue = Mapping[str, tuple[Repository, ...]]
"""Model to everything that is published for it; the main model of the family first."""


def catalogues() -> dict[str, Catalogue]:
    """The catalogue of every family that has one.

    Raises:
        CosmosError: one of them cannot be loaded.
    """
    families = sorted(registry.current().families.items())
    return {name: _catalogue(family) for name, family in families if family.checkpoints is not None}


def _catalogue(family: Family) -> Catalogue:
    """Raises CosmosError: it cannot be loaded."""
    if family.checkpoints is None:
        return {}
    known: Catalogue = resolve(family.checkpoints, needed_by=f"plugin {family.plugin}")
    return known


def complete_names() -> list[str]:
    """What a shell offers where a user says what to fetch: families, their models, and repositories."""
    models = {f"{family}/{model}": held for family, known in catalogues().items() for model, held in known.items()}
    repositories = dict.fromkeys(repository.name for held in models.values() for repository in held)
    return [*catalogues(), *models, *repositories]


def complete_models(context: typer.Context) -> list[str]:
    """What a shell offers where a user says which models of a family to fetch."""
    family = context.parent.info_name if context.parent else None
    return list(catalogues().get(family or "", ()))


def complete_controls(incomplete: str) -> list[str]:
    """What a shell offers in a list of control modalities: those that it has not yet."""
    *given, _ = incomplete.split(",")
    return [",".join((*given, name)) for name in registry.current().controls if name not in given]


def choose(names: Sequence[str], controls: Sequence[str] = ()) -> list[Repository]:
    """The files that names stand for, each repository once.

    Args:
        names: of families ("transfer" is its main model), models ("7B" or "transfer/7B"), repositories, or files as
            they lie under the checkpoint folder; a file in a folder of unknown names is fetched with the folder. What
            is optional in a model is not where it is named itself.
        controls: control modalities; then a model is only what these need, and a family is its models that have them.
    Raises:
        InputError: a name is unknown or stands for several things, or no model that was named has a control.
    """
    families = catalogues()
    branches = _control_branches()
    if unknown := [name for name in controls if name not in branches.values()]:
        raise InputError(
            f"there is no control {unknown[0]!r}.",
            where="--controls",
            fix=f"Use {', '.join(sorted(branches.values()))}.",
        )
    chosen: list[Repository] = []
    for name in names:
        chosen += _meant_by(name, families, controls, branches)
    lost = set(controls) - _used(chosen, branches)
    if lost:
        raise InputError(
            f"{', '.join(names)} has no control {', '.join(sorted(lost))}.",
            where="--controls",
            fix="See `cosmos models` for what each model has.",
        )
    return merge(chosen)


def published(path: str) -> Repository | None:
    """What the catalogues say of one file; None if nobody publishes it.

    Args:
        path: repository and file, as it lies under the checkpoint folder.
    """
    for family in registry.current().families.values():
        with contextlib.suppress(CosmosError):  # that of a broken plugin is no reason to stop others
            for model in _catalogue(family).values():
                for repository in model:
                    files = [file for file in repository.files if f"{repository.name}/{file.path}" == path]
                    if files and repository.belongs_to is None:
                        return asked_for(_with_files(repository, files))
    return None


_MAX_EXTRA = 0.1
"""Share of what is missing that a short command line may fetch beside it."""


def command_for(needed: Sequence[Repository], names: Sequence[str], root: Path) -> str:
    """The shortest command line that fetches what is missing of these files, and next to nothing else.

    Args:
        names: of all that is missing, as `choose` understands them.
    """
    missing = _bytes_missing(needed, root)
    controls = sorted(_used(needed, _control_branches()))
    known = {}
    for family, models in catalogues().items() if len(names) > 1 else ():
        for word in (family, *(f"{family}/{model}" for model in models)):
            with contextlib.suppress(InputError):  # it has not all of these controls
                fetched = _bytes_missing(choose([word], controls), root)
                extra = sum(fetched[file] for file in fetched.keys() - missing.keys())
                if extra <= _MAX_EXTRA * sum(missing.values()):
                    known[word] = fetched.keys() & missing.keys()
    words: list[str] = []
    covered: set[tuple[str, str]] = set()
    while known and len(known[best := max(known, key=lambda word: len(known[word] - covered))] - covered) > 1:
        words.append(best)
        covered |= known[best]
    paths = [path for _, path in covered]
    rest = [name for name in names if not any(_is_or_holds(path, name) or path.startswith(name) for path in paths)]
    return download_command([*words, *rest], root, controls if words else ())


def _bytes_missing(repositories: Iterable[Repository], root: Path) -> dict[tuple[str, str], int]:
    """Revision and path of the files that are missing, each with its size."""
    return {
        (repository.revision, f"{repository.belongs_to or repository.name}/{file.path}"): file.num_bytes
        for repository in repositories
        for file in repository.missing(root)
    }


def merge(repositories: Iterable[Repository]) -> list[Repository]:
    """The same files, with each revision of a repository once. What one needs is not optional."""
    merged: dict[tuple[str, str, str | None], Repository] = {}
    for new in repositories:
        key = new.name, new.revision, new.belongs_to
        known = merged.get(key, new)
        files = {file.path: file for file in known.files}
        for file in new.files:
            if file.path not in files or files[file.path].is_optional:
                files[file.path] = file
        merged[key] = _with_files(known, files.values())
    return list(merged.values())


def models_of(words: Sequence[str], sizes: Sequence[str], types: Sequence[str]) -> list[str]:
    """Full names of the models that the originals call by size and type, such as 7B and Text2World.

    Args:
        words: what else was given: families to look in, and more sizes and types: scripts take several in a row.
        sizes, types: any of them; none leaves it open.
    Raises:
        InputError: there is no such model.
    """
    families = catalogues()
    wanted_sizes = {*map(str.lower, sizes)}
    wanted_types = {*map(str.lower, types)}
    for word in words:
        if word not in families:
            (wanted_sizes if _SIZE.fullmatch(word) else wanted_types).add(word.lower())
    places = [word for word in words if word in families] or list(families)
    found = []
    for family in places:
        for model, held in families[family].items():
            parts = {*model.lower().split("-", 1), *(repository.model_type for repository in held)}
            if all(not wanted or parts & wanted for wanted in (wanted_sizes, wanted_types)):
                found.append(f"{family}/{model}")
    if not found:
        wanted = {"size": wanted_sizes, "type": wanted_types}
        given = " and ".join(f"{what} {', '.join(sorted(names))}" for what, names in wanted.items() if names)
        raise InputError(
            f"no model of {' or '.join(places)} has the {given}.",
            where="--model-types" if types else "--model-sizes",
            fix="See `cosmos models`.",
        )
    return found


def _meant_by(
    name: str, families: Mapping[str, Catalogue], controls: Sequence[str], branches: Mapping[str, str]
) -> list[Repository]:
    if name in families:
        models = list(families[name].values())
        if controls:
            models = [model for model in models if _used(model, branches).intersection(controls)]
        else:
            models = models[:1]
        return _needed((repository for model in models for repository in model), controls, branches)
    models_by_name = {
        f"{family}/{model}": held for family, models in families.items() for model, held in models.items()
    }
    matches = [full for full in models_by_name if name in (full, full.partition("/")[2])]
    if len(matches) > 1:
        raise InputError(f"{name} may be {' or '.join(matches)}.", where="WHAT", fix="Give the full name.")
    if matches:
        return _needed(models_by_name[matches[0]], controls, branches)
    of_models = [repository for model in models_by_name.values() for repository in model]
    everything = merge([*of_models, *_users_of_models(), *DATA_SETS])
    if whole := [each for each in everything if name.rstrip("/") in (each.belongs_to or each.name, each.name)]:
        return [_named(each) if name.rstrip("/") == each.name else each for each in whole]
    for repository in (*everything, T5_FLOAT32):
        files = [file for file in repository.files if _is_or_holds(f"{repository.name}/{file.path}", name)]
        if files:
            wanted = (replace(file, is_read_if_there=False, only_for="") for file in files)
            return [_named(_with_files(repository, wanted))]
    known = [*families, *models_by_name, *(repository.name for repository in everything)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise InputError(f"nothing is published as {name!r}.", where="WHAT", fix=f"{hint}See `cosmos models`.")


def _named(repository: Repository) -> Repository:
    """Files that a user asks for as such, although others may serve as well."""
    return replace(repository, other_forms=())


def _is_or_holds(path: str, name: str) -> bool:
    return name.rstrip("/") == path.rstrip("/") or (path.endswith("/") and name.startswith(path))


def _control_branches() -> dict[str, str]:
    """Weights of control branches, under the checkpoint folder, to their modalities."""
    return {control.checkpoint: name for name, control in registry.current().controls.items()}


def _users_of_models() -> dict[Repository, set[str]]:
    """The models that compute controls, each to the modalities that it computes."""
    users: dict[Repository, set[str]] = {}
    for name, control in registry.current().controls.items():
        for repository in control.resolve_models():
            users.setdefault(repository, set()).add(name)
    return users


def _used(repositories: Iterable[Repository], branches: Mapping[str, str]) -> set[str]:
    """The control modalities whose branches are among the files."""
    paths = {f"{repository.name}/{file.path}" for repository in repositories for file in repository.files}
    return {control for path, control in branches.items() if path in paths}


def _needed(
    repositories: Iterable[Repository], controls: Collection[str], branches: Mapping[str, str]
) -> list[Repository]:
    """What a run opens of a model with these controls; with none named, everything."""
    found = list(repositories)
    if not controls:
        return found
    users_of = _users_of_models()
    unwanted = {path for path, control in branches.items() if control not in controls}
    chosen = []
    for repository in found:
        # a model lists what computes its controls as optional: who names a control wants that of it
        users = users_of.get(asked_for(repository))
        if users is None or users.intersection(controls):
            kept = repository if users is None else asked_for(repository)
            files = (file for file in kept.files if f"{kept.name}/{file.path}" not in unwanted)
            chosen.append(_with_files(kept, files))
    return chosen


def _with_files(repository: Repository, files: Iterable[PublishedFile]) -> Repository:
    return replace(repository, files=tuple(files))
