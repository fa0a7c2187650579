"""What a user can fix, and the exit code it costs.

Every error says what happened, where (which file, field or option) and what to do next. Only `main`
turns one into a panel and an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, in which file or field, and the way out."""

    what: str
    where: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f" {self.fix}" if self.fix else "")


class CosmosError(Exception):
    """Something failed while running. Subclasses narrow the cause and set the exit code.

    Args:
        what: what happened, one sentence.
        where: the file, field or option it happened in.
        fix: what the user can do next.
        others: further problems found in the same pass, so that one run reports them all.
    """

    exit_code = 1
    title = "Failed"

    def __init__(
        self, what: str, *, where: str | None = None, fix: str | None = None, others: Iterable[Problem] = ()
    ) -> None:
        self.problems = [Problem(what, where, fix), *others]
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def from_problems(cls, problems: Iterable[Problem]) -> CosmosError:
        """One error that reports several problems, each once, in the order given. There must be at least one."""
        first, *rest = dict.fromkeys(problems)
        return cls(first.what, where=first.where, fix=first.fix, others=rest)


class InputError(CosmosError):
    """Wrong usage, or an input that cannot be used. Exit code 2."""

    exit_code = 2
    title = "Bad input"


class GuardrailBlocked(CosmosError):
    """A guardrail refused the prompt or the video, or could not decide. Exit code 3."""

    exit_code = 3
    title = "Blocked by a guardrail"


class CheckpointError(CosmosError):
    """A checkpoint is missing, damaged, hostile, or of another network. Exit code 4."""

    exit_code = 4
    title = "Checkpoint missing or damaged"


class DiskFull(CosmosError):
    """There is no room to write. Exit code 1."""

    title = "Disk full"


class TooLittleMemory(CosmosError):
    """The host, or a device, has no memory left. Exit code 1."""

    title = "Out of memory"


def defect(error: Exception, *, fix: str = "COSMOS_DEBUG=1 shows where it comes from.") -> CosmosError:
    """What nobody has foreseen, as an error of its own. fix: how to see more of it."""
    found = CosmosError(f"{type(error).__name__}: {error}", fix=f"This is a defect of cosmos or of a plugin. {fix}")
    found.__cause__ = error
    return found


def met_at(error: Exception, rank: int) -> Exception:
    """The error, as one that several processes share because the one of this rank has met it."""
    error.__dict__["met_by"] = rank
    return error


def met_by(error: BaseException | None) -> int | None:
    """The rank that has met an error which several processes share; None for one that this process has by itself."""
    while error is not None:
        if (rank := error.__dict__.get("met_by")) is not None:
            return int(rank)
        error = error.__cause__
    return None


def exit_code_of(statuses: Iterable[str]) -> int:
    """Of several pieces of work: 0, or 1 if one `failed`, or 3 if all that is missing was `blocked` by guardrails."""
    found = set(statuses)
    if "failed" in found:
        return CosmosError.exit_code
    return GuardrailBlocked.exit_code if "blocked" in found else 0


def report_together(*checks: Callable[[], object]) -> None:
    """Run independent checks of one input and raise a single InputError with all that they found.

    Raises:
        InputError: at least one check raised it; other errors pass through at once.
    """
    problems: list[Problem] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.from_problems(problems)
