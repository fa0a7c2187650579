"""`cosmos demo`: a video with each family, and one page that shows them."""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cosmos_cli import interrupts, main, output, registry
from cosmos_cli.commands.options import as_meant
from cosmos_cli.demo.run import make_all
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.flags import JsonFlag
from cosmos_cli.registered import Extension

app = typer.Typer(
    invoke_without_command=True,
    subcommand_metavar="",
    # a group would take options that follow a name for names
    context_settings={"allow_interspersed_args": True},
)

_LARGEST_SEED = 2**31 - 1


@app.callback()
def demo(
    parts: Annotated[list[str] | None, typer.Argument(help="Parts to make, by name; all of them by default.")] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", callback=as_meant, help="Folder of the videos and of the page.")
    ] = Path("cosmos-demo"),
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=_LARGEST_SEED, help="Seed of the worlds and of the noise.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make everything again, also what an earlier run has made.")
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser at the end.")] = False,
    json: JsonFlag = False,
) -> None:
    """Make a video with each family's tiny model, and one page that shows them. Example: cosmos demo"""
    report = make_all(_chosen(parts or []), output_dir, seed, _perform, overwrite=overwrite)
    output.result(report.summary(), report.document())
    if open_page:
        import webbrowser

        webbrowser.open(report.page.absolute().as_uri())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _chosen(names: Sequence[str]) -> list[Extension]:
    """The parts of these names, or all, in the order of their registration."""
    known = registry.current().extensions.get("demos", {})
    if unknown := [name for name in names if name not in known]:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise InputError(f"there is no part {unknown[0]!r}.", where="PARTS", fix=fix)
    return [part for name, part in known.items() if not names or name in names]


def _perform(arguments: Sequence[str]) -> None:
    """See `cosmos_cli.demo.run.Perform`. What the command prints as its result is not this command's."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = main.perform(arguments, registry.current())
    except Exception as error:
        # native code and broad handlers make other errors out of Ctrl-C
        if isinstance(error, typer.Abort) or interrupts.is_stopping():
            raise KeyboardInterrupt from error
        raise error if isinstance(error, CosmosError) else main.describe(error) from error
    finally:
        from cosmos_cli.runtime.memory.offload import release_memory

        release_memory()
    if code == interrupts.EXIT_CODE:
        raise KeyboardInterrupt
    if code:
        raise CosmosError(f"the command ended with exit code {code}.", fix="Run it alone to see why.")
