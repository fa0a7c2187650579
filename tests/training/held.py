"""A training that waits at a step, so that whoever is to kill it is never too late: `python -m` this, a step, a line.

What it does beside its steps, such as saving, goes on.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.report import Log


def hold_at(step: int) -> None:
    """Have this process wait once it has told of a step, until it is killed."""
    tell = Log.step

    def held(self: Log, iteration: int, **told: Any) -> None:
        tell(self, iteration, **told)
        while iteration >= step:
            signal.pause()

    Log.step = held  # type: ignore[method-assign]


if __name__ == "__main__":
    hold_at(int(sys.argv[1]))
    sys.exit(run_cosmos(*sys.argv[2:]).exit_code)
