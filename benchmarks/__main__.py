"""`python -m benchmarks [NAME...]`: every CPU benchmark, or those named, as one table of ratios ours/peer."""

from __future__ import annotations

import importlib
import platform
import sys
from typing import Any

NAMES = (
    "startup",
    "minimal_dit",
    "general_dit",
    "wan_vae",
    "cosmos_tokenizer",
    "controls",
    "batch",
    "parallel",
    "planning",
)


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
