"""`cosmos workbench`: a page to set up runs by eye, watch them and compare them."""

from __future__ import annotations

from pathlib import Path

import typer

from cosmos_cli import interrupts, output
from cosmos_cli.request_options import request_options
from cosmos_cli.settings import ParallelSettings
from cosmos_cli.workbench.options import USED, WorkbenchOptions, machine_of

app = typer.Typer(invoke_without_command=True, subcommand_metavar="")


@app.callback()
@request_options(WorkbenchOptions, ParallelSettings, used=USED)
def workbench(options: WorkbenchOptions, settings: ParallelSettings) -> None:
    """Open a page to set up runs by eye, watch them and compare them; it is for this machine alone.

    Example: cosmos workbench --folder clips --open
    """
    from cosmos_cli.files.failures import writing
    from cosmos_cli.runtime.machine import check_device
    from cosmos_cli.workbench.bench import opened
    from cosmos_cli.workbench.folders import Folders
    from cosmos_cli.workbench.kind import kinds
    from cosmos_cli.workbench.serving import check_installed, listening, serve

    check_installed()
    settings.check_single()
    check_device(settings.device)
    Folders(options.folder)  # before anything is made

    def tell(address: str) -> None:
        output.result(f"workbench: {address}\nCtrl-C stops it.", {"status": "ok", "address": address})
        if options.open:
            import webbrowser

            webbrowser.open(address)

    try:
        with listening(options.port) as listener:
            with writing(options.output_dir):
                options.output_dir.mkdir(parents=True, exist_ok=True)
            seen = Folders([*(options.folder or [Path.cwd()]), options.output_dir])
            with opened(seen, options.output_dir, machine_of(settings), kinds()) as bench:
                serve(bench, listener, tell)
    except KeyboardInterrupt:
        if interrupts.is_stopping():
            interrupts.leave()  # the end would wait for threads that still look at a long clip
        raise
