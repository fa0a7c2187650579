"""Several questions to a server at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def side_by_side(
    ask: Callable[[str], T], questions: Sequence[str], num_at_once: int
) -> Iterator[tuple[str, Callable[[], T]]]:
    """Each question, as it is answered, and what gives or raises what came of it.

    Several are asked in threads, for which nobody waits when the command is stopped: a server may take minutes.
    """
    if num_at_once == 1:
        yield from ((question, partial(ask, question)) for question in questions)
        return
    stopped, num_threads = threading.Event(), min(num_at_once, len(questions))
    # answers may wait to be looked at, but not so many that a server that only fails is asked about everything
    waiting = threading.Semaphore(2 * num_threads)
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Callable[[], T]]] = queue.SimpleQueue()
    for question in questions:
        todo.put(question)

    def work() -> None:
        while waiting.acquire() and not stopped.is_set():
            try:
                question = todo.get_nowait()
            except queue.Empty:
                return
            answer: Future[T] = Future()
            try:
                answer.set_result(ask(question))
            except BaseException as error:  # to be raised where it is waited for, which would else be for ever
                answer.set_exception(error)
            done.put((question, answer.result))

    for _ in range(num_threads):
        threading.Thread(target=work, name="ask", daemon=True).start()
    try:
        for _ in questions:
            yield done.get()
            waiting.release()
    finally:
        stopped.set()
        waiting.release(max(1, num_threads))
