"""What every example of whatever kind must keep: an allowed exit code, one panel in our words, and an end in time.

`FUZZ_EXAMPLES` asks for more examples of each kind than the suite takes; with it, every run tries others.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, configuration, settings

from cosmos_cli.errors import CosmosError
from cosmos_cli.testing import CommandResult, run_cosmos

# hypothesis keeps tables of Unicode even where it keeps no examples
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"hypothesis-{os.getuid()}")

NUM_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
DEADLINE_S = 60
"""Of one example: hundreds of times what it takes, since others may use the machine."""

examples = settings(
    max_examples=NUM_EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
"""For `@examples` above `@given`."""

Test = TypeVar("Test", bound=Callable[..., Any])


def fuzz(test: Test) -> Test:
    """Mark a test as one of a kind of input, which takes some ten seconds."""
    return pytest.mark.slow(examples(test))


class Hangs(BaseException):
    """An example does not end. No `except Exception` stops it."""


@contextmanager
def in_time(seconds: float = DEADLINE_S) -> Iterator[None]:
    """Raises Hangs: the block takes longer. Native code that never returns ends the whole process, by SIGALRM."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
        raise Hangs(f"after {seconds} s at\n" + "".join(traceback.format_stack(limit=12)))

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(*arguments: str, codes: Collection[int] = (0, 2)) -> CommandResult:
    """Run a command line; codes: how it may end."""
    with in_time():
        result = run_cosmos(*arguments)
    said = " ".join(result.stderr.replace("│", " ").split())
    assert "is a defect of cosmos" not in said, (arguments, said)
    assert "Traceback (most recent call last)" not in said, (arguments, said)
    assert result.exit_code in codes, (arguments, result.exit_code, said)
    if result.exit_code and "--json" not in arguments:
        assert len(re.findall("^╭", result.stderr, re.MULTILINE)) == 1, (arguments, result.stderr)
    return result


def refuses(read: Callable[[], Any], kind: type[CosmosError] | tuple[type[CosmosError], ...]) -> Any:
    """What a reader returns, or the error that it raises, which is of this kind and says something."""
    with in_time():
        try:
            return read()
        except kind as error:
            assert all(problem.what.strip() for problem in error.problems)
            return error


def in_bounds(read: Callable[[], Any], kind: type[CosmosError]) -> Any:
    """As `refuses`, in three gigabytes more than are taken."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + (3 << 30), before[1]))
    try:
        return refuses(read, kind)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
