"""`cosmos predict2`: signatures and calls."""

from __future__ import annotations

from pathlib import Path

import typer

from cosmos_cli.errors import InputError
from cosmos_cli.generation import command
from cosmos_cli.request_options import request_options
from cosmos_cli.requests import as_request
from cosmos_cli.settings import Engines, OneOutput, Planning, Spreading
from cosmos_cli.training.command import add_commands
from cosmos_plugins.predict2.action.requests import ActionRequest, ActionSettings
from cosmos_plugins.predict2.critic.requests import CriticRequest, CriticSettings, Judging
from cosmos_plugins.predict2.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.predict2.text2image.requests import Text2ImageRequest, Text2ImageSettings
from cosmos_plugins.predict2.text2world.requests import Text2WorldRequest, Text2WorldSettings
from cosmos_plugins.predict2.video2world.requests import (
    BatchFile,
    BatchInput,
    BestOfNOptions,
    Video2WorldOptions,
    Video2WorldRequest,
    Video2WorldSettings,
    one_video_or_a_batch,
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def predict2() -> None:
    """Continue a picture or a clip as a video, guided by a prompt (Cosmos-Predict2)."""


@app.command()
@request_options(Video2WorldOptions, Video2WorldSettings, BatchInput, OneOutput, Spreading, check=one_video_or_a_batch)
def video2world(
    options: Video2WorldOptions,
    settings: Video2WorldSettings,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    """Make a video that begins with a picture or the end of a clip.

    Example: cosmos predict2 video2world --model tiny --input-path street.jpg --prompt "The bus drives off."
    """
    if batch_input.batch is not None:
        planning.check_batch()
        _run_batch(settings, options, batch_input.batch, batch_input.output_root, planning, spreading)
        return
    spreading.check_one()
    from cosmos_plugins.predict2.video2world import inputs

    command.run(inputs, settings, as_request(Video2WorldRequest, options), planning)


@app.command()
@request_options(BatchFile, Video2WorldOptions, Video2WorldSettings, Planning, Spreading)
def batch(
    rows: BatchFile,
    options: Video2WorldOptions,
    settings: Video2WorldSettings,
    planning: Planning,
    spreading: Spreading,
) -> None:
    """Make a video of every row of a file; started again, it goes on where it stopped.

    Example: cosmos predict2 batch batch_example.json --model-size 2B
    """
    _run_batch(settings, options, rows.file, rows.output_root, planning, spreading)


@app.command()
@request_options(BestOfNOptions, Judging, Video2WorldSettings, Planning, Engines)
def best_of_n(
    options: BestOfNOptions, judging: Judging, settings: Video2WorldSettings, planning: Planning, engines: Engines
) -> None:
    """Make several videos of one request, have a critic judge them, and rank them.

    Example: cosmos predict2 best-of-n --model tiny --input-path street.jpg --prompt "The bus drives off."
    """
    from cosmos_plugins.predict2.video2world.best_of_n import check_sharing, plan, run

    if planning.plan:
        command.tell_plan(lambda: plan(settings, options), planning, engines)
        return
    engine = None
    if not options.skip_generation:
        engine = command.ready_engine(settings, engines, lambda: check_sharing(settings, options))
    elif engines.num_workers is not None:
        raise InputError("is for videos that are to be made.", where="--num-workers", fix="Leave it out.")
    command.tell_report(run(settings, options, judging, engine=engine))


@app.command()
@request_options(CriticRequest, Judging, CriticSettings)
def critic(request: CriticRequest, judging: Judging, settings: CriticSettings) -> None:
    """Have a critic judge videos, and rank them; the scores go into their names.

    Example: cosmos predict2 critic output/my_existing_videos --critic measured
    """
    from cosmos_plugins.predict2.video2world.best_of_n import judge

    command.tell_report(judge(settings, request, judging))


@app.command()
@request_options(Text2ImageRequest, Text2ImageSettings, OneOutput)
def text2image(request: Text2ImageRequest, settings: Text2ImageSettings, planning: OneOutput) -> None:
    """Make a picture out of a prompt.

    Example: cosmos predict2 text2image --model tiny --prompt "A bus in the rain." --save-path bus.png
    """
    from cosmos_plugins.predict2.text2image import inputs

    command.run(inputs, settings, request, planning)


@app.command()
@request_options(Text2WorldRequest, Text2WorldSettings, OneOutput)
def text2world(request: Text2WorldRequest, settings: Text2WorldSettings, planning: OneOutput) -> None:
    """Make a video out of a prompt: first a picture, then a video that begins with it.

    Example: cosmos predict2 text2world --model tiny --prompt "A bus drives off in the rain."
    """
    from cosmos_plugins.predict2.text2world import inputs

    command.run(inputs, settings, request, planning)


@app.command()
@request_options(MultiviewRequest, MultiviewSettings, OneOutput)
def multiview(request: MultiviewRequest, settings: MultiviewSettings, planning: OneOutput) -> None:
    """Make what several cameras of a car see.

    Example: cosmos predict2 multiview --model tiny --input-path cameras --prompt "The car turns left."
    """
    from cosmos_plugins.predict2.multiview import inputs

    command.run(inputs, settings, request, planning)


@app.command()
@request_options(ActionRequest, ActionSettings, OneOutput)
def action(request: ActionRequest, settings: ActionSettings, planning: OneOutput) -> None:
    """Make what a robot's camera sees while the robot does what it is told.

    Example: cosmos predict2 action --model tiny --input-video rgb.mp4 --input-annotation 13.json
    """
    from cosmos_plugins.predict2.action import inputs

    command.run(inputs, settings, request, planning)


def _run_batch(
    settings: Video2WorldSettings,
    options: Video2WorldOptions,
    path: Path,
    root: Path,
    planning: Planning,
    spreading: Spreading,
) -> None:
    from cosmos_plugins.predict2.video2world.batch import check_workers, plan, run

    if planning.plan:
        command.tell_plan(lambda: plan(settings, options, path, root), planning, spreading)
        return
    given = settings, options, path, root
    command.make_many(
        settings,
        lambda **how: run(*given, **how),
        check=lambda share: check_workers(*given, share=share),
        spreading=spreading,
    )


add_commands(app, "predict2", tiny_root="cosmos_cli.generation.variants:TINY_ROOT")
