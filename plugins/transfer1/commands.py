"""`cosmos transfer`: signatures and calls."""

from __future__ import annotations

import typer

from cosmos_cli import output
from cosmos_cli.requests import request_options
from cosmos_plugins.transfer1.requests import TransferRequest, TransferSettings
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

app = typer.Typer(no_args_is_help=True)


@app.callback()
def transfer() -> None:
    """Turn a video into another world under edge, depth, seg and blur control (Cosmos-Transfer1)."""


@app.command()
@request_options(TransferRequest, TransferSettings, files=[CONTROLNET_SPECS])
def run(request: TransferRequest, settings: TransferSettings) -> None:
    """Make one video from an input video, a prompt and controls.

    Example: cosmos transfer run --model tiny --input-video-path street.mp4 --controlnet-specs edge.json
    """
    from cosmos_plugins.transfer1.inputs import prepare

    # before the pipeline is even imported: a wrong request costs no time
    sample = prepare(settings, request)

    from cosmos_plugins.transfer1.pipeline import TransferPipeline

    result = TransferPipeline.load(settings, request).generate(sample)
    output.result(result.summary(), {"status": "ok", **result.document()})
