"""`cosmos drift`: signatures and calls."""

from __future__ import annotations

import typer

from cosmos_cli import output
from cosmos_cli.errors import CosmosError
from cosmos_cli.requests import read_manifest, request_options
from cosmos_drift.requests import DriftBatch, DriftDownload, DriftRequest, DriftSettings, DriftTraining

app = typer.Typer(no_args_is_help=True)


@app.command()
@request_options(DriftRequest, DriftSettings)
def run(request: DriftRequest, settings: DriftSettings) -> None:
    """Continue one picture. Example: cosmos drift run --input-path street.png --prompt "A street." """
    from cosmos_drift.pipeline import DriftPipeline

    video = DriftPipeline.load(settings)(request)
    output.result(str(video), {"status": "ok", "video": str(video)})


@app.command()
@request_options(DriftBatch, DriftSettings)
def batch(many: DriftBatch, settings: DriftSettings) -> None:
    """Continue many pictures; videos that are there already are skipped.

    Example: cosmos drift batch --manifest streets.jsonl
    """
    requests = read_manifest(many.manifest, DriftRequest)

    from cosmos_drift.pipeline import DriftPipeline

    pipeline = DriftPipeline.load(settings)
    samples = []
    for request in requests:
        sample = {"video": str(request.save_path), "status": "ok", "error": ""}
        if request.save_path.exists() and not request.overwrite:
            sample["status"] = "skipped"
        else:
            try:
                pipeline(request)
            except CosmosError as error:
                sample |= {"status": "failed", "error": str(error)}
        samples.append(sample)
    rows = [(sample["video"], sample["status"], sample["error"]) for sample in samples]
    output.result(output.table(("VIDEO", "STATUS", "ERROR"), rows), {"samples": samples})
    if any(sample["status"] == "failed" for sample in samples):
        raise typer.Exit(CosmosError.exit_code)


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
