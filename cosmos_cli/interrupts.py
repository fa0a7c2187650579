"""Ctrl-C and the other signals that stop a command: each ends it with one exit code, whatever it is doing.

Where there is something to clean up, a signal raises KeyboardInterrupt in the main thread; where that would be lost or
shown as a traceback, the process cleans up and leaves at once. Only the command line asks for this: in a program that
uses cosmos as a library, signals are that program's.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import sys
import time

TYPE_CHECKING = False  # `typing` takes longer to import than all of this, and Ctrl-C may come meanwhile
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any, NoReturn

EXIT_CODE = 130
MESSAGE = "Interrupted. Finished work is kept."

LAUNCHER_VARIABLE = "COSMOS_LAUNCHER_PID"
"""Variable in which a `cosmos` process that starts workers tells them, and itself, its process."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that stop a command: Ctrl-C, schedulers, and a terminal that goes away."""
ONE_STOP_S = 1.0
"""Signals within this time are one: Ctrl-C reaches a worker twice, from the terminal and from its launcher."""
_INSIST = signal.SIGVTALRM
_LOOK_S = 0.2

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
"""Signals that an `asking` block takes as a request to come to a good end."""
_BY_A_PERSON = (signal.SIGINT, signal.SIGHUP)
ASKED_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: the work is saved and goes on when the command is started again."""

_has_begun = False
_may_raise = False
_stop: KeyboardInterrupt | None = None
_stopped_at = 0.0
_num_lost = 0
_farewells: list[Callable[[], object]] = []
_tell: Callable[[], bool] | None = None
_asking: Asking | None = None


class Request:
    """Signals as one thread sees them: the first asks, and Ctrl-C after it insists.

    signal: the first, 0 while there was none.
    """

    def __init__(self) -> None:
        self.signal, self._came_at = 0, 0.0

    def insists(self, number: int) -> bool:
        """Note a signal that has just come; whether it shall end the process at once."""
        now = time.monotonic()
        if not self.signal:
            self.signal, self._came_at = number, now
        return number == signal.SIGINT and now - self._came_at > ONE_STOP_S


class Asking:
    """A block in which signals ask.

    on_insist: called on a second Ctrl-C, before the process ends; None leaves at once.
    """

    def __init__(self) -> None:
        self.request = Request()
        self.on_insist: Callable[[], object] | None = None

    @property
    def signal(self) -> int:
        """That has asked, 0 while there was none."""
        return self.request.signal

    @property
    def exit_code(self) -> int:
        """Of a command that a signal has asked to end: a scheduler's is to be started again, a person's is not."""
        if not self.signal:
            return 0
        return EXIT_CODE if self.signal in _BY_A_PERSON else ASKED_EXIT_CODE


@contextlib.contextmanager
def asking() -> Iterator[Asking]:
    """A block that decides itself when to end after a signal: it looks at `signal`, saves, and leaves.

    SIGTERM, SIGUSR1 and SIGHUP only ask, however often they come. So does the first Ctrl-C; the next ends the process
    at once. What was told to ignore a signal goes on ignoring it. The launcher of workers, in whose process the same
    block runs, hands signals on to them. Outside of the main thread nothing is asked here.
    """
    global _asking
    own = Asking()
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not own.request.insists(number):
            return
        if own.on_insist is None and _has_begun:
            leave()
        if own.on_insist is not None:
            own.on_insist()
        if callable(earlier := before.get(number)):
            earlier(number, frame)

    outer, _asking = _asking, own
    try:
        for each in ASKING:
            if signal.getsignal(each) not in (signal.SIG_IGN, None):
                with contextlib.suppress(ValueError):  # another thread than the main one
                    before[each] = signal.signal(each, on_signal)
        yield own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asking = outer


def current_asking() -> Asking | None:
    """The `asking` block that runs now."""
    return _asking


def begin() -> None:
    """Behave so from now on; what was told to ignore a signal, as `nohup` does, goes on ignoring it."""
    global _has_begun
    if _has_begun:
        return
    _has_begun = True
    atexit.register(_end)  # the first to come is the last to go
    signal.signal(_INSIST, _insist)
    sys.unraisablehook = _show_unraisable
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def interruptible(work: Callable[[], int], stopped: Callable[[], int]) -> int:
    """The exit code of `work`, or that of `stopped` if a signal came; from then on nothing is raised any more."""
    global _may_raise
    try:
        _may_raise = True
        code = work()
        _may_raise = False
        return stopped() if is_stopping() and code != EXIT_CODE else code
    except KeyboardInterrupt:
        _may_raise = False
        return stopped()


def is_stopping() -> bool:
    """A signal has come: whatever is raised from now on may be a consequence."""
    return _stop is not None


def leave() -> NoReturn:
    """End now, from any thread: clean up as far as `at_leave` knows of it, and wait for nothing."""
    for farewell in reversed(_farewells):
        with contextlib.suppress(BaseException):
            farewell()
    with contextlib.suppress(BaseException):
        if _tell() if _tell is not None else not _has_launcher():
            os.write(2, f"{MESSAGE}\n".encode())
    os._exit(EXIT_CODE)


def _has_launcher() -> bool:
    """Whether this is a worker that has just begun to start, for which its launcher speaks."""
    own = str(os.getpid())
    return os.environ.get(LAUNCHER_VARIABLE, own) != own


@contextlib.contextmanager
def at_leave(clean_up: Callable[[], object]) -> Iterator[None]:
    """A block during which `leave` calls a function; it must be short and must not wait for another thread."""
    _farewells.append(clean_up)
    try:
        yield
    finally:
        _farewells.remove(clean_up)


def leave_with(tell: Callable[[], bool]) -> None:
    """Have `leave` tell another process, too; whether this one has to tell the user."""
    global _tell
    _tell = tell


def _end() -> None:
    # the exit code is fixed: what the interpreter takes apart from here on must not be cut short by a signal
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _stop, _stopped_at
    now = time.monotonic()
    if _stop is not None and now - _stopped_at < ONE_STOP_S:
        return
    if _stop is not None or not _may_raise or _is_importing(frame):
        leave()
    _stop, _stopped_at = KeyboardInterrupt(), now
    _thread.start_new_thread(_look_after, (_thread.get_ident(),))  # `threading` takes locks that may be held here
    raise _stop


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: what is raised there may be caught, or end in native code."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _look_after(main_thread: int) -> None:
    """Thread: look again and again whether the main thread is on its way out."""
    while _may_raise:
        time.sleep(_LOOK_S)
        if _may_raise:
            signal.pthread_kill(main_thread, _INSIST)


def _insist(number: int, frame: FrameType | None) -> None:
    """Raise once more if somebody has caught it and goes on: a library's broad `except`, a destructor, native code."""
    global _num_lost
    _num_lost = 0 if _is_unwinding() else _num_lost + 1
    if _num_lost < 2 or not _may_raise or _stop is None:  # between two frames nobody handles it for a moment
        return
    _num_lost = 0
    if _is_importing(frame):
        leave()
    raise _stop


def _is_unwinding() -> bool:
    error, seen = sys.exc_info()[1], set()
    while error is not None and id(error) not in seen:
        if error is _stop or isinstance(error, GeneratorExit):
            return True
        seen.add(id(error))
        error = error.__context__
    return False


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    # a destructor cannot raise it; `_insist` will
    if not (is_stopping() and isinstance(unraisable.exc_value, KeyboardInterrupt)):
        sys.__unraisablehook__(unraisable)
