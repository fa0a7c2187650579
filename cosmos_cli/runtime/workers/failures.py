"""What the workers of one command tell about their ends, and which of these ends was the cause of the others."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cosmos_cli.errors import CosmosError, Problem, met_by
from cosmos_cli.runtime.memory.steps import OutOfMemory
from cosmos_cli.runtime.workers.beats import Silence

Kind = Literal["error", "out of memory", "lost contact", "no answer", "interrupted", "exit"]


@dataclass(frozen=True)
class Ending:
    """How one worker ended with another exit code than 0.

    kind: an error of its own; one that all workers can start again from; that another worker was gone; that one does
        not answer; a signal; or in good order.
    exit_code: of the command if this worker is the cause.
    time: in s since the epoch; None if it told nothing, but was found dead.
    death: the signal or the exit code of a worker that told nothing.
    below: out of memory, what all can start again with, in words.
    met_by: the rank that met the error, if all agreed on it.
    """

    rank: int
    kind: Kind
    exit_code: int = 1
    title: str = CosmosError.title
    problems: tuple[Problem, ...] = ()
    step: str = ""
    time: float | None = None
    death: int | None = None
    below: str = ""
    met_by: int | None = None

    @classmethod
    def of_error(cls, rank: int, error: CosmosError, step: str) -> Ending:
        """An error, raised in this process just now."""
        kind: Kind = "lost contact" if _lost_contact(error) else "error"
        problems, met = tuple(error.problems), met_by(error)
        ending = cls(rank, kind, error.exit_code, error.title, problems, step, time.time(), met_by=met)
        if isinstance(error, OutOfMemory):
            return replace(ending, kind="out of memory" if error.below else "error", below=error.below or "")
        return ending

    @classmethod
    def no_answer(cls, silence: Silence) -> Ending:
        """That of a worker that cannot tell itself, told by another or by the launcher."""
        where = f", since {silence.step!r}" if silence.step else ""
        problem = Problem(
            f"does not answer: nothing was heard of it for {silence.seconds:.0f} s{where}.",
            fix="It was stopped (SIGSTOP, a debugger), or hangs in a driver; now it is ended. Start the command again.",
        )
        return cls(silence.rank, "no answer", problems=(problem,), time=time.time(), met_by=silence.rank)

    def write(self, path: Path) -> None:
        """Write it in the form in which torch elastic expects errors of workers, and so understands it too."""
        from cosmos_cli.files.writing import replacing

        message = "; ".join(str(problem) for problem in self.problems) or self.kind
        extra = {"timestamp": str(int(self.time or 0)), "py_callstack": f"{message} (at: {self.step or 'start'})"}
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps({"message": {"message": message, "extraInfo": extra}, "cosmos": asdict(self)})
            )

    @classmethod
    def read(cls, rank: int, exit_code: int, document: dict[str, Any], *, step: str, last_words: str) -> Ending:
        """What became of a worker.

        Args:
            exit_code: of its process; negative if a signal ended it.
            document: what it told, or anything else if it told nothing.
            step: where it was when last heard of.
            last_words: what it wrote to stderr last.
        """
        if told := document.get("cosmos"):
            problems = tuple(Problem(**problem) for problem in told["problems"])
            return replace(cls(**{**told, "problems": problems}), rank=rank)
        return cls(rank, "error", problems=(_death(exit_code, step, last_words),), step=step, death=exit_code)

    def error(self) -> CosmosError | None:
        """For the panel of the command; None if there is nothing to be said."""
        if self.kind == "exit":
            return None
        if self.kind == "interrupted":
            where = f" at {self.step!r}" if self.step else ""
            return CosmosError(f"rank {self.rank} was stopped{where}; this ended the others too.")
        failure = at_rank(CosmosError.from_problems(self.problems), self.rank if self.met_by is None else self.met_by)
        failure.exit_code, failure.title = self.exit_code, self.title
        return failure


def first_cause(endings: Sequence[Ending]) -> Ending:
    """The ending that caused the others.

    Args:
        endings: in the order in which the launcher noticed them; at least one.
    """

    def suspicion(ending: Ending) -> int:
        if ending.kind == "no answer":
            return -1  # whoever tells of it has ended that one
        if ending.death is None:
            is_own = ending.met_by in (None, ending.rank)
            return 2 if ending.kind not in ("error", "out of memory", "exit") else 0 if is_own else 1
        if -ending.death in (signal.SIGTERM, signal.SIGALRM):
            return 3  # so end workers that the launcher ends
        return 1 if -ending.death == signal.SIGABRT else 0  # NCCL aborts a process whose peers are gone

    most = min(map(suspicion, endings))
    suspects = [ending for ending in endings if suspicion(ending) == most]
    if suspects[0].time is None:
        return suspects[0]
    return min((ending for ending in suspects if ending.time is not None), key=lambda ending: ending.time or 0)


def at_rank(error: CosmosError, rank: int) -> CosmosError:
    """The same error, saying which worker met it."""
    problems = [replace(problem, what=f"rank {rank}: {problem.what}") for problem in error.problems]
    named = CosmosError.from_problems(problems)
    named.exit_code, named.title = error.exit_code, error.title
    return named


def _death(exit_code: int, step: str, last_words: str) -> Problem:
    where = f" at {step!r}" if step else ""
    quoted = f" Its last words: {last_words}" if last_words else ""
    if exit_code >= 0:
        return Problem(f"ended with exit code {exit_code}{where} and said no reason.{quoted}")
    name = signal.Signals(-exit_code).name
    if name == "SIGKILL":  # it had no time for last words
        return Problem(f"was killed (SIGKILL){where}.", fix="The system kills a process so when memory runs out.")
    return Problem(f"was killed ({name}){where}.{quoted}")


def _lost_contact(error: BaseException | None) -> bool:
    """The error is what torch.distributed raises when another worker is gone."""
    while error is not None:
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
        # gloo has no class of its own for it
        if "torch.distributed.DistError" in kinds or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
