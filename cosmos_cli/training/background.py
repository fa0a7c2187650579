"""One thing at a time that is written while the training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Work in a thread that does not keep a process alive."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], object], name: str) -> None:
        """Begin, once the former is done.

        Raises:
            Exception: that of the former.
        """
        self.wait()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error  # told by `wait`

        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until it is done.

        Raises:
            Exception: its own, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
