"""What a process does that is one of several workers: meet the others, say where it is, and end with them."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cosmos_cli import interrupts, output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.runtime.workers import beats
from cosmos_cli.runtime.workers.rank import RESTARTS_VARIABLE, Rank, find_rank

if TYPE_CHECKING:  # every command imports this module
    from torch.distributed import Store

    from cosmos_cli.runtime.workers.failures import Ending

TIMEOUT_VARIABLE = "COSMOS_TIMEOUT_S"
DEFAULT_TIMEOUT_S = 1800.0
GRACE_S = 5
"""Time to remove unfinished files after a signal or an error; then the system ends the process."""
SILENCE_S = 10.0
"""When a worker hangs, another of whom nothing was heard for so long is the one it waits for."""

_rank: Rank | None = None
_step, _step_began = "", 0.0
_stopped_s = 0.0
"""How long this process was stopped, as after Ctrl-Z; such time does not count. Only the watch writes it."""
_watched_timeout_s: float | None = None
_has_told = False


def begin() -> None:
    """Behave as a worker from now on, if this process was started as one; else nothing changes.

    A worker ends with its launcher, writes results on stdout only, and only if it is rank 0, and is gone `GRACE_S`
    seconds after a signal, whatever it waits for; inside `interrupts.asking` it takes the time that it needs.
    """
    global _rank
    _rank = find_rank()
    if _rank is None:
        return
    interrupts.leave_with(interrupted)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(_rank.launcher_pid)
    _keep_stdout_for_results()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="worker-watch", daemon=True).start()
    output.follow(step)


def is_mute() -> bool:
    """Another worker prints for this one."""
    return _rank is not None and _rank.rank > 0


def step(text: str) -> None:
    """Say what begins now; a worker that says nothing for the time-out is taken to hang.

    Every line and bar of `cosmos_cli.output` is such a step already.
    """
    global _step, _step_began
    _step, _step_began = text, _running_s()
    if folder := _launcher_folder():
        with suppress(OSError):  # the launcher is gone, or the disk is full
            (folder / "step").write_text(text, encoding="utf-8")


def fail(error: CosmosError) -> CosmosError | None:
    """Tell whoever started the workers of an error that ends this one; what is left for this process to print."""
    if _rank is None:
        return error
    from cosmos_cli.runtime.workers.failures import Ending, at_rank

    ending = Ending.of_error(_rank.rank, error, _step)
    _tell(ending)
    if _rank.launcher_pid:
        return None
    if ending.met_by not in (None, _rank.rank):
        time.sleep(1)  # who met it prints; the launcher ends it as soon as this process is gone
        return None
    return at_rank(error, _rank.rank)


def interrupted() -> bool:
    """Tell of a signal that ends this worker; whether this process is to print it."""
    if _rank is None:
        return True
    from cosmos_cli.runtime.workers.failures import Ending

    _tell(Ending(_rank.rank, "interrupted", step=_step, time=time.time()))
    return not _rank.launcher_pid


def exit_code(code: int) -> int:
    """The exit code of this process after a command that ended with `code`: rank 0 gives that of all."""
    if _rank is None:
        return code
    if folder := _launcher_folder():
        beats.end(folder)
    if code == 0 or _has_told:
        return code
    if _rank.rank > 0:
        return 0  # else the launcher would end rank 0 while it prints its result
    from cosmos_cli.runtime.workers.failures import Ending

    _tell(Ending(_rank.rank, "exit", code, time=time.time()))
    return code


@contextmanager
def joined(own: Rank, device: str, store: Store | None = None) -> Iterator[None]:
    """A block in which this worker and the others form the default group of torch.distributed.

    All leave together; an error leaves at once. With CUDA, tensors on the GPU go through NCCL, others through gloo.

    Args:
        device: as a user names it, see `cosmos_cli.runtime.devices`.
        store: where they meet; None for one at the address of `own`.
    Raises:
        InputError: no such device, or `COSMOS_TIMEOUT_S` is no number of seconds.
    """
    timeout_s = read_timeout()
    for line in os.environ.get(RESTARTS_VARIABLE, "").splitlines():
        output.notice(line, was_said=True)
    step("starting torch")
    with _watching(timeout_s):
        from datetime import timedelta

        import torch
        from torch import distributed

        from cosmos_cli.runtime.devices import choose_device

        os.environ.update(own.environment())
        backend, gpu = "gloo", None
        is_on_gpu = choose_device(device).type == "cuda"
        if not is_on_gpu and device != "cpu":
            raise InputError(
                "PyTorch sees no GPU in a worker that shall compute on one.",
                where="--device",
                fix="Run `cosmos doctor`; or pass --device cpu to compute on the CPU.",
            )
        if is_on_gpu:
            # no `device_id`: a mesh would split the group, which fails with two backends (pytorch#159200); and so
            # barriers go through gloo, and need no GPU
            backend, gpu = "cpu:gloo,cuda:nccl", _own_gpu(own, torch.cuda.device_count())
            torch.cuda.set_device(gpu)
        step("joining the other workers")
        # the watch shall come first: it knows the step
        timeout = timedelta(seconds=timeout_s + 30)
        if store is not None:
            store.set_timeout(timeout)  # GPUs meet there too, when the last has loaded; its own is five minutes
        distributed.init_process_group(backend, store=store, rank=own.rank, world_size=own.world_size, timeout=timeout)
        if gpu is not None:
            check_own_gpu(own, gpu)
        yield
        step("waiting for the other workers to finish")
        distributed.barrier()
        distributed.destroy_process_group()


def _own_gpu(own: Rank, num_visible: int) -> int:
    if num_visible == 1:
        return 0  # each may be shown its own alone, as Slurm does; `check_own_gpu` tells
    if own.local_rank >= num_visible:
        raise InputError(
            f"{own.launcher} started more workers on this machine than it has GPUs, which are {num_visible}.",
            where="--num-gpus",
            fix="Start one worker per GPU.",
        )
    return own.local_rank


def check_own_gpu(own: Rank, gpu: int) -> None:
    """No two workers have one GPU; every one of them must call this. With one they would wait for each other for ever.

    Args:
        gpu: the number of this worker's.
    Raises:
        InputError: two have the same, in all workers alike.
    """
    import torch
    from torch import distributed

    gpus: list[str] = [""] * own.world_size
    distributed.all_gather_object(gpus, str(torch.cuda.get_device_properties(gpu).uuid))
    if len(set(gpus)) < own.world_size:
        raise InputError(
            f"{own.launcher} shows one GPU to several of its {own.world_size} workers.",
            where="--num-gpus",
            fix="Start one worker per GPU, or pass --device cpu.",
        )


def read_timeout() -> float:
    """Seconds without a new step after which a worker is taken to hang: `COSMOS_TIMEOUT_S`, or half an hour.

    Raises:
        InputError: the variable is not a positive number.
    """
    given = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT_S))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(
            f"{given!r} is not a number of seconds above 0.", where=TIMEOUT_VARIABLE, fix="Give one, or unset it."
        )
    return seconds


def taken_to_hang(seconds: float, step: str) -> CosmosError:
    """What is told of a process that has said nothing new for so long, since it began a step."""
    where = f" at {step!r}" if step else ""
    return CosmosError(
        f"nothing new for {seconds:g} s{where}; taken to hang.",
        fix=f"If that step may take longer, set {TIMEOUT_VARIABLE}.",
    )


@contextmanager
def _watching(timeout_s: float) -> Iterator[None]:
    global _watched_timeout_s
    _watched_timeout_s = timeout_s
    try:
        yield
    finally:
        _watched_timeout_s = None


def _watch(signals: int) -> None:
    """Thread of a worker: see signals that the main thread, waiting in native code, does not, and hangs."""
    global _stopped_s
    folder = _launcher_folder()
    others = beats.Listener(folder.parent if folder else None)
    requests: dict[interrupts.Asking, interrupts.Request] = {}
    while True:
        if select.select([signals], [], [], beats.BEAT_S)[0]:
            numbers = os.read(signals, 64)
            if any(_ends(number, others, requests) for number in numbers if number in interrupts.STOPPING):
                _end_within_grace()
                # long before the clock strikes: who has not come to an end by now still leaves nothing behind
                time.sleep(GRACE_S - 1)
                interrupts.leave()
        if folder:
            beats.beat(folder)
            if interrupts.current_asking() is not None:
                beats.take_signals(folder)
        late_s = others.listen()  # apart from the sum: the main thread goes on while this one listens
        _stopped_s += late_s
        timeout_s = _watched_timeout_s
        if timeout_s is not None and _running_s() - _step_began > timeout_s:
            _report_hang(timeout_s, others)
            return


def _ends(number: int, others: beats.Listener, requests: dict[interrupts.Asking, interrupts.Request]) -> bool:
    """Whether a signal ends this worker soon, or only asks it to come to an end, see `interrupts.asking`."""
    asking = interrupts.current_asking()
    if asking is None or _has_told:
        return True
    is_orphan = _rank is not None and _rank.launcher_pid not in (None, os.getppid())
    if number == signal.SIGTERM and (is_orphan or others.has_lost()):
        return True  # it is torch elastic that ends the rest, and there is nobody left to save with
    return requests.setdefault(asking, interrupts.Request()).insists(number)


def _running_s() -> float:
    return time.monotonic() - _stopped_s


def _report_hang(timeout_s: float, others: beats.Listener) -> None:
    silent = others.silent(min(timeout_s / 2, SILENCE_S))
    if silent and _rank and _rank.launcher_pid:
        from cosmos_cli.runtime.workers.failures import Ending

        _tell(Ending.no_answer(silent[0]))
        for silence in silent:
            silence.kill(_rank.launcher_pid)
    else:
        if to_print := fail(taken_to_hang(timeout_s, _step)):
            output.error(to_print)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _tell(ending: Ending) -> None:
    """Write the ending for the launcher; the first counts. The process is at its end: it must not take long."""
    global _has_told
    if not _has_told and (path := _ending_path()):
        with suppress(OSError):  # the launcher is gone, or the disk is full
            ending.write(path)
    _has_told = True
    _end_within_grace()


def _end_within_grace() -> None:
    # the system's own clock: it also ends a process that waits in native code, or in its last destructors
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.alarm(GRACE_S)


def _ending_path() -> Path | None:
    """Where torch elastic looks for the ending of this worker; its folder goes when the launcher does."""
    path = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", ""))
    return path if path.name and path.parent.is_dir() else None


def _launcher_folder() -> Path | None:
    """Where the `cosmos` process that started this worker looks for how it is; None under other launchers."""
    path = _ending_path() if _rank and _rank.launcher_pid else None
    return path.parent if path else None


def end_with_parent(pid: int | None, number: int = signal.SIGTERM) -> None:
    """Have Linux send a signal when the process that has started this one dies, even if it is killed.

    Args:
        pid: of that process, which may be dead already; None does not look.
    """
    if sys.platform != "linux":
        return
    import ctypes

    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, int(number))
    if pid is not None and os.getppid() != pid:
        signal.raise_signal(number)  # it died before we asked


def _keep_stdout_for_results() -> None:
    """Native libraries print there, NCCL for one: send what they print to stderr."""
    sys.stdout.flush()
    results = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = output.lossy(results, sys.stdout)
