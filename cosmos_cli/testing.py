"""Running `cosmos` in tests: the project's own and those of plugin authors."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from cosmos_cli import main


@dataclass(frozen=True)
class CommandResult:
    """What a command line did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The document that `--json` printed."""
        return json.loads(self.stdout)


def run_cosmos(*arguments: object) -> CommandResult:
    """Run one `cosmos` command line in this process.

    >>> run_cosmos("plugins", "list", "--json").json["plugins"][0]["name"]
    'predict2'
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        exit_code = main.run([str(argument) for argument in arguments])
    return CommandResult(exit_code, stdout.getvalue(), stderr.getvalue())
