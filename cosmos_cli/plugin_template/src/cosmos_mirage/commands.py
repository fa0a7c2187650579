"""`cosmos mirage`: signatures and calls. What is heavy is imported when a command runs."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from cosmos_cli import output
from cosmos_cli.batch.engine import Report, Worker, run_batch
from cosmos_cli.batch.engines import Engine
from cosmos_cli.batch.manifest import Row, beside
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.generation.command import make_many
from cosmos_cli.generation.identity import work_key
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import request_document, validate
from cosmos_cli.runtime.workers.share import Share
from cosmos_cli.settings import Spreading
from cosmos_cli.training.command import add_commands
from cosmos_mirage.requests import MirageBatch, MirageRequest, MirageSettings

app = typer.Typer(no_args_is_help=True)
add_commands(app, "mirage", tiny_root="cosmos_cli.generation.variants:TINY_ROOT")


@app.command()
@request_options(MirageRequest, MirageSettings)
def run(request: MirageRequest, settings: MirageSettings) -> None:
    """Continue one picture. Example: cosmos mirage run --weights trained --input-path a.png --prompt "A street." """
    from cosmos_mirage.pipeline import MiragePipeline

    result = MiragePipeline.load(settings)(request)
    output.result(str(result.video), {"status": "ok", **result.document()})


@app.command()
@request_options(MirageBatch, MirageSettings, Spreading)
def batch(many: MirageBatch, settings: MirageSettings, spreading: Spreading) -> None:
    """Continue many pictures; started again, it goes on where it stopped. Example: cosmos mirage batch a.jsonl"""

    def to_item(row: Row) -> Item[MirageRequest]:
        [request] = validate([MirageRequest], row.values, where=row.place)
        assert isinstance(request, MirageRequest)
        folder = many.file.parent
        paths = {"input_path": beside(folder, request.input_path), "save_path": folder / request.save_path}
        request = request.model_copy(update=paths)
        return Item(
            name=request.save_path.stem,
            place=row.place,
            index=row.index,
            request=request,
            files=(request.save_path, request.save_path.with_suffix(".json")),
            # what decides what the video shows: when any of it changes, the video is made anew
            key=work_key(request_document(settings, request), [request.input_path]),
        )

    def load(_requests: Sequence[MirageRequest]) -> Worker:
        from cosmos_mirage.pipeline import MiragePipeline

        return MiragePipeline.load(settings)

    def run(engine: Engine | None, share: Share | None) -> Report:
        ledger = many.file.with_suffix(".ledger.jsonl")
        rows = plan_batch(many.file, to_item, share=share)
        return run_batch(rows, load, ledger=ledger, engine=engine, share=share)

    make_many(settings, run, spreading=spreading)
