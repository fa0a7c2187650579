"""`cosmos models`: what is published, and what of it is in the checkpoint folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli import output
from cosmos_cli.catalogues import catalogues
from cosmos_cli.checkpoints.catalogue import DATA_SETS, DEFAULT_ROOT, Repository
from cosmos_cli.checkpoints.hub_cache import IN_CACHE, cached_bytes
from cosmos_cli.commands.formats import show_formats
from cosmos_cli.commands.options import CheckpointDir
from cosmos_cli.flags import JsonFlag

app = typer.Typer(invoke_without_command=True, subcommand_metavar="")


@app.callback()
def models(
    checkpoint_dir: CheckpointDir = DEFAULT_ROOT,
    formats: Annotated[bool, typer.Option("--formats", help="List in which shapes the files may be instead.")] = False,
    json: JsonFlag = False,
) -> None:
    """List every published model and data set, and whether its files are there. Example: cosmos models"""
    if formats:
        show_formats()
        return
    documents: list[dict[str, Any]] = []
    for family, catalogue in catalogues().items():
        for model, repositories in catalogue.items():
            parts = [_part(repository, checkpoint_dir) for repository in repositories]
            document: dict[str, Any] = {
                "name": f"{family}/{model}",
                "family": family,
                "state": _state(repositories, checkpoint_dir),
            }
            document |= {key: sum(part[key] for part in parts) for key in _AMOUNTS}
            documents.append({**document, "repositories": parts})
    rows = [_row(document["name"], document, document["repositories"]) for document in documents]
    data_sets = [_part(repository, checkpoint_dir) for repository in DATA_SETS]
    rows += [_row(part["repository"], part, [part]) for part in data_sets]
    notes = dict.fromkeys(part["note"] for document in documents for part in document["repositories"] if part["note"])
    text = output.table(("MODEL", "SIZE", "STATE", "MISSING", "OPTIONAL", "LICENCES"), rows)
    output.result(
        "\n".join([text, *(f"Note: {note}." for note in notes)]),
        {"checkpoint_dir": str(checkpoint_dir), "models": documents, "data_sets": data_sets},
    )


_AMOUNTS = ("bytes", "missing_bytes", "optional_missing_bytes", "hub_cache_bytes")


def _row(name: str, document: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    total, missing, optional, cached = (f"{document[key] / 1e9:.1f} GB" if document[key] else "-" for key in _AMOUNTS)
    if optional == "0.0 GB":  # some small file, which nobody need look for
        optional = "-"
    licences = "; ".join(dict.fromkeys(part["licence"] for part in parts))
    state = document["state"]
    if document["hub_cache_bytes"]:
        state += f", {cached} {IN_CACHE}"
    return name, total, state, missing, optional, licences


def _state(repositories: Iterable[Repository], root: Path) -> str:
    """Whether what every run opens is there. Nobody knows whether what is optional is published."""
    known = list(repositories)
    if not any(repository.missing(root) for repository in known):
        return "present"
    return "partial" if any(repository.has_any(root) for repository in known) else "missing"


def _part(repository: Repository, root: Path) -> dict[str, Any]:
    missing, optional = repository.missing(root), repository.optional_missing(root)
    is_optional = all(file.is_optional for file in repository.files)
    return {
        "repository": repository.name,
        "revision": repository.revision,
        "licence": repository.licence,
        "gated": repository.gated,
        "state": "missing" if is_optional and not repository.has_any(root) else _state([repository], root),
        "bytes": repository.num_bytes,
        "missing_bytes": sum(file.num_bytes for file in missing),
        "missing_files": [file.path for file in missing],
        "optional_missing_bytes": sum(file.num_bytes for file in optional),
        "optional_missing_files": [file.path for file in optional],
        "hub_cache_bytes": cached_bytes(repository, missing),
        "note": repository.note,
    }
