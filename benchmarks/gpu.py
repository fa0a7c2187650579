"""Full-size networks with random weights on a CUDA device: seconds of a denoising step, TFLOP/s and peak memory.

`python benchmarks/gpu.py` from the project's folder measures row by row, the most valuable first, each within two
minutes: Predict2 2B and 14B, Transfer1 with 1 and 4 controls, on the device and streamed, attention backends,
torch.compile, tokenizers, several cameras, and diffusers' networks where diffusers is installed. It needs torch and
this folder, no installation. Every row is kept as it ends, so the next call goes on where this one stopped. --list
shows all rows and what they would take, without a GPU and without torch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.gpu_rows.rows import Row, all_rows, chosen  # noqa: E402

RESULTS = ROOT / "output" / "gpu.jsonl"
PAGE = ROOT / "benchmarks" / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        rows = chosen(all_rows(), [*options.rows, *options.again])
    except ValueError as error:
        parser.error(str(error))
    if options.smoke and options.write:
        parser.error("--smoke measures nothing worth writing down")
    if options.list:
        from benchmarks.gpu_rows.tables import dry_list

        print(dry_list(rows))
        return 0
    return _measure(rows, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print what each row needs and would take; runs nothing")
    parser.add_argument("--rows", nargs="+", default=[], metavar="PATTERN", help="these only, such as 'transfer-*'")
    parser.add_argument("--again", nargs="+", default=[], metavar="PATTERN", help="these only, measured or not")
    parser.add_argument("--results", type=Path, help=f"where rows are kept; {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--any-code", action="store_true", help="rows that an earlier state of the code did are done")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="begin no row that might not end by then")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, any device: does the benchmark itself run?")
    return parser


def _measure(rows: list[Row], options: argparse.Namespace) -> int:
    begin = time.monotonic()
    import torch

    from benchmarks.gpu_rows import card, tables
    from benchmarks.gpu_rows.results import Identity, Results, best, code_fingerprint
    from benchmarks.gpu_rows.running import run

    if not (options.smoke or torch.cuda.is_available()):
        print("no CUDA device here; --smoke runs the same code at toy size, --list shows the rows", file=sys.stderr)
        return 2
    device = card.chosen_device()
    name = f"{card.name_of(device)}{', toy sizes' * options.smoke}"
    identity = Identity(name, torch.__version__, code_fingerprint())
    # what is only a smoke test is not kept, unless somebody says where
    results = Results(options.results or (Path(tempfile.mkdtemp()) / RESULTS.name if options.smoke else RESULTS))
    if options.smoke:
        rows = [replace(row, case=row.case.toy()) for row in rows]
    print(f"{identity.device}, torch {identity.torch}, code {identity.code}; kept in {results.path}", flush=True)
    code = run(
        rows,
        device,
        identity,
        results,
        redo={row.id for row in chosen(rows, options.again)} if options.again else (),
        any_code=options.any_code,
        end=None if options.time_limit is None else begin + options.time_limit,
    )
    if options.write:
        own = best(record for record in results.read() if identity.fits(record, any_code=True))
        if own:
            tables.write_section(PAGE, tables.section(all_rows(), own, identity.device, identity.torch))
            print(f"{PAGE.relative_to(ROOT)} holds the table")
    return code


if __name__ == "__main__":
    from cosmos_cli.output import keep_streams

    keep_streams()  # who pipes a list into `head` has read enough, and a row that is measured goes on
    sys.exit(main())
