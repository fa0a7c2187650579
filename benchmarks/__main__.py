"""`python -m benchmarks [NAME...]`: every CPU benchmark, or those named, as one table of ratios ours/peer."""

from __future__ import annotations

import argparse
import ast
import importlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = (
    "startup",
    "minimal_dit",
    "general_dit",
    "wan_vae",
    "cosmos_tokenizer",
    "controls",
    "guided",
    "worlds",
    "batch",
    "ray_batch",
    "parallel",
    "planning",
)
OTHERS = ("quality", "gpu")
"""Have options of their own: what the tiny models are worth, and what a GPU makes of the large ones."""


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in OTHERS:
        return int(importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:]))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(["benchmarks:", *(f"  {name:17} {_first_line(name)}" for name in (*NAMES, *OTHERS))]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all but {' and '.join(OTHERS)} if none is given")
    names = parser.parse_args(arguments).names
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join((*NAMES, *OTHERS))}")
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; below 1 is better")
    print(f"{'benchmark':66} {'ours':>9} {'peer':>9} {'':4} {'ratio':>6}")
    for name in names or NAMES:
        rows: list[dict[str, Any]] = importlib.import_module(f"benchmarks.{name}").run()
        for row in rows:
            print(
                f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.2f}",
                flush=True,
            )
    return 0


def _first_line(name: str) -> str:
    """What a benchmark says of itself, without importing what it measures."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
