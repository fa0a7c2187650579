"""What the models that ship make of worlds that no training saw, beside untrained weights and beside the truth.

`python -m benchmarks quality` makes clips through the same pipelines as the commands, at the defaults of the tiny
models, measures them against the rendered worlds that they shall show, and prints a line for each measure with what it
must and shall reach. On one core 50 clips of a part take some minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.quality_rows.rows import Row

PARTS = {
    "tokenizers": "tokenizers",
    "video2world": "video2world",
    "transfer": "transfer",
    "multiview": "multiview",
    "best-of": "best_of",
}
"""Parts to the modules that measure them."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)

    from benchmarks.quality_rows.asked import Asked
    from benchmarks.quality_rows.rows import table
    from benchmarks.quality_rows.weights import taken_from

    asked = Asked(of_requests=dict(options.set), keep=options.keep, on_clip=_dot)
    names = list(PARTS) if "all" in options.part else options.part
    rows: list[Row] = []
    with taken_from(options.checkpoint_dir):
        for name in names:
            module, start = importlib.import_module(f"benchmarks.quality_rows.{PARTS[name]}"), time.monotonic()
            found = module.measure(replace(asked, num_clips=options.clips or module.NUM_CLIPS))
            rows += found
            print(f"\n{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
            if options.json is not None:  # after each part, so that nothing measured is lost
                document = {"rows": [row.document() for row in rows]}
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            print(table(found), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", nargs="+", default=["all"], choices=[*PARTS, "all"], help="what to measure")
    parser.add_argument("--clips", type=_positive, metavar="N", help="of each part; 50, and 25 of multiview")
    parser.add_argument(
        "--checkpoint-dir", type=_folder, metavar="FOLDER", help="files to take in place of those that ship"
    )
    parser.add_argument(
        "--set", nargs="+", type=_field, default=[], metavar="FIELD=VALUE", help="of requests, such as num_steps=10"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was generated, a .npz for each part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


def _field(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text} is not FIELD=VALUE")
    return name, value


def _dot() -> None:
    print(".", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
