"""Checks of prompts and videos: what a guardrail is, and how they are run. They fail closed.

Of several processes that make a video together one checks, and its verdict holds for all; the others load nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, GuardrailBlocked
from cosmos_cli.runtime.workers.agreement import agree, is_alone

if TYPE_CHECKING:
    import numpy as np

Result = TypeVar("Result")

_MANY = 100
"""Requests of which nobody waits for the prompts without being told."""


class Guardrail(Protocol):
    """One safety check; plugins register a factory with the hook `cosmos_register_guardrails`.

    One whose networks are large may have a method `release()`: let go of them until they are needed again.
    """

    def check_prompt(self, prompt: str) -> None:
        """Return if the prompt may be used.

        Raises:
            GuardrailBlocked: it may not; name the rule, the words that matched and the score.
        """

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """The frames that may be written, uint8 RGB: as they came, or with parts made unrecognisable.

        Raises:
            GuardrailBlocked: the video may not be written; name the rule, the frames and the score.
        """


class Guardrails:
    """All guardrails of a run, applied in their order.

    Args:
        checks: name to guardrail, or what builds them where they are needed; none if the user has disabled them.
        gap: what is not checked, in words; empty if nothing is left out.
    """

    def __init__(
        self, checks: Mapping[str, Guardrail] | Callable[[], Mapping[str, Guardrail]], *, gap: str = ""
    ) -> None:
        self._build = checks if callable(checks) else lambda: checks
        self.gap = gap
        self._verdicts: dict[str, GuardrailBlocked | None] = {}

    @property
    def names(self) -> list[str]:
        """The checks that run; empty if none does."""
        return list(self._checks)

    def load(self) -> None:
        """Build the checks, in a process that checks, before other networks take the memory.

        Raises:
            CheckpointError: files of a guardrail are missing or damaged.
        """
        _ = self._checks

    def check_prompt(self, prompt: str) -> None:
        """Raises GuardrailBlocked if any guardrail refuses the prompt or cannot decide; each prompt is checked once."""
        agree(lambda: self._check_once(prompt), "checking the prompt")

    def check_ahead(self, requests: Iterable[Iterable[str]]) -> None:
        """Check the prompts of all requests before anything else is loaded; what that takes is let go afterwards.

        Args:
            requests: the prompts of each.
        Raises:
            GuardrailBlocked: none of the requests may be made.
            CheckpointError: as for `load`.
        """
        # verdicts go to all, for who checks later may be another
        self._verdicts |= agree(lambda: self._look_ahead(requests), "checking all prompts")

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """The frames after every guardrail. Raises GuardrailBlocked like `check_prompt`."""
        if is_alone():
            return self._checked(frames_FHWC)
        changed, made_FHWC = agree(
            lambda: _difference(frames_FHWC, self._checked(frames_FHWC)), "checking what was made"
        )
        if not len(changed):
            return frames_FHWC
        checked_FHWC = frames_FHWC.copy()
        checked_FHWC[changed] = made_FHWC
        return checked_FHWC

    @cached_property
    def _checks(self) -> dict[str, Guardrail]:
        checks = dict(self._build())
        for name, check in checks.items():
            # before anything is made: what it lacks would else be found when a video is done
            if not all(callable(getattr(check, method, None)) for method in ("check_prompt", "check_video")):
                raise GuardrailBlocked(
                    "is no guardrail: it lacks check_prompt or check_video.", where=f"guardrail {name}"
                )
        return checks

    def _check_once(self, prompt: str) -> None:
        if prompt not in self._verdicts:
            self._verdicts[prompt] = self._verdict(prompt)
        if blocked := self._verdicts[prompt]:
            raise blocked

    def _look_ahead(self, requests: Iterable[Iterable[str]]) -> dict[str, GuardrailBlocked | None]:
        """The verdict on every prompt that was looked at; raises as `check_ahead`."""
        self.load()
        requests = list(requests)
        shown = output.progress("Checking the prompts", len(requests), "rows") if len(requests) > _MANY else None
        with shown or nullcontext(lambda: None) as advance:
            verdicts = []
            for prompts in requests:
                verdicts.append(self._first_refusal(prompts))
                advance()
        for name, check in self._checks.items():
            if release := getattr(check, "release", None):
                _closed(name, release)
        if verdicts and all(verdicts):
            raise verdicts[0]  # type: ignore[misc]  # none of them is None
        return self._verdicts

    def _checked(self, frames_FHWC: np.ndarray) -> np.ndarray:
        for name, check in self._checks.items():
            frames_FHWC = _closed(name, lambda check=check, frames=frames_FHWC: _checked_by(check, frames))  # type: ignore[misc]
        return frames_FHWC

    def _verdict(self, prompt: str) -> GuardrailBlocked | None:
        try:
            for name, check in self._checks.items():
                _closed(name, lambda check=check: _passed_by(check, prompt))  # type: ignore[misc]
        except GuardrailBlocked as blocked:
            return blocked
        return None

    def _first_refusal(self, prompts: Iterable[str]) -> GuardrailBlocked | None:
        for prompt in prompts:
            try:
                self._check_once(prompt)
            except GuardrailBlocked as blocked:
                return blocked
        return None


def _difference(frames_FHWC: np.ndarray, checked_FHWC: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which frames a check has changed, and what they are now."""
    changed = [
        number
        for number, (before, after) in enumerate(zip(frames_FHWC, checked_FHWC, strict=True))
        if before is not after and (before != after).any()
    ]
    return changed, checked_FHWC[changed]


def _passed_by(check: Guardrail, prompt: str) -> None:
    answer: object = check.check_prompt(prompt)  # type: ignore[func-returns-value]
    if answer is not None:  # "False" may be meant to refuse
        raise GuardrailBlocked(f"returned {type(answer).__name__} for a prompt; it has to return nothing, or to raise.")


def _checked_by(check: Guardrail, frames_FHWC: np.ndarray) -> np.ndarray:
    checked_FHWC = check.check_video(frames_FHWC)
    if [getattr(checked_FHWC, key, None) for key in ("shape", "dtype")] != [frames_FHWC.shape, frames_FHWC.dtype]:
        raise GuardrailBlocked("returned no video of the same shape and type.")
    return checked_FHWC


def _closed(name: str, check: Callable[[], Result]) -> Result:
    """Run a check; one that breaks counts as a refusal, and every refusal says whose it is.

    Raises:
        GuardrailBlocked: it refuses, or anything else went wrong.
        CheckpointError: its weights are missing or damaged, for which there is more to do than to change the prompt.
    """
    place = f"guardrail {name}"
    try:
        return check()
    except GuardrailBlocked as refusal:
        named = [replace(problem, where=problem.where or place) for problem in refusal.problems]
        raise GuardrailBlocked.from_problems(named) from refusal
    except (CheckpointError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit(0) too would end the run as if all were well
        reason = f"{type(error).__name__}: {error}".rstrip(".: ")
        raise GuardrailBlocked(f"could not run and so blocks: {reason}.", where=place) from error
