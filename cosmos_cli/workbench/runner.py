"""Feeds the worker process job by job, and begins another when one dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosmos_cli.errors import CosmosError, defect
from cosmos_cli.workbench.jobs import CANCELLING, Job, Jobs

_PATIENCE_S = 5.0
"""How long a job may take to reach a step at which it can end, before its worker is stopped."""
_MAX_LINE_BYTES = 1 << 20

_CHANGES = frozenset({"stage", "step", "num_steps", "num_previews"})


class Runner:
    """One job at a time, in one worker.

    Args:
        options: field values beside the specification, see `Bench.options`.
        previews: folder for pictures of what is being made.
    """

    def __init__(self, jobs: Jobs, options: Any, previews: Path) -> None:
        self._jobs, self._options, self._previews = jobs, options, previews
        self._worker: asyncio.subprocess.Process | None = None
        self._wake = asyncio.Event()
        self._stops: set[asyncio.Task[None]] = set()
        self._to_cancel: int | None = None

    def wake(self) -> None:
        """Have it look at the queue."""
        self._wake.set()

    @property
    def worker_pid(self) -> int | None:
        """Process of the worker that is there."""
        return None if self._worker is None or self._worker.returncode is not None else self._worker.pid

    async def run(self) -> None:
        """Work until it is cancelled; then the worker ends, too."""
        try:
            with contextlib.suppress(OSError):  # it is told where a job needs it
                await self._ready_worker()
            while True:
                job = self._jobs.waiting()
                if job is None:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                try:
                    await self._do(job)
                except Exception as error:  # the border: one job must not end the queue
                    self._give_up(job, error)
                    await self._stop_worker()  # it may still be at work, and would be taken for the next
        finally:
            await self._stop_worker()

    async def cancel(self, number: int) -> None:
        """End a job: at once if it waits, else at its next step, or with its worker if that is far away."""
        job = self._jobs.get(number)
        if job is None or job.is_over:
            return
        if job.status == "queued":
            self._jobs.change(number, status="cancelled")
            return
        self._to_cancel = number
        self._jobs.change(number, stage=CANCELLING)
        await self._send({"cancel": number})
        task = asyncio.create_task(self._insist(number))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def _insist(self, number: int) -> None:
        await asyncio.sleep(_PATIENCE_S)
        job = self._jobs.get(number)
        if job is not None and job.status == "running":
            await self._stop_worker()

    async def _do(self, job: Job) -> None:
        self._jobs.change(
            job.id, status="running", num_starts=job.num_starts + 1, stage="Starting", step=0, num_previews=0
        )
        task = {
            "id": job.id,
            "what": job.what,
            "kind": job.kind,
            "folder": job.folder,
            "spec": str(job.spec),
            "options": {name: str(value) for name, value in self._options(job).items()},
            "previews": str(self._previews),
        }
        worker = await self._ready_worker()
        await self._send(task)
        assert worker.stdout is not None
        while (line := await worker.stdout.readline()) and not self._jobs[job.id].is_over:
            self._note(json.loads(line))
            if self._jobs[job.id].is_over:
                break
        if not self._jobs[job.id].is_over:
            await self._blame(job, worker)
        self._to_cancel = None
        (self._previews / f"{job.id}.webp").unlink(missing_ok=True)

    def _note(self, event: Mapping[str, Any]) -> None:
        number = event["id"]
        if event["event"] in ("stage", "step"):
            changes = {name: value for name, value in event.items() if name in _CHANGES}
            if self._to_cancel != number:
                self._jobs.change(number, **changes)
        else:
            names = ("files", "notices", "seconds", "title", "problems")
            changes = {name: event[name] for name in names if name in event}
            self._jobs.change(number, status=event["event"], stage="", **changes)

    async def _blame(self, job: Job, worker: asyncio.subprocess.Process) -> None:
        """The worker has gone in the middle of a job."""
        code = await worker.wait()
        if self._to_cancel == job.id:
            self._jobs.change(job.id, status="cancelled", stage="")
            return
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        fix = "The next job runs in a new worker. If the system was short of memory, the plan says what a run needs."
        self._jobs.fail(job.id, CosmosError(f"its worker process ended {how}.", where="workbench", fix=fix))

    def _give_up(self, job: Job, error: Exception) -> None:
        """It cannot be done here, such as on a full disk."""
        known = error if isinstance(error, CosmosError) else defect(error)
        with contextlib.suppress(CosmosError):  # what cannot be written is still shown
            self._jobs.fail(job.id, known)

    async def _ready_worker(self) -> asyncio.subprocess.Process:
        if self._worker is None or self._worker.returncode is not None:
            self._worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cosmos_cli.workbench.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for the server, which ends it in order
            )
        return self._worker

    async def _send(self, document: Mapping[str, Any]) -> None:
        if self._worker is None or self._worker.stdin is None:
            return
        with contextlib.suppress(ConnectionError):  # it has just died, which is told where its answer is awaited
            self._worker.stdin.write(json.dumps(document).encode() + b"\n")
            await self._worker.stdin.drain()

    async def _stop_worker(self) -> None:
        worker = self._worker
        if worker is None or worker.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
            try:
                await asyncio.wait_for(worker.wait(), _PATIENCE_S)
            except asyncio.TimeoutError:
                worker.kill()
                await worker.wait()
