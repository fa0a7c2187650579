"""Tables and panels as plain text that keeps to a width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from cosmos_cli.errors import Problem

_UNBOUNDED = 1 << 20
_LEAST = 20
"""Columns that a terminal has at least; some say 0."""

_IN_TICKS = re.compile(r"`[^`\n]+`")
_COMMAND = re.compile(r"(cosmos|pip|apt|hf|python|torchrun) \S")
_AFTER_COLON = re.compile(rf"(?<=:) (?={_COMMAND.pattern})")
_TIE = "\0"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> str:
    """Left-aligned columns, two spaces apart. What is too wide goes on in another line of its own column.

    Args:
        columns: their titles; all empty for none.
        width: in cells of a terminal; None for as wide as it gets.
    """
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, show_header=any(columns), show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title in columns:
        shown.add_column(Text(title), overflow="fold")
    for row in rows:
        shown.add_row(*map(Text, row))
    file = io.StringIO()
    cells = _UNBOUNDED if width is None else max(width, _LEAST)
    Console(file=file, width=cells, color_system=None, force_terminal=False, legacy_windows=False).print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def panel(title: str, problems: Sequence[Problem], width: int, *, is_plain: bool) -> Iterator[tuple[str, str]]:
    """Lines and the style of each: what is wrong, in which place, and what to do.

    Rules stand above and below, and nothing beside, so that what is copied is what was meant. A command
    after a colon stands on a line of its own; commands and paths are never broken, however long.

    Args:
        is_plain: ASCII only.
    """
    line, *corners = ("-", "+", "+", "+", "+") if is_plain else ("─", "╭", "╮", "╰", "╯")
    width = max(width, _LEAST)
    yield f"{corners[0]}{line} {title} ".ljust(width - 1, line) + corners[1], "red"
    for number, problem in enumerate(problems):
        if number:
            yield "", ""
        for text, style in ((problem.where, "bold"), (problem.what, ""), (problem.fix, "green")):
            for shown in _wrapped(text or "", width):
                yield shown, style
    yield corners[2] + line * (width - 2) + corners[3], "red"


def _wrapped(text: str, width: int) -> Iterator[str]:
    for line in _AFTER_COLON.sub("\n", text).splitlines():
        if _COMMAND.match(line):
            yield line
            continue
        # within a command there is nothing to break at
        tied = _IN_TICKS.sub(lambda found: found.group().replace(" ", _TIE), line)
        indent = " " * (len(line) - len(line.lstrip()))
        pieces = textwrap.wrap(tied, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for piece in pieces or [""]:
            yield piece.replace(_TIE, " ")
