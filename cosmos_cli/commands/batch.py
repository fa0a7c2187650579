"""`cosmos batch`: how far batches are, whoever makes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.missing import exists, is_file
from cosmos_cli.flags import JsonFlag

app = typer.Typer(help="Look at batches that run, or have run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Look at batches that run, or have run."""


@app.command()
def status(
    path: Annotated[Path, typer.Argument(help="A ledger, or a folder with ledgers: where the videos go.")],
    json: JsonFlag = False,
) -> None:
    """Tell what became of every item. Example: cosmos batch status outputs/drives"""
    batches = [_batch(ledger) for ledger in _ledgers(_meant(path))]
    output.result("\n\n".join(_told(batch) for batch in batches), {"status": "ok", "batches": batches})


@app.command()
def report(
    path: Annotated[Path, typer.Argument(help="A folder with ledgers, or one of them: where the videos go.")],
    json: JsonFlag = False,
) -> None:
    """Write the page of a folder's batches anew. Example: cosmos batch report outputs/drives"""
    from cosmos_cli.batch.ledger import ENDING
    from cosmos_cli.batch.page import write_page

    path = _meant(path)
    page = write_page(path.parent if path.is_file() or path.name.endswith(ENDING) else path)
    output.result(f"report: {page}", {"status": "ok", "report": str(page)})


def _meant(path: Path) -> Path:
    from cosmos_cli.files.paths import given_anywhere

    try:
        return given_anywhere(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _ledgers(path: Path) -> list[Path]:
    from cosmos_cli.batch.ledger import ENDING, find_ledgers

    if path.name.endswith(ENDING) and exists(path):
        return [path]
    found = find_ledgers(path) if not is_file(path) else []
    if not found:
        is_none = is_file(path) or not exists(path)
        what = "is no folder and no ledger." if is_none else "holds no ledger of a batch."
        raise InputError(what, where=str(path), fix="Name the folder that the batch writes to.")
    return found


def _batch(path: Path) -> dict[str, Any]:
    """A ledger as a document; an item that was begun is being made as long as its batch runs."""
    from cosmos_cli.batch.ledger import is_in_use, read_ledger, state

    runs = is_in_use(path)
    items = []
    for entry in read_ledger(path).entries():
        has_ended = entry.status in ("done", "failed", "blocked") and entry.time
        seconds = round(entry.seconds, 3) if has_ended else None
        told = {"status": state(entry, runs=runs), "seconds": seconds, "time": entry.time, "error": entry.error}
        items.append({"name": entry.name, **told})
    return {"ledger": str(path), "runs": runs, "items": items, "counts": dict(Counter(i["status"] for i in items))}


def _told(batch: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(batch["counts"].items())) or "nothing begun"
    state = "runs" if batch["runs"] else "does not run now"
    rows = [
        (i["name"], i["status"], "" if i["seconds"] is None else f"{i['seconds']:.1f} s", i["time"], i["error"])
        for i in batch["items"]
    ]
    lines = f"{batch['ledger']} {state}: {counts}"
    return f"{lines}\n{output.table(('ITEM', 'STATUS', 'TIME', 'LAST CHANGE', 'ERROR'), rows)}" if rows else lines
