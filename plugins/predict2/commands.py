"""`cosmos predict2`: signatures and calls."""

from __future__ import annotations

import typer

from cosmos_cli import output
from cosmos_cli.requests import request_options
from cosmos_plugins.predict2.requests import Video2WorldRequest, Video2WorldSettings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def predict2() -> None:
    """Continue a picture or a clip as a video, guided by a prompt (Cosmos-Predict2)."""


@app.command()
@request_options(Video2WorldRequest, Video2WorldSettings)
def video2world(request: Video2WorldRequest, settings: Video2WorldSettings) -> None:
    """Make a video that begins with a picture or the end of a clip.

    Example: cosmos predict2 video2world --model tiny --input-path street.jpg --prompt "The bus drives off."
    """
    from cosmos_plugins.predict2.inputs import prepare

    # before the pipeline is even imported: a wrong request costs no time
    sample = prepare(settings, request)

    from cosmos_plugins.predict2.pipeline import Video2WorldPipeline

    result = Video2WorldPipeline.load(settings).generate(sample)
    output.result(result.summary(), {"status": "ok", **result.document()})
