"""The Typer root: registered families become a lazy command tree; errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cosmos_cli import __version__, help, interrupts, output, registry
from cosmos_cli.errors import CosmosError, InputError, TooLittleMemory, defect
from cosmos_cli.import_strings import resolve
from cosmos_cli.registered import CORE_COMMANDS, Family, Registry
from cosmos_cli.runtime.memory.host import WAY_OUT, is_too_little
from cosmos_cli.runtime.workers import rank, worker

HELP = "Run, batch and post-train the Cosmos world-foundation-model families."
EPILOG = """
Examples:

\b
{examples}

Underscores work as well as dashes: --num_steps is --num-steps.

Guides: README.md, and docs/ beside it.
"""


def main() -> NoReturn:
    """The whole life of a `cosmos` process; its script begins in `cosmos_cli.__main__`."""
    output.keep_streams()
    interrupts.begin()
    worker.begin()
    sys.exit(interrupts.interruptible(lambda: worker.exit_code(_told(run(sys.argv[1:]))), _stop))


def _told(code: int) -> int:
    """The exit code of a command that ended so, once it is known whether its results could be told."""
    if lost := output.lost_stdout():
        if not isinstance(lost, BrokenPipeError):  # `cosmos ... | head`: its reader wants no more
            what = f"could not write to stdout: {lost.strerror}."
            _fail(CosmosError(what, fix="What was made is kept; send stdout elsewhere."))
        return code or 1
    return code


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Nothing else in the project exits."""
    completing = "_COSMOS_COMPLETE" in os.environ
    output.configure(speaking=not completing, mute=worker.is_mute())
    rank.remember(arguments)
    if "--json" in arguments:
        # decided before parsing, so that a usage error is a document too
        output.use_json(True)
    try:
        registry.current.cache_clear()
        found = registry.current()
        if not completing:
            for fault in found.faults:
                output.status(f"warning: {fault}")
        code = perform(arguments, found)
        return _stop() if code == interrupts.EXIT_CODE else code
    except (KeyboardInterrupt, typer.Abort):  # Abort: a question was answered with no, or with Ctrl-C
        return _stop()
    except CosmosError as error:
        return _fail(error)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # Typer's way of showing the help of a bare group
            output.text(error.ctx.get_help())  # type: ignore[attr-defined]
            return InputError.exit_code
        return _fail(describe(error))


def perform(arguments: Sequence[str], found: Registry) -> int:
    """Run one command line, also within another, and return its exit code; what goes wrong is raised as it is.

    Ctrl-C is the exit code of interrupts or an exception, as Typer pleases.
    """
    # the user's shell decides the program name of completion scripts, so it is fixed here
    code = build_app(found)(args=list(arguments), prog_name="cosmos", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _stop() -> int:
    if worker.interrupted():
        output.status(interrupts.MESSAGE)
    return interrupts.EXIT_CODE


def _fail(error: CosmosError) -> int:
    if interrupts.is_stopping():  # native code and broad handlers make other errors out of it
        return _stop()
    if os.environ.get("COSMOS_DEBUG") == "1":
        import traceback

        output.trace(traceback.format_exc())
    if to_print := worker.fail(error):
        output.error(to_print)
    return error.exit_code


def describe(error: Exception) -> CosmosError:
    """A panel for what was not raised as a CosmosError: wrong usage, found by Typer, what is closed, or a defect."""
    if isinstance(error, typer.BadParameter.__mro__[1]):  # Typer's UsageError, which it does not export
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "cosmos"
        return InputError(error.format_message(), where=path, fix=f"See `{path} --help`.")  # type: ignore[attr-defined]
    if is_too_little(error):
        return TooLittleMemory("The system gave no more memory.", fix=WAY_OUT)
    if isinstance(error, PermissionError) and error.filename is not None:
        what = "is closed to you: Permission denied."
        return CosmosError(what, where=os.fsdecode(error.filename), fix="Change its rights, or name another.")
    return defect(error)


def build_app(found: Registry) -> typer.Typer:
    """The command tree. Families are groups that import their commands when they are entered."""
    examples = [f"  cosmos {family.example}" for family in found.families.values() if family.example]
    app = typer.Typer(
        name="cosmos",
        cls=_Root,
        help=HELP,
        epilog=EPILOG.format(examples="\n".join(examples[:2])),
        rich_markup_mode=None,  # rich-drawn help costs 70 ms on every --help
        pretty_exceptions_enable=False,
        # both --num-steps and --num_steps: users paste command lines of the original scripts
        context_settings={
            "token_normalize_func": lambda token: token.replace("_", "-"),
            "help_option_names": ["--help", "-h"],
            "max_content_width": 100,
        },
    )
    app.callback(invoke_without_command=True)(_root)
    for family in (*found.families.values(), *CORE_COMMANDS.values()):
        app.add_typer(typer.Typer(cls=_lazy_group(family), help=family.help), name=family.name)
    return app


class _Root(help.Group):
    def invoke(self, ctx: Any) -> None:
        super().invoke(ctx)  # what a command returns is not an exit code


def _print_version(value: bool) -> None:
    if value:
        output.text(f"cosmos {__version__}")
        raise typer.Exit()


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        output.text(context.get_help())


def _with_values(group: TyperGroup, args: list[str]) -> list[str]:
    from cosmos_cli.request_options import (
        with_values,  # what parses requests takes its time, and a command loads it anyway
    )

    command = group.commands.get(args[0].replace("_", "-")) if args else None
    return (
        args
        if command is None
        else with_values({name: each.metavar for each in command.params for name in each.opts}, args)
    )


def _lazy_group(family: Family) -> type[TyperGroup]:
    """A group that shows its one line of help for free and becomes the family's own group when entered."""

    class LazyGroup(help.Group):
        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
            app = resolve(family.commands, needed_by=f"plugin {family.plugin}")
            help.lay_out(app)
            group = typer.main.get_group(app)
            group.help = group.help or family.help
            if family.checkpoints is not None and "download" not in group.commands:
                for_family = resolve("cosmos_cli.commands.download:for_family", needed_by="cosmos")
                group.add_command(for_family(family.name))
            return group.make_context(info_name, _with_values(group, args), parent=parent, **extra)

    return LazyGroup
