"""How help is laid out: options in panels, all of them only with `--help-all`. Drawn plainly: Rich takes its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from cosmos_cli import output

INPUT, CONTROLS, GENERATION, OUTPUT = "Input", "Controls", "Generation", "Output"
MACHINE, GPUS, OLD, HELP = "Machine and memory", "Several GPUs", "Old names", "Help"
OPTIONS = "Options"
"""All options of a command that says of none where it stands."""
PANELS = (INPUT, CONTROLS, GENERATION, OUTPUT, MACHINE, GPUS, OPTIONS, OLD, HELP)
"""In the order in which help shows them."""

MAX_SHOWN = 16
"""Options that help shows where there are more, about: those that a command calls usual."""

_COLUMN = 28
_SHOWS_ALL = "cosmos_cli.help.all"

_FEW = 6
"""Options that need no panels."""

_OF_PANEL = {
    INPUT: (
        "negative_prompt",
        "batch",
        "batch_input_path",
        "dataset_path",
        "from_file",
        "controlnet_specs",
        "experiment",
    ),
    GENERATION: ("prompt_upsampler_dir",),
    OUTPUT: ("overwrite", "preview", "numbered", "output_root", "benchmark", "schema", "json", "dry_run", "report"),
    MACHINE: (
        *("checkpoint_dir", "cache_dir", "device", "precision", "attention", "compile", "deterministic", "max_memory"),
        *("plan", "gpu_memory", "text_encoder", "downcast_text_encoder"),
    ),
    GPUS: ("num_gpus", "parallel", "engine", "num_workers", "share", "cp_size", "slurm", "nodes", "time_limit"),
}
_PANEL_OF = {name: panel for panel, names in _OF_PANEL.items() for name in names}
_PANEL_OF_PREFIX = {
    **dict.fromkeys(("prompt", "input_", "source"), INPUT),
    **dict.fromkeys(("video_save_", "save_", "output_"), OUTPUT),
    "offload_": MACHINE,
}
_USUAL = {
    *("prompt", "input_path", "input_video_path", "input_image_or_video_path", "dataset_path", "controlnet_specs"),
    *("model_size", "num_steps", "seed", "video_save_folder", "video_save_name", "save_path", "output_path"),
    *("checkpoint_dir", "max_memory", "num_gpus", "plan", "experiment", "dry_run"),
}
"""Names that mean the same in every family; what only one has says itself where it belongs."""


class Panel(str):
    """The panel of an option; Typer keeps it with the option as it is.

    is_usual: whether help shows the option without being asked for all.
    old_names: further names of the option, which have a panel of their own.
    """

    is_usual: bool
    old_names: tuple[str, ...]

    def __new__(cls, name: str, *, is_usual: bool = False, old_names: tuple[str, ...] = ()) -> Panel:
        panel = super().__new__(cls, name)
        panel.is_usual, panel.old_names = is_usual, old_names
        return panel


def panel_of(name: str, *, panel: str | None = None, is_usual: bool = False, old_names: tuple[str, ...] = ()) -> Panel:
    """Where the option of a field stands.

    Args:
        panel: where its model says so.
        is_usual: whether it is to be seen at once; names that all families have are anyway.
    """
    by_prefix = (found for prefix, found in _PANEL_OF_PREFIX.items() if name.startswith(prefix))
    found = panel or _PANEL_OF.get(name) or next(by_prefix, GENERATION)
    return Panel(found, is_usual=found != OLD and (is_usual or name in _USUAL), old_names=old_names)


def _show_all(context: typer.Context, value: bool) -> None:
    if value:
        context.meta[_SHOWS_ALL] = True
        output.text(context.get_help())
        raise typer.Exit()


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", is_eager=True, callback=_show_all, rich_help_panel=HELP, help="Show all options and exit."
    ),
]
"""Annotation of a parameter of a command with many options; the command itself need not look at it."""


class Command(TyperCommand):
    """A command whose help has its options in panels, and its example on a line of its own, to be copied."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        text, _, example = (self.help or "").partition("Example: ")
        if text.strip():
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(text.strip())
        if example:
            formatter.write(f"\n  Example:\n    {' '.join(example.split())}\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A group whose help has its options in panels, and says of each command its whole first sentence."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_panels(self.get_params(ctx), ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        shown = [(name, command) for name in self.list_commands(ctx) if not (command := self.commands[name]).hidden]
        if shown:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.get_short_help_str(limit=1000)) for name, command in shown])


def lay_out(app: typer.Typer) -> None:
    """Have the help of an app and of all below it laid out so, with the options that plugins bring to its commands."""
    app.rich_markup_mode = None
    app.pretty_exceptions_enable = False
    app.info.cls = Group
    for command in app.registered_commands:
        command.cls = Command
        getattr(command.callback, "renew_options", lambda: None)()
    for group in app.registered_groups:
        if group.typer_instance is not None:
            lay_out(group.typer_instance)


def _write_panels(params: Sequence[Any], ctx: Any, formatter: Any) -> None:
    arguments: list[tuple[str, str]] = []
    usual: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
    unusual: dict[str, list[tuple[str, str]]] = {name: [] for name in PANELS}
    shown = [(param, record) for param in params if (record := param.get_help_record(ctx)) is not None]
    options = [param for param, _ in shown if param.param_type_name == "option" and param.name != "help"]
    has_panels = len(options) > _FEW and all(getattr(option, "rich_help_panel", None) for option in options)
    for param, (names, help) in shown:
        panel = getattr(param, "rich_help_panel", None)
        if param.param_type_name == "argument":
            arguments.append((names.partition(" <")[0], help))  # the Python type tells a reader nothing
            continue
        for old in getattr(panel, "old_names", ()):
            names = names.replace(f", {old}", "")
            unusual[OLD].append((old, f"The same as {param.opts[0]}."))
        is_help = panel == HELP or param.name == "help"
        is_usual = is_help or not has_panels or getattr(panel, "is_usual", True)
        heading = HELP if has_panels and is_help else str(panel) if has_panels else OPTIONS
        (usual if is_usual else unusual).setdefault(heading, []).append((names, help))
    num_usual = sum(len(rows) for name, rows in usual.items() if name != HELP)
    num_unusual = sum(map(len, unusual.values()))
    if ctx.meta.get(_SHOWS_ALL) or num_usual + num_unusual <= MAX_SHOWN:
        for name, rows in unusual.items():
            usual.setdefault(name, []).extend(rows)
        num_unusual = 0
    if not any(rows for name, rows in usual.items() if name != HELP):
        usual = {OPTIONS: usual[HELP]}
    _write(arguments, usual, formatter)
    if num_unusual:
        formatter.write_paragraph()
        formatter.write_text(f"{num_unusual} more options: {ctx.command_path} --help-all")


def _write(arguments: list[tuple[str, str]], panels: dict[str, list[tuple[str, str]]], formatter: Any) -> None:
    sections = {"Arguments": arguments, **panels}
    names = [name for rows in sections.values() for name, _ in rows if len(name) <= _COLUMN]
    width = max(map(len, names), default=0)
    for heading, rows in sections.items():
        if rows:
            with formatter.section(heading):
                # one column for all panels
                formatter.write_dl([(name.ljust(width), help) for name, help in rows], col_max=width)
