"""The queue of the workbench, and the file that keeps it over a restart."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from cosmos_cli.errors import CosmosError, InputError, Problem
from cosmos_cli.files.documents import json_lines
from cosmos_cli.files.failures import writing
from cosmos_cli.files.locks import Lock, try_lock
from cosmos_cli.files.writing import json_bytes

NAME, LOCK_NAME = "workbench.jsonl", ".cosmos-workbench.lock"

Status = Literal["queued", "running", "done", "failed", "cancelled"]

CANCELLING = "Cancelling"
"""Stage of a job that has been asked to end and has not yet."""

_MOST_STARTS = 2
"""Of one job: what has taken the whole workbench down twice is not begun a third time."""


@dataclass(frozen=True)
class Job:
    """One thing that the worker does.

    what: "make" a video or a picture, or "look" at controls.
    kind: whose it is, as `cosmos_cli.workbench.kind.kinds` names it.
    folder: of its files; its `spec.json` says what is asked for.
    clip: name of the input, "" if there is none. prompt: how it begins. Both are to show.
    num_starts: how often it was begun.
    stage: what it is at, in words. step, num_steps: of the denoising that runs.
    num_previews: so many there were.
    problems: why it failed, as `cosmos_cli.errors.Problem`.
    files: name in the folder of what it made, by what it is.
    created, seconds: when it was asked for, since 1970, and how long it took.
    """

    id: int
    what: Literal["make", "look"]
    kind: str
    folder: str
    clip: str = ""
    prompt: str = ""
    status: Status = "queued"
    num_starts: int = 0
    stage: str = ""
    step: int = 0
    num_steps: int = 0
    num_previews: int = 0
    title: str = ""
    problems: Sequence[Mapping[str, Any]] = ()
    notices: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    seconds: float = 0.0

    @property
    def spec(self) -> Path:
        return Path(self.folder) / "spec.json"

    @property
    def is_over(self) -> bool:
        return self.status in ("done", "failed", "cancelled")

    @property
    def is_given_up(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.status in ("failed", "cancelled") or self.stage == CANCELLING


_KEPT = frozenset({"status", "num_starts", "title", "problems", "notices", "files", "seconds"})
"""Fields whose change is worth a line of the file."""


class Jobs:
    """All jobs, in the order in which they were asked for. What is to be made is kept in a file of the output folder.

    Args:
        kinds: names of those that there are.
    Raises:
        InputError: another workbench works in this folder.
        CosmosError: the file cannot be read or written.
    """

    def __init__(self, folder: Path, kinds: Collection[str] = ()) -> None:
        self._kinds = kinds
        self._jobs: dict[int, Job] = {}
        self._last_id = 0  # also of one that is forgotten: the worker and open pages may still know it
        self._folder, self._path = folder, folder / NAME
        with writing(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            lock = try_lock(folder / LOCK_NAME)
        if lock is None:
            raise InputError(
                "another workbench works in this folder.",
                where=str(folder),
                fix="Use the page of that one, or give another --output-dir.",
            )
        self._lock: Lock = lock
        self._read()
        with writing(self._path):
            self._file: BinaryIO = self._path.open("ab")
        for job in [job for job in self._jobs.values() if job.status == "running"]:
            self._take_up(job)

    def _read(self) -> None:
        with writing(self._path), suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in json_lines(file):
                if isinstance(line, dict) and line.get("forgotten"):
                    self._pop(line.get("id"))
                elif (job := _job(line, self._kinds)) is not None:
                    # by its name: the folder may have been moved, and a line must not lead out of it
                    self._put(replace(job, folder=str(self._folder / Path(job.folder).name)))

    def _take_up(self, job: Job) -> None:
        """What ran when the workbench ended goes back to the queue, but not for ever."""
        if job.num_starts < _MOST_STARTS:
            self.change(job.id, status="queued")
        else:
            what = f"the workbench ended {job.num_starts} times while this ran."
            self.fail(job.id, CosmosError(what, fix="Look at the plan: it may need more memory than there is."))

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def __getitem__(self, number: int) -> Job:
        return self._jobs[number]

    def get(self, number: int) -> Job | None:
        return self._jobs.get(number)

    def all(self) -> list[Job]:
        return list(self._jobs.values())

    @property
    def next_id(self) -> int:
        return self._last_id + 1

    def add(self, job: Job) -> Job:
        """Put a job at the end of the queue."""
        job = replace(job, created=time.time())
        self._put(job)
        self._keep(job)
        return job

    def _put(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._last_id = max(self._last_id, job.id)

    def _pop(self, number: Any) -> None:
        if isinstance(number, int):
            self._jobs.pop(number, None)

    def waiting(self) -> Job | None:
        """The job to do next: who looks at controls waits for what runs, but for no video that has not begun."""
        queued = [job for job in self.all() if job.status == "queued"]  # others may be added meanwhile
        return min(queued, key=lambda job: (job.what != "look", job.id), default=None)

    def change(self, number: int, **changes: Any) -> Job:
        """Note what has become of a job."""
        job = self._jobs[number] = replace(self._jobs[number], **changes)
        if _KEPT & changes.keys():
            self._keep(job)
        return job

    def fail(self, number: int, error: CosmosError) -> Job:
        """Note why a job cannot be done."""
        return self.change(number, status="failed", title=error.title, problems=documents(error.problems))

    def forget(self, number: int) -> None:
        """Take a job that is over off the list; its files stay."""
        self._pop(number)
        self._write({"id": number, "forgotten": True})

    def _keep(self, job: Job) -> None:
        if job.what == "make":
            self._write(asdict(job))

    def _write(self, document: Mapping[str, Any]) -> None:
        with writing(self._path):
            self._file.write(json_bytes(document) + b"\n")
            self._file.flush()


def documents(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Problems for the page."""
    return [{"what": each.what, "where": each.where, "fix": each.fix} for each in problems]


def _job(line: Any, kinds: Collection[str]) -> Job | None:
    """A line as it is meant; None if it is none of ours."""
    names = {each.name for each in fields(Job)}
    try:
        job = Job(**{**_kind_of_family(line, kinds), **{name: value for name, value in line.items() if name in names}})
    except (TypeError, AttributeError):
        return None
    is_sound = isinstance(job.id, int) and isinstance(job.folder, str) and isinstance(job.kind, str)
    return job if is_sound and job.what == "make" and job.status in get_args(Status) else None


def _kind_of_family(line: Mapping[str, Any], kinds: Collection[str]) -> dict[str, str]:
    """The kind of a line of an earlier version, which named the family alone: there was one of each."""
    family = line.get("family")
    return {"kind": next((kind for kind in kinds if kind.split()[0] == family), family)} if family else {}
