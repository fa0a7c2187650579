"""Prompts for the two views, many at a time: `cosmos transfer prompts`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CheckpointError, CosmosError, GuardrailBlocked, InputError, Problem, report_together
from cosmos_cli.files.missing import exists
from cosmos_cli.files.names import same_file
from cosmos_cli.files.outputs import check_writable, claim
from cosmos_cli.files.writing import write_json
from cosmos_cli.generation.settings import UNGUARDED
from cosmos_cli.runtime.machine import check_device
from cosmos_plugins.transfer1.prompts.meta_prompts import keep_written, read_meta_prompts, read_written, written_path
from cosmos_plugins.transfer1.prompts.models import check_model, find_model, open_model
from cosmos_plugins.transfer1.prompts.report import PromptOutcome, PromptsReport
from cosmos_plugins.transfer1.prompts.requests import DEFAULT_SCENE, PromptsRequest, PromptsSettings
from cosmos_plugins.transfer1.prompts.side_by_side import side_by_side
from cosmos_plugins.transfer1.prompts.two_views import TwoViewPrompt, read_prompts
from cosmos_plugins.transfer1.prompts.writing import NoUsableAnswer, Writer

if TYPE_CHECKING:
    from cosmos_cli.guardrails import Guardrails

Check = Callable[[str], None]
"""Raises GuardrailBlocked: a text is refused."""

MAX_SILENT = 3
"""Meta prompts in a row that the model does not answer at all, before the others are not asked."""
_WRITING_SHARE = 0.05
"""Of the time at most that goes into writing the file again and again."""


def make_prompts(settings: PromptsSettings, request: PromptsRequest) -> PromptsReport:
    """Write the prompts of all meta prompts into the file; one that fails costs itself only.

    What the file holds is kept, so that a run that was stopped goes on where it was.

    Raises:
        InputError: all that is wrong with the request, the file of meta prompts, or the file that is there.
        CheckpointError: the model or the guardrails are missing or damaged.
        GuardrailBlocked: all meta prompts of the user's are refused.
        CosmosError: the model thinks of no meta prompts.
    """
    job = _checked(settings, request)
    if job.given is None or job.todo(job.given):
        with _claimed(job.outputs):
            _write_all(job, settings)
    assert job.given is not None
    return PromptsReport(request.save_path, len(job.made), tuple(job.outcomes[each] for each in job.given))


@dataclass
class _Job:
    """Where the work stands.

    given: the meta prompts; None as long as the model has not thought of them.
    earlier: the ones that it has thought of in an earlier run.
    made: what the file holds, or is about to.
    """

    request: PromptsRequest
    given: list[str] | None = None
    earlier: list[str] = field(default_factory=list)
    made: dict[str, TwoViewPrompt] = field(default_factory=dict)
    outcomes: dict[str, PromptOutcome] = field(default_factory=dict)
    _is_written: bool = True
    _written_at: float = 0.0
    _writing_took: float = 0.0

    @property
    def outputs(self) -> list[Path]:
        """The files that this run may write."""
        path = self.request.save_path
        return [path] if self.request.meta_prompts is not None else [path, written_path(path)]

    def todo(self, given: Sequence[str]) -> list[str]:
        """Those that the file does not hold yet."""
        known = {_key(meta_prompt) for meta_prompt in self.made}
        self.outcomes |= {each: PromptOutcome(each, "kept") for each in given if _key(each) in known}
        return [each for each in given if _key(each) not in known]

    def note(self, meta_prompt: str, prompts: TwoViewPrompt) -> None:
        self.made[meta_prompt] = prompts
        self.outcomes[meta_prompt] = PromptOutcome(meta_prompt, "ok")
        self._is_written = False

    def note_failure(self, meta_prompt: str, error: CosmosError) -> None:
        status: Literal["blocked", "failed"] = "blocked" if isinstance(error, GuardrailBlocked) else "failed"
        outcome = PromptOutcome(meta_prompt, status, " ".join(map(str, error.problems)))
        self.outcomes[meta_prompt] = outcome
        output.status(f"{meta_prompt}  {status}: {outcome.error}")

    def write(self, *, at_once: bool = False) -> None:
        """Write the file, unless that was done a moment ago: as things are asked for, whatever came first."""
        now = time.monotonic()
        is_due = at_once or now - self._written_at > self._writing_took / _WRITING_SHARE
        if self._is_written or not is_due:
            return
        assert self.given is not None
        asked = {_key(each) for each in self.given}
        others = [each for each in self.made if _key(each) not in asked]
        by_key = {_key(each): each for each in self.made}
        in_order = others + [by_key[key] for each in self.given if (key := _key(each)) in by_key]
        write_json(self.request.save_path, {each: self.made[each].model_dump() for each in in_order})
        self._is_written, self._written_at = True, time.monotonic()
        self._writing_took = self._written_at - now


def _key(meta_prompt: str) -> str:
    return " ".join(meta_prompt.split()).casefold()


def _checked(settings: PromptsSettings, request: PromptsRequest) -> _Job:
    """Everything that can be wrong before a model is asked. Raises InputError."""
    path, job = request.save_path, _Job(request)

    def check_meta_prompts() -> None:
        _check_source(request)
        if request.meta_prompts is not None:
            job.given = read_meta_prompts(request.meta_prompts)

    def check_output() -> None:
        if path.suffix.lower() != ".json":
            raise InputError(f"{path} does not end in .json.", where="--save-path", fix="Give such a name.")
        for file in job.outputs:
            check_writable(file, field="--save-path", overwrite=True)
        if request.meta_prompts is not None and same_file(request.meta_prompts) == same_file(path):
            raise InputError("is the file of --meta-prompts.", where="--save-path", fix="Choose another name.")

    def check_earlier() -> None:
        if request.overwrite:
            return
        if exists(path):
            job.made.update(_read_earlier(path))
        if request.meta_prompts is None:
            job.earlier = read_written(written_path(path), request.scene or DEFAULT_SCENE, request.seed)

    report_together(
        lambda: check_device(settings.device),
        lambda: check_model(settings),
        check_meta_prompts,
        check_output,
        check_earlier,
    )
    if request.num_prompts is not None and len(job.earlier) >= request.num_prompts:
        job.given = job.earlier[: request.num_prompts]
    return job


def _check_source(request: PromptsRequest) -> None:
    if (request.meta_prompts is None) == (request.num_prompts is None):
        what = "is required, or --num-prompts." if request.meta_prompts is None else "does not go with --num-prompts."
        raise InputError(what, where="--meta-prompts", fix="Give one of the two.")
    if request.meta_prompts is not None and request.scene is not None:
        raise InputError("has no effect with --meta-prompts.", where="--scene", fix="Leave it out.")


def _read_earlier(path: Path) -> dict[str, TwoViewPrompt]:
    try:
        return read_prompts(path)
    except InputError as error:
        way_out = Problem("It is not gone on with like this.", str(path), "Mend it, or pass --overwrite to begin anew.")
        raise InputError.from_problems([*error.problems, way_out]) from None


@contextmanager
def _claimed(paths: Iterable[Path]) -> Iterator[None]:
    """A block in which these files are this process's. Raises InputError: they are another's."""
    taken = claim(paths)
    try:
        with interrupts.at_leave(taken.release):
            yield
    finally:
        taken.release()


def _write_all(job: _Job, settings: PromptsSettings) -> None:
    request = job.request
    if settings.disable_guardrail:
        output.notice(UNGUARDED)
    with _computing(settings):
        guardrails = None if settings.disable_guardrail else _guardrails(settings)
        _check_files(settings, guardrails)
        if guardrails is not None and request.meta_prompts is not None and job.given is not None:
            guardrails.check_ahead([[each] for each in job.todo(job.given)])
        writer = Writer(open_model(settings), request.seed, request.temperature, request.max_new_tokens)
        if job.given is None:
            job.given = _thought_of(writer, job)
        check = _nothing if guardrails is None else guardrails.check_prompt
        try:
            _expand_all(writer, job, check, settings.num_parallel_requests if settings.server_url else 1)
        finally:
            job.write(at_once=True)


def _computing(settings: PromptsSettings) -> AbstractContextManager[None]:
    """A block in which this process computes, if it is to compute anything: who only asks a server need not wait."""
    if settings.server_url is not None and settings.disable_guardrail:
        return nullcontext()
    from cosmos_cli.runtime.devices import choose_device, computing

    return computing(choose_device(settings.device))


def _guardrails(settings: PromptsSettings) -> Guardrails:
    """Those for prompts, which are built when they are first needed."""
    from cosmos_cli.guardrails.choice import load_text_guardrails
    from cosmos_cli.runtime.devices import choose_device

    return load_text_guardrails(settings.checkpoint_dir, settings, device=choose_device(settings.device))


def _nothing(text: str) -> None:
    """Checks nothing."""


def _check_files(settings: PromptsSettings, guardrails: Guardrails | None) -> None:
    """Raises CheckpointError: all that is missing or damaged of the guardrails, and a model that is missing."""
    checks: list[Callable[[], object]] = [] if guardrails is None else [guardrails.load]
    if settings.server_url is None:
        checks.append(partial(find_model, settings))
    problems: list[Problem] = []
    for check in checks:
        try:
            check()
        except CheckpointError as error:
            problems += error.problems
    if problems:
        raise CheckpointError.from_problems(problems)


def _thought_of(writer: Writer, job: _Job) -> list[str]:
    """As many meta prompts as are asked for; those that the model has thought of are kept whatever happens."""
    request, found = job.request, list(job.earlier)
    scene, number = request.scene or DEFAULT_SCENE, request.num_prompts
    assert number is not None
    with output.progress("Thinking of scenes", number, "meta prompts") as advance:
        for _ in found:
            advance()
        while len(found) < number:
            if not (new := writer.meta_prompts(scene, found, number - len(found))):
                raise CosmosError(
                    f"the chat model thought of {len(found)} scenes, and then of the same ones again.",
                    where="--num-prompts",
                    fix=f"Ask for {len(found)}, or pass a higher --temperature, another --scene or --seed."
                    if found
                    else "Use another model.",
                )
            found += new
            keep_written(written_path(request.save_path), scene, request.seed, found)
            for _ in new:
                advance()
    return found


def _expand_all(writer: Writer, job: _Job, check: Check, num_at_once: int) -> None:
    assert job.given is not None
    todo, num_silent = _unblocked(job, check, job.todo(job.given)), 0
    with output.progress("Expanding meta prompts", len(todo), "prompts") as advance:
        for meta_prompt, answer in side_by_side(writer.expand, todo, num_at_once):
            try:
                prompts = answer()
                for text in (prompts.top_view_prompt, prompts.bottom_view_prompt):
                    check(text)
            except CheckpointError:
                raise  # that of a guardrail; it would refuse all others too
            except CosmosError as error:
                job.note_failure(meta_prompt, error)
                num_silent = num_silent + 1 if _is_silence(error) else 0
            else:
                job.note(meta_prompt, prompts)
                job.write()
                num_silent = 0
            advance()
            if num_silent == MAX_SILENT:
                break
    for meta_prompt in todo:
        if meta_prompt not in job.outcomes:
            what = f"was not asked for: the chat model failed {MAX_SILENT} times in a row."
            job.note_failure(meta_prompt, CosmosError(what, fix="Start the command again when it works."))


def _unblocked(job: _Job, check: Check, meta_prompts: Sequence[str]) -> list[str]:
    """Those that pass the guardrails."""
    passed = []
    for meta_prompt in meta_prompts:
        try:
            check(meta_prompt)
        except GuardrailBlocked as error:
            job.note_failure(meta_prompt, error)
        else:
            passed.append(meta_prompt)
    return passed


def _is_silence(error: CosmosError) -> bool:
    """Whether the model gave no answer, for a reason that is not this question's."""
    return not isinstance(error, NoUsableAnswer | InputError | GuardrailBlocked)
