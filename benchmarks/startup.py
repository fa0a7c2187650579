"""Start-up of the command line: `cosmos --help` beside `python -c "import typer"` and `hf --help`.

`python -m benchmarks.startup` runs each as a whole process in turn and compares medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NUM_REPEATS = 21

SCRIPTS = Path(sys.executable).parent
COMMANDS = {
    "ours": [str(SCRIPTS / "cosmos"), "--help"],
    'python -c "import typer"': [sys.executable, "-c", "import typer"],
    "hf --help": [str(SCRIPTS / "hf"), "--help"],
}


def measure() -> dict[str, float]:
    """Median wall seconds of each command, the commands taking turns after one warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(NUM_REPEATS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            )
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours`, `peer`, `ratio` and `unit`; a ratio is ours/peer, below 1 is better."""
    seconds = measure()
    ours = seconds.pop("ours")
    return [
        {
            "name": f"start-up: cosmos --help against {name}",
            "ours": ours,
            "peer": peer,
            "ratio": ours / peer,
            "unit": "s",
        }
        for name, peer in seconds.items()
    ]
