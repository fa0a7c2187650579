"""`cosmos models`: what is published, and what of it is in the checkpoint folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli import output
from cosmos_cli.checkpoints.catalogue import DATA_SETS, DEFAULT_ROOT, Repository
from cosmos_cli.commands.catalogues import catalogues
from cosmos_cli.commands.formats import show_formats
from cosmos_cli.commands.options import CheckpointDir

app = typer.Typer(invoke_without_command=True, subcommand_metavar="")


@app.callback()
def models(
    checkpoint_dir: CheckpointDir = DEFAULT_ROOT,
    formats: Annotated[bool, typer.Option("--formats", help="List in which shapes the files may be instead.")] = False,
    json: output.JsonFlag = False,
) -> None:
    """List every published model and data set, and whether its files are there. Example: cosmos models"""
    if formats:
        show_formats()
        return
    documents = []
    for family, catalogue in catalogues().items():
        for model, repositories in catalogue.items():
            parts = [_part(repository, checkpoint_dir) for repository in repositories]
            missing, total = (sum(part[key] for part in parts) for key in ("missing_bytes", "bytes"))
            states = {part["state"] for part in parts}
            state = states.pop() if len(states) == 1 else "partial"
            document = {"name": f"{family}/{model}", "family": family, "state": state, "bytes": total}
            documents.append({**document, "missing_bytes": missing, "repositories": parts})
    rows = [_row(document["name"], document, document["repositories"]) for document in documents]
    data_sets = [_part(repository, checkpoint_dir) for repository in DATA_SETS]
    rows += [_row(part["repository"], part, [part]) for part in data_sets]
    output.result(
        output.table(("MODEL", "SIZE", "STATE", "MISSING", "LICENCES"), rows),
        {"checkpoint_dir": str(checkpoint_dir), "models": documents, "data_sets": data_sets},
    )


def _row(name: str, document: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return (
        name,
        f"{document['bytes'] / 1e9:.1f} GB",
        document["state"],
        f"{document['missing_bytes'] / 1e9:.1f} GB" if document["missing_bytes"] else "-",
        "; ".join(dict.fromkeys(part["licence"] for part in parts)),
    )


def _part(repository: Repository, root: Path) -> dict[str, Any]:
    missing = repository.missing(root)
    states = {0: "present", len(repository.files): "missing"}
    return {
        "repository": repository.name,
        "revision": repository.revision,
        "licence": repository.licence,
        "gated": repository.gated,
        "state": states.get(len(missing), "partial"),
        "bytes": repository.num_bytes,
        "missing_bytes": sum(file.num_bytes for file in missing),
        "missing_files": [file.path for file in missing],
    }
