"""Which worker does not answer: one that is stopped, or that native code holds, cannot say so itself.

Every worker leaves a mark in its folder several times a second; launcher and workers look at those of the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

BEAT_S = 0.2
_ENDED = "ended"


@dataclass(frozen=True)
class Silence:
    """A worker of which nothing was heard.

    step: where it was when last heard of. pid: its process; None if it has not begun.
    """

    rank: int
    seconds: float
    step: str
    pid: int | None

    def kill(self, launcher_pid: int) -> None:
        """End it; a stopped process does not take any other signal."""
        with contextlib.suppress(OSError):
            if self.pid is not None and _parent_of(self.pid) == launcher_pid:  # else it is another's number by now
                os.kill(self.pid, signal.SIGKILL)


def beat(folder: Path) -> None:
    """Leave the mark of this process in its folder."""
    mark = folder / "beat"
    with contextlib.suppress(OSError):  # the launcher is gone, or the disk full
        if not mark.exists():
            mark.write_text(str(os.getpid()))
        os.utime(mark)


def end(folder: Path) -> None:
    """This process ends in good order: nothing is heard of it any more."""
    with contextlib.suppress(OSError):
        (folder / "beat").write_text(_ENDED)


def take_signals(folder: Path) -> None:
    """This process takes signals as requests from now on, see `interrupts.asking`."""
    with contextlib.suppress(OSError):
        (folder / "asking").write_text(str(os.getpid()))


def hand_on(number: int, folder: Path, launcher_pid: int) -> bool:
    """Send a signal to the worker of a folder; False while it does not take signals as requests yet."""
    pid = _text(folder / "asking")
    if not pid.isdigit():
        return False
    with contextlib.suppress(OSError):
        if _parent_of(int(pid)) == launcher_pid:
            os.kill(int(pid), number)
    return True


@dataclass
class Listener:
    """Listens to the workers whose folders, named by rank, lie in one; to nobody if there is none.

    Time counts while this thread runs: if all are stopped and go on later, as after Ctrl-Z, nobody has been silent.
    """

    folders: Path | None
    _marks: dict[Path, tuple[int, float]] = field(default_factory=dict)
    _now: float = 0.0
    _latest: float = field(default_factory=time.monotonic)

    def listen(self) -> float:
        """Look at all; to be called every `BEAT_S`. By how many seconds this call comes late."""
        elapsed = time.monotonic() - self._latest
        self._latest += elapsed
        late = max(0.0, elapsed - 1.0)
        self._now += elapsed - late
        with contextlib.suppress(OSError):
            for folder in self.folders.iterdir() if self.folders else ():
                mark = _time_of(folder / "beat")
                if folder not in self._marks or self._marks[folder][0] != mark:
                    self._marks[folder] = mark, self._now
        return late

    def has_lost(self) -> bool:
        """Whether a worker that has begun is gone."""
        marks = [_text(folder / "beat") for folder in self._marks]
        return any(mark == _ENDED or (mark.isdigit() and not _runs(int(mark))) for mark in marks)

    def silent(self, seconds: float, *, begun: bool = False) -> list[Silence]:
        """Those of whom nothing was heard for longer, the longest silence first.

        Args:
            begun: leave out those that have not begun.
        """
        found = []
        for folder, (_, since) in self._marks.items():
            text = _text(folder / "beat")
            pid = int(text) if text.isdigit() else None
            if self._now - since > seconds and text != _ENDED and folder.name.isdigit() and (pid or not begun):
                found.append(Silence(int(folder.name), self._now - since, _text(folder / "step"), pid))
        return sorted(found, key=lambda silence: -silence.seconds)


def _time_of(mark: Path) -> int:
    try:
        return mark.stat().st_mtime_ns
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    try:
        # its launcher may not have taken notice yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
