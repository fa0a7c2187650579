"""`cosmos drift`: signatures and calls."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from cosmos_cli import output
from cosmos_cli.batch.engine import Worker, run_batch
from cosmos_cli.batch.manifest import Row, beside
from cosmos_cli.batch.plan import Item, plan_batch
from cosmos_cli.generation.identity import work_key
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import request_document, validate
from cosmos_drift.requests import DriftBatch, DriftDownload, DriftRequest, DriftSettings, DriftTraining

app = typer.Typer(no_args_is_help=True)


@app.command()
@request_options(DriftRequest, DriftSettings)
def run(request: DriftRequest, settings: DriftSettings) -> None:
    """Continue one picture. Example: cosmos drift run --input-path street.png --prompt "A street." """
    from cosmos_drift.pipeline import DriftPipeline

    result = DriftPipeline.load(settings)(request)
    output.result(str(result.video), {"status": "ok", **result.document()})


@app.command()
@request_options(DriftBatch, DriftSettings)
def batch(many: DriftBatch, settings: DriftSettings) -> None:
    """Continue many pictures. Example: cosmos drift batch streets.jsonl"""

    def to_item(row: Row) -> Item[DriftRequest]:
        [request] = validate([DriftRequest], row.values, where=row.place)
        assert isinstance(request, DriftRequest)
        folder = many.file.parent
        request = request.model_copy(
            update={"input_path": beside(folder, request.input_path), "save_path": folder / request.save_path}
        )
        return Item(
            name=request.save_path.stem,
            place=row.place,
            index=row.index,
            request=request,
            files=(request.save_path, request.save_path.with_suffix(".json")),
            key=work_key(request_document(settings, request), [request.input_path]),
        )

    def load(_requests: Sequence[DriftRequest]) -> Worker:
        from cosmos_drift.pipeline import DriftPipeline

        return DriftPipeline.load(settings)

    report = run_batch(plan_batch(many.file, to_item), load, ledger=many.file.with_suffix(".ledger.jsonl"))
    output.result(report.summary(), report.document())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


@app.command()
@request_options(DriftTraining)
def post_train(training: DriftTraining) -> None:
    """Learn the velocity of a clip. Example: cosmos drift post-train --input-path drive.mp4"""
    from cosmos_drift.training import fit

    fitted = fit(training)
    output.result(f"{training.weights}: {fitted}", {"status": "ok", "weights": str(training.weights), **vars(fitted)})


@app.command()
@request_options(DriftDownload)
def download(wanted: DriftDownload) -> None:
    """Fetch the published velocity. Example: cosmos drift download"""
    from cosmos_drift.checkpoints import fetch

    fetch(wanted.hub, wanted.weights)
    output.result(str(wanted.weights), {"status": "ok", "weights": str(wanted.weights)})
