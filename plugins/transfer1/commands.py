"""`cosmos transfer`: signatures and calls."""

from __future__ import annotations

from pathlib import Path

import typer

from cosmos_cli import output
from cosmos_cli.generation import command
from cosmos_cli.request_options import request_options
from cosmos_cli.runtime.machine import check_device
from cosmos_cli.settings import OneOutput, Planning, Spreading
from cosmos_cli.training.command import add_commands
from cosmos_plugins.transfer1.control_options import CONTROL_OPTIONS
from cosmos_plugins.transfer1.guided.requests import GUIDED_SPECS, DemoEpisode, GuidedRequest, GuidedSettings
from cosmos_plugins.transfer1.multiview.requests import MultiviewRequest, MultiviewSettings
from cosmos_plugins.transfer1.multiview.spec import MULTIVIEW_SPECS
from cosmos_plugins.transfer1.prompts.requests import PromptsRequest, PromptsSettings
from cosmos_plugins.transfer1.requests import OF_ANNOTATIONS, BatchFile, BatchInput, TransferRequest, TransferSettings
from cosmos_plugins.transfer1.robot_weights import RobotWeightsRequest
from cosmos_plugins.transfer1.spec import CONTROLNET_SPECS

app = typer.Typer(no_args_is_help=True)


@app.callback()
def transfer() -> None:
    """Turn a video into another world under edge, depth, seg and blur control (Cosmos-Transfer1)."""


@app.command()
@request_options(
    TransferRequest,
    TransferSettings,
    BatchInput,
    OneOutput,
    Spreading,
    files=[CONTROLNET_SPECS],
    groups=[CONTROL_OPTIONS],
)
def run(
    request: TransferRequest,
    settings: TransferSettings,
    batch_input: BatchInput,
    planning: OneOutput,
    spreading: Spreading,
) -> None:
    """Make one video from an input video, a prompt and controls.

    Example: cosmos transfer run --model tiny --edge 0.5 --input-video-path street.mp4
    """
    if batch_input.batch_input_path is not None:
        planning.check_batch()
        _run_batch(settings, request, batch_input.batch_input_path, planning, spreading)
        return
    spreading.check_one()
    from cosmos_plugins.transfer1 import inputs

    command.run(inputs, settings, request, planning)


@app.command()
@request_options(
    BatchFile,
    TransferRequest,
    TransferSettings,
    Planning,
    Spreading,
    files=[CONTROLNET_SPECS],
    groups=[CONTROL_OPTIONS],
)
def batch(
    rows: BatchFile, request: TransferRequest, settings: TransferSettings, planning: Planning, spreading: Spreading
) -> None:
    """Make a video of every row of a JSON Lines file; started again, it goes on where it stopped.

    Example: cosmos transfer batch streets.jsonl --edge 0.5 --video-save-folder out
    """
    _run_batch(settings, request, rows.file, planning, spreading)


@app.command()
@request_options(
    TransferRequest, TransferSettings, files=[CONTROLNET_SPECS], groups=[CONTROL_OPTIONS], used=OF_ANNOTATIONS
)
def annotate(request: TransferRequest, settings: TransferSettings) -> None:
    """Make the control videos and weight maps alone, and show them side by side.

    What else `run` takes has no effect here. Example: cosmos transfer annotate --edge --input-video-path street.mp4
    """
    check_device(settings.device)
    from cosmos_plugins.transfer1.annotate import annotate as make_annotations

    made = make_annotations(settings, request)
    output.result(made.summary(), {"status": "ok", **made.document()})


@app.command()
@request_options(MultiviewRequest, MultiviewSettings, OneOutput, files=[MULTIVIEW_SPECS])
def multiview(request: MultiviewRequest, settings: MultiviewSettings, planning: OneOutput) -> None:
    """Make the videos of all cameras of a car out of that of the front camera.

    Example: cosmos transfer multiview --model tiny --view-condition-video front.mp4 --controlnet-specs hdmap.json
    """
    from cosmos_plugins.transfer1.multiview import inputs

    command.run(inputs, settings, request, planning)


@app.command()
@request_options(GuidedRequest, GuidedSettings, DemoEpisode, Planning, Spreading, files=[GUIDED_SPECS])
def guided(
    request: GuidedRequest, settings: GuidedSettings, demo: DemoEpisode, planning: Planning, spreading: Spreading
) -> None:
    """Make simulated episodes of two cameras realistic, with the robot and the phantom left as they are.

    Example: cosmos transfer guided --model tiny --source-data-dir episodes --output-data-dir out
    """
    if demo.demo_episode is not None:
        from cosmos_plugins.transfer1.guided.demo import write_demo

        made = write_demo(demo, overwrite=request.overwrite)
        output.result(made.summary(), made.document())
        return
    from cosmos_plugins.transfer1.guided import batch as episodes

    if planning.plan:
        command.tell_plan(lambda: episodes.plan(settings, request), planning, spreading)
        return
    given = settings, request
    command.make_many(
        settings,
        lambda **how: episodes.run(*given, **how),
        check=lambda share: episodes.check_workers(*given, share=share),
        spreading=spreading,
    )


@app.command()
@request_options(RobotWeightsRequest)
def robot_weights(request: RobotWeightsRequest) -> None:
    """Make weight maps that keep a robot and let the scene around it change.

    Example: cosmos transfer robot-weights --input-dir examples --output-dir weights
    """
    from cosmos_plugins.transfer1.robot_weights import make_weights

    report = make_weights(request)
    command.tell_report(report)


@app.command()
@request_options(PromptsRequest, PromptsSettings)
def prompts(request: PromptsRequest, settings: PromptsSettings) -> None:
    """Have a chat model write prompts for the two cameras of simulated episodes.

    Example: cosmos transfer prompts --num-prompts 50 --model google/gemma-3-27b-it --save-path prompts.json
    """
    from cosmos_plugins.transfer1.prompts.making import make_prompts

    command.tell_report(make_prompts(settings, request))


def _run_batch(
    settings: TransferSettings, request: TransferRequest, path: Path, planning: Planning, spreading: Spreading
) -> None:
    from cosmos_plugins.transfer1.batch import check_workers, plan
    from cosmos_plugins.transfer1.batch import run as run_rows

    if planning.plan:
        command.tell_plan(lambda: plan(settings, request, path), planning, spreading)
        return
    given = settings, request, path
    command.make_many(
        settings,
        lambda **how: run_rows(*given, **how),
        check=lambda share: check_workers(*given, share=share),
        spreading=spreading,
    )


add_commands(app, "transfer", tiny_root="cosmos_cli.generation.variants:TINY_ROOT")
