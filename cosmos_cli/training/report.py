"""What a run tells: every step in metrics.jsonl, a line on the terminal now and then, and one page to look at.

Rank 0 writes; the others make the same calls. Nothing here can end a run.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import output
from cosmos_cli.durations import duration
from cosmos_cli.files.documents import json_lines
from cosmos_cli.files.side_work import reason
from cosmos_cli.files.writing import replacing
from cosmos_cli.redaction import hide
from cosmos_cli.runtime.workers import worker
from cosmos_cli.training.checkpoints import is_first
from cosmos_cli.training.curves import Curve, short
from cosmos_cli.training.job_folder import differences, flat, iteration_name, recorded
from cosmos_cli.training.page import Page
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.trackers import Tracker, open_trackers

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

METRICS, REPORT, SAMPLES = "metrics.jsonl", "report.html", "samples"

_PAGE_S = 2.0
"""Least time between two pages, whatever the steps take."""
_NUM_RECENT = 50
"""Steps from which the speed is told."""
_NUM_SAMPLES = 8
"""Steps whose samples the page shows: the first, and the last ones. All stay in their folder."""
_SAMPLE = re.compile(r"iter_(\d+)_(\d+)\.mp4")

_CURVES = {"Loss": "loss", "Gradient norm": "grad_norm", "Rate": "rate", "Seconds per step": "seconds"}


class Log:
    """The log of a run, in its folder. Used as a context manager, it says on the page how the run ended.

    Args:
        start: completed steps of the checkpoint that the run goes on from; what was told after that is cut off.
        named: the experiment that the recipe began from, for the page.
        experiment: its name; that of its job by default.
    Raises:
        InputError: the recipe asks for a package that is not installed.
    """

    def __init__(
        self, job: Path, recipe: Recipe, *, start: int = 0, named: Recipe | None = None, experiment: str = ""
    ) -> None:
        self._job, self._recipe, self._is_writer = job, recipe, is_first()
        self._total, self._iteration = recipe.trainer.max_iter, start
        self._curves = {title: Curve(is_noisy=title != "Rate") for title in _CURVES}
        self._seconds: deque[float] = deque(maxlen=_NUM_RECENT)
        self._losses: list[float] = []
        self._last: dict[str, Any] = {}
        self._page_at = -math.inf
        self._has_failed: set[str] = set()
        self._trackers: list[Tracker] = []
        self._named = named or recipe
        self._experiment = experiment or (named.job.name if named is not None else "")
        if self._is_writer:
            self._trackers = open_trackers(job, recipe, start)
            with self._side("the log of earlier steps"):
                self._go_on(start)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        is_done = self._iteration >= self._total
        self.close("stopped by an error" if kind else "finished" if is_done else "stopped; it can be resumed")

    def step(
        self,
        iteration: int,
        *,
        loss: float,
        grad_norm: float,
        rate: float,
        seconds: float,
        tokens: int,
        memory_bytes: int | None = None,
        parts: Mapping[str, float] | None = None,
        **more: float | int | str | bool,
    ) -> None:
        """Tell of a step. All ranks call this: it is also their sign of life.

        Args:
            iteration: completed steps, this one among them.
            rate: the learning rate it was made at. tokens: of all ranks together.
            memory_bytes: most that this rank's device held; None if it is the host's.
            more: further entries of the line in the log, such as whether the step was left out.
        """
        worker.step(f"training: step {iteration} of {self._total} done")
        self._iteration = iteration
        if not self._is_writer:
            return
        line = {
            "iteration": iteration,
            "loss": loss,
            "parts": dict(parts or {}),
            "grad_norm": grad_norm,
            "rate": rate,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds if seconds > 0 else None,
            "memory_gib": None if memory_bytes is None else memory_bytes / 2**30,
            "time": time.time(),
            **more,
        }
        with self._side(METRICS), (self._job / METRICS).open("ab") as file:
            file.write(json.dumps(_finite(line)).encode() + b"\n")
        self._take(line)
        self._losses.append(loss)
        numbers = {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.log(iteration, numbers | {f"parts/{name}": value for name, value in (parts or {}).items()})
        if iteration % self._recipe.log.logging_iter == 0 or iteration == self._total:
            self._say()
            self._show("running")

    def sample(self, iteration: int, videos: Sequence[Tensor | np.ndarray], fps: float) -> None:
        """Keep videos that the networks make now, (F, H, W, 3) uint8 each."""
        if not self._is_writer:
            return
        from cosmos_cli.media.video import write_video

        for number, video in enumerate(videos):
            frames = video.cpu().numpy() if not hasattr(video, "__array_interface__") else video
            height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2  # players want even sizes
            with self._side("sample videos"):
                path = self._job / SAMPLES / f"{iteration_name(iteration)}_{number}.mp4"
                write_video(path, frames[:, :height, :width], fps)
        self._show("running", at_once=True)

    def close(self, state: str = "finished") -> None:
        """Write the last page, which says how it ended."""
        if self._is_writer:
            self._show(state, at_once=True)
            for tracker in self._trackers:
                tracker.close()

    def _go_on(self, start: int) -> None:
        """Cut the log behind a step, and take up what it tells."""
        self._job.mkdir(parents=True, exist_ok=True)
        path = self._job / METRICS
        if not path.exists():
            return
        keep_lines(path, start)
        with path.open("rb") as file:
            for line in json_lines(file):
                if isinstance(line, dict) and isinstance(line.get("iteration"), int):
                    self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        self._last = dict(line)
        for title, name in _CURVES.items():
            value = line.get(name)
            self._curves[title].add(line["iteration"], value if isinstance(value, int | float) else None)
        if isinstance(seconds := line.get("seconds"), int | float):
            self._seconds.append(seconds)

    def _say(self) -> None:
        losses, self._losses = [loss for loss in self._losses if math.isfinite(loss)], []
        loss = short(statistics.fmean(losses)) if losses else "not finite"
        facts = [f"loss {loss}", *(f"{value} {unit}".strip() for value, unit in self._speed())]
        output.status(f"step {self._iteration:,} of {self._total:,}: {', '.join(facts)}")

    def _speed(self) -> Iterator[tuple[str, str]]:
        if not self._seconds:
            return
        seconds = statistics.median(self._seconds)
        yield short(seconds), "s/step"
        if tokens := self._last.get("tokens_per_s"):
            yield f"{tokens:,.0f}", "tokens/s"
        if memory := self._last.get("memory_gib"):
            yield f"{memory:.1f}", "GiB"
        if self._iteration < self._total:
            yield duration(seconds * (self._total - self._iteration)), "left"

    def _show(self, state: str, *, at_once: bool = False) -> None:
        """Write the page anew, unless that was just done."""
        now = time.monotonic()
        if not at_once and now - self._page_at < _PAGE_S:
            return
        with self._side(REPORT):
            html = hide(self._page(state).html())
            with replacing(self._job / REPORT) as temporary:
                temporary.write_text(html, encoding="utf-8")
        self._page_at = time.monotonic()

    def _page(self, state: str) -> Page:
        job, loss = self._recipe.job, self._curves["Loss"]
        labels = {"s/step": "Seconds per step", "tokens/s": "Tokens per second", "GiB": "Memory, GiB"}
        labels |= {"left": "Time left"} if state == "running" else {}
        facts = {"Loss": short(smooth[-1])} if (smooth := loss.smoothed()) else {}
        return Page(
            path=(job.project, job.group, job.name),
            experiment=self._experiment,
            state=state.capitalize(),
            iteration=self._iteration,
            total=self._total,
            written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
            facts=facts | {labels[unit]: value for value, unit in self._speed() if unit in labels},
            curves=self._curves,
            samples=self._samples(),
            recipe=flat(recorded(self._recipe)),
            differences=differences(self._recipe, self._named),
        )

    def _samples(self) -> dict[int, list[str]]:
        folder = self._job / SAMPLES
        found: dict[int, list[str]] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (name := _SAMPLE.fullmatch(path.name)) and int(name[1]) <= self._iteration:
                found.setdefault(int(name[1]), []).append(f"{SAMPLES}/{path.name}")
        steps = sorted(found)
        return {step: found[step] for step in {*steps[:1], *steps[1 - _NUM_SAMPLES :]}}

    @contextlib.contextmanager
    def _side(self, what: str) -> Iterator[None]:
        """A block whose failure costs a note, once: the run is worth more than what tells of it."""
        try:
            yield
        except Exception as error:  # the border: full disks, codecs, whatever
            if what not in self._has_failed:
                self._has_failed.add(what)
                output.notice(f"{what} of this run cannot be kept: {reason(error)}")


def keep_lines(path: Path, last: int) -> None:
    """Cut a log behind the step `last`, and behind a line that was not written to its end."""
    with path.open("r+b") as file:
        end = 0
        for line in file:
            try:
                is_kept = line.endswith(b"\n") and json.loads(line)["iteration"] <= last
            except (ValueError, LookupError, TypeError):
                is_kept = False
            if not is_kept:
                break
            end += len(line)
        file.truncate(end)


def _finite(value: Any) -> Any:
    """JSON has no numbers that are not finite: they become null."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
