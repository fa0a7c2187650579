"""The process that computes for the workbench: one task at a time, as its server tells it on stdin.

It is a process of its own so that what kills it, such as a want of memory, costs one job and not the page. The model
stays loaded as long as tasks are of the same kind, with the same settings and controls, and
none is larger than what it was loaded for.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CosmosError, defect
from cosmos_cli.import_strings import resolve
from cosmos_cli.requests import request_document
from cosmos_cli.workbench.jobs import documents
from cosmos_cli.workbench.kind import Kind, kinds

_LOOK_S = 0.2
"""Between two lines about a stage."""
_PREVIEW_SHARE = 4
"""A preview is made when the steps since the one before took so many times as long as that one."""


class Cancelled(Exception):
    """The page has asked for an end."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    key: its kind, settings and controls. num_latents: that it was loaded to denoise together, see `_num_latents`.
    """

    key: str
    num_latents: int
    pipeline: Any


class Worker:
    """Does what it is told and says what becomes of it.

    Args:
        tell: sends one line to the server.
    """

    def __init__(self, tell: Any) -> None:
        self._tell_server = tell
        output.configure(speaking=False)  # the server has said what cannot be loaded
        self._kinds: Mapping[str, Kind] = kinds()
        self._loaded: Loaded | None = None
        self._cancelled: set[int] = set()
        self._task = 0
        self._told_at = 0.0

    def warm_up(self) -> None:
        """Import what the first task would wait for."""
        for kind in self._kinds.values():
            with contextlib.suppress(CosmosError):  # it is told where a job needs it
                resolve(kind.inputs().PIPELINE, needed_by=kind.name)

    def cancel(self, number: int) -> None:
        """Have a task end at its next step; from any thread."""
        self._cancelled.add(number)

    def do(self, task: Mapping[str, Any]) -> None:
        """Do one task. What goes wrong with it is told, too."""
        self._task = task["id"]
        output.configure(speaking=False)
        output.follow(self._follow)
        start = time.perf_counter()
        try:
            with output.recording():
                self._check_cancelled()
                files = self._look(task) if task["what"] == "look" else self._make(task)
                self._tell("done", files=files, notices=output.notices(), seconds=time.perf_counter() - start)
        except Cancelled:
            self._tell("cancelled")
        except CosmosError as error:
            self._tell("failed", title=error.title, problems=documents(error.problems))
        except Exception as error:  # the border: a job, maybe of another package, must not cost the model of others
            found = defect(error, fix="Run the command line with COSMOS_DEBUG=1 to see where it comes from.")
            self._tell("failed", title=found.title, problems=documents(found.problems))

    def _look(self, task: Mapping[str, Any]) -> dict[str, str]:
        kind = self._kinds[task["kind"]]
        folder = Path(task["folder"])
        settings, request = self._read(kind, task)
        made = kind.look(settings, request)
        return {name: str(path.absolute().relative_to(folder.absolute())) for name, path in made.items()}

    def _make(self, task: Mapping[str, Any]) -> dict[str, str]:
        kind = self._kinds[task["kind"]]
        settings, request = self._read(kind, task)
        kind.inputs().check(settings, request)
        pipeline = self._pipeline(kind, settings, request)
        previews = Path(task["previews"])
        num_previews, due_at, fps = 0, 0.0, _fps_of(request, settings)

        def on_step(step: Any) -> None:
            nonlocal num_previews, due_at
            self._check_cancelled()
            start = time.monotonic()
            if start >= due_at and (frames := kind.preview(pipeline, step)) is not None:
                _write_preview(previews / f"{task['id']}.webp", frames, fps)
                num_previews += 1
                due_at = time.monotonic() + _PREVIEW_SHARE * (time.monotonic() - start)
            self._tell("step", step=step.number, num_steps=step.num_steps, num_previews=num_previews)

        result = pipeline(request, on_step=on_step)
        folder = Path(task["folder"]).absolute()
        document = result.document()
        files = {name: Path(document[name]).absolute() for name in ("sidecar", kind.shows)}
        return {name: str(path.relative_to(folder)) for name, path in files.items()}

    def _read(self, kind: Kind, task: Mapping[str, Any]) -> tuple[Any, Any]:
        request, settings = kind.read(Path(task["spec"]), task["options"])
        return settings, request

    def _pipeline(self, kind: Kind, settings: Any, request: Any) -> Any:
        """The model for a request, which stays loaded for the next."""
        key = json.dumps([kind.name, request_document(settings), sorted(kind.loaded_for(request))])
        num_latents = _num_latents(kind, settings, request)
        if self._loaded is None or self._loaded.key != key or num_latents > self._loaded.num_latents:
            self._loaded = None  # its memory is needed for the next
            self._release()
            self._tell("stage", stage="Loading the model")
            inputs = kind.inputs()
            pipeline = resolve(inputs.PIPELINE, needed_by=kind.name).load(settings, [request])
            self._loaded = Loaded(key, num_latents, pipeline)
        return self._loaded.pipeline

    def _release(self) -> None:
        from cosmos_cli.runtime.memory.offload import release_memory

        release_memory()

    def _follow(self, text: str) -> None:
        self._check_cancelled()
        now = time.monotonic()
        if now - self._told_at > _LOOK_S:
            self._told_at = now
            self._tell("stage", stage=text)

    def _check_cancelled(self) -> None:
        if self._task in self._cancelled:
            raise Cancelled

    def _tell(self, event: str, **more: Any) -> None:
        self._tell_server({"id": self._task, "event": event, **more})


def _num_latents(kind: Kind, settings: Any, request: Any) -> int:
    """How much a request denoises together: what is left of the device's memory for networks was planned with it.

    0 where no model is loaded before it works.
    """
    work_of = getattr(kind.inputs(), "work_of", None)
    if work_of is None:
        return 0
    work = work_of(settings, request)
    return math.prod(work.latents_THW) * int(work.num_tiles)


def _fps_of(request: Any, settings: Any) -> float:
    """Frame rate of what is made, which either may say; of a picture it is none."""
    return next((each.fps for each in (request, settings) if "fps" in type(each).model_fields), 1.0)


def _write_preview(path: Path, frames_FHWC: Any, fps: float) -> None:
    """A moving picture, or a still one of a single frame, that is whole whenever it is read."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames_FHWC]
    temporary = path.with_suffix(".part")
    options: dict[str, Any] = {"format": "WEBP", "quality": 80, "method": 0}
    if len(pictures) > 1:
        options |= {"save_all": True, "append_images": pictures[1:], "duration": round(1000 / fps), "loop": 0}
    pictures[0].save(temporary, **options)
    temporary.replace(path)


def main() -> int:
    """The whole life of the process: it ends with its server, however that ended."""
    # what libraries print must not come between the lines for the server
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(document: Mapping[str, Any]) -> None:
        with lock:
            channel.write(json.dumps(document, default=str) + "\n")
            channel.flush()

    tasks: queue.Queue[Mapping[str, Any]] = queue.Queue()
    worker = Worker(tell)

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "cancel" in message:
                worker.cancel(message["cancel"])
            else:
                tasks.put(message)
        interrupts.leave()

    threading.Thread(target=listen, daemon=True).start()
    worker.warm_up()
    while True:
        worker.do(tasks.get())


if __name__ == "__main__":
    interrupts.begin()
    interrupts.interruptible(main, lambda: interrupts.EXIT_CODE)
