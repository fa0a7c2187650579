"""One command on several workers: start them, end them together, and tell why.

The launcher runs no model: it checks, starts the same command line once per worker through torch elastic, and waits.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cosmos_cli import interrupts, output
from cosmos_cli.errors import InputError
from cosmos_cli.interrupts import LAUNCHER_VARIABLE
from cosmos_cli.runtime.host import num_cores
from cosmos_cli.runtime.machine import check_device, usable_gpus
from cosmos_cli.runtime.memory.steps import STEPS_VARIABLE, read_steps
from cosmos_cli.runtime.workers import worker
from cosmos_cli.runtime.workers.beats import BEAT_S, Listener, hand_on
from cosmos_cli.runtime.workers.failures import Ending, first_cause
from cosmos_cli.runtime.workers.folder import launcher_folder
from cosmos_cli.runtime.workers.rank import RESTARTS_VARIABLE, Rank, command, find_rank

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

PROCESSES_PER_CORE = 8
"""Most workers that share a core of a CPU: more than anybody needs, and few enough for any machine."""


@contextlib.contextmanager
def spread(num_gpus: int, device: str) -> Iterator[None]:
    """A block that `num_gpus` workers run together, each on its own device.

    With one, the block just runs. In a worker of this launcher, of `torchrun` or of Slurm it runs as a member of the
    default group of torch.distributed. In any other process the block does not run: the workers are started, and when
    all are done the command ends with their exit code. Write results after the block, where nothing can fail any more;
    only rank 0 prints.

    A worker without a new step, see `workers.worker.step`, for `COSMOS_TIMEOUT_S` seconds ends them all. Inside
    `interrupts.asking` signals to the launcher are handed on to the workers, and it waits for them.

    Args:
        device: as a user names it, see `cosmos_cli.runtime.devices`.
    Raises:
        InputError: `num_gpus` is not the number of workers that were started, or more than there are GPUs.
        CosmosError: the error of the worker that failed first, with its exit code.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the workers have ended.
        typer.Exit: the workers have done the work.
    """
    own = check_workers(num_gpus, device)
    if num_gpus == 1:
        yield
    elif own is not None:
        with worker.joined(own, device):
            yield
    else:
        raise typer.Exit(_run_workers(num_gpus))


def check_workers(num_gpus: int, device: str) -> Rank | None:
    """Where this process was started, if by a launcher; what `spread` would refuse is refused here already.

    Raises:
        InputError: as for `spread`; or there is no such device.
    """
    own = find_rank()
    if own is not None:
        _check_number(num_gpus, own)
    if num_gpus == 1:
        check_device(device)
    else:
        _check_name(num_gpus, device)
        if own is None:
            # once, before each worker finds it wrong
            worker.read_timeout()
            read_steps()
            _check_machine(num_gpus, device)
    return own


def _check_number(num_gpus: int, own: Rank) -> None:
    if num_gpus != own.world_size:
        raise InputError(
            f"asks for {num_gpus}, but {own.launcher} started {own.world_size} workers.",
            where="--num-gpus",
            fix=f"Pass --num-gpus {own.world_size}, or start the command without {own.launcher}.",
        )


def _check_name(num_gpus: int, device: str) -> None:
    if ":" in device:
        raise InputError(
            f"names one device, but --num-gpus asks for {num_gpus}.",
            where="--device",
            fix="Pass --device cuda, and choose among the GPUs with CUDA_VISIBLE_DEVICES.",
        )


def _check_machine(num_gpus: int, device: str) -> None:
    if device == "cpu":
        most = PROCESSES_PER_CORE * num_cores()
        if num_gpus > most:
            raise InputError(
                f"asks for {num_gpus} processes, but the {num_cores()} cores here carry {most} at most.",
                where="--num-gpus",
                fix=f"Pass {num_cores()}, one for each core, or fewer.",
            )
        return
    num_found = len(usable_gpus())
    if num_found >= num_gpus:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
    fix = "Ask for as many as there are, or start it on several machines with torchrun or Slurm."
    if not num_found:
        fix = f"To share the work among {num_gpus} processes on the CPU, pass --device cpu."
    raise InputError(
        f"asks for {num_gpus} GPUs, but this machine shows {num_found}{chosen}.", where="--num-gpus", fix=fix
    )


def _run_workers(num_workers: int) -> int:
    """Start the workers, wait for them, and return their exit code.

    If one runs out of memory, all start again a step further down; a batch goes on from its ledger.
    """
    said: list[str] = []
    # one for all starts: a signal between two of them finds nothing half made
    with launcher_folder() as folder:
        for num_steps in itertools.count(read_steps()):
            inherited = {STEPS_VARIABLE: str(num_steps), RESTARTS_VARIABLE: "\n".join(said)}
            cause = _run_once(num_workers, inherited, folder / str(num_steps))
            if cause is None:
                return 0
            asking = interrupts.current_asking()
            if asking is not None and cause.kind == "interrupted":
                return asking.exit_code or cause.exit_code
            if cause.kind != "out of memory":
                if error := cause.error():
                    raise error
                return cause.exit_code
            said.append(f"out of memory on rank {cause.rank}: all workers start again with {cause.below}")
            output.notice(said[-1])
    raise AssertionError("there is always a next step")


def _run_once(num_workers: int, inherited: Mapping[str, str], folder: Path) -> Ending | None:
    """Start the workers and wait for them; what ended them, or None if they have done the work.

    Args:
        inherited: further variables of their environment.
        folder: for what they tell.
    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; they have ended.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with _as_launcher(num_workers, inherited), _listening(folder) as unheard:
        # rank 0 has the terminal; what libraries print in the others is kept for the case that they die of it
        quiet: dict[int, Std] = {} if _debugging() else dict.fromkeys(range(1, num_workers), Std.ALL)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_workers,
            run_id="cosmos",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # any free port
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=quiet),
            signals_to_handle="SIGURG",  # none that comes: `cosmos_cli.interrupts` has those that stop
        )
        try:
            # torch elastic fills in templates such as ${local_rank}; a doubled $ comes out as one
            elastic_launch(config, sys.executable)(*[part.replace("$", "$$") for part in command()])
        except ChildFailedError as failed:
            endings = [_ending(rank, failure, folder) for rank, failure in failed.failures.items()]
            return first_cause([*endings, *unheard])
    return None


@contextlib.contextmanager
def _listening(folder: Path) -> Iterator[list[Ending]]:
    """A block that ends workers which do not answer, should there be no other left to notice; yields their endings."""
    timeout_s, over = worker.read_timeout(), threading.Event()
    unheard: list[Ending] = []
    asking = interrupts.current_asking()
    if asking is not None:
        asking.on_insist = lambda: _hand_on(signal.SIGINT, folder, set())

    def listen() -> None:
        listener = None
        told: set[Path] = set()
        while not over.wait(BEAT_S) and not unheard:
            if asking is not None and asking.signal:
                # Ctrl-C in a terminal reaches only this process, or workers too: they shall not take it for two
                _hand_on(signal.SIGHUP if asking.signal == signal.SIGINT else asking.signal, folder, told)
            if listener is None and (found := next(folder.glob("*/attempt_0"), None)):
                listener = Listener(found)
            if listener is None:
                continue
            listener.listen()
            # twice: the time-out of the others comes first, and imports from a slow disk hold a worker up too
            for silence in listener.silent(2 * timeout_s, begun=True):
                unheard.append(Ending.no_answer(silence))
                silence.kill(os.getpid())

    thread = threading.Thread(target=listen, name="launcher-watch", daemon=True)
    thread.start()
    try:
        yield unheard
    finally:
        over.set()
        thread.join()
        if asking is not None:
            asking.on_insist = None


def _hand_on(number: int, folder: Path, told: set[Path]) -> None:
    """Send a signal to the workers that take it as a request, and are not among those `told` already."""
    for each in folder.glob("*/attempt_0/*"):
        if each not in told and hand_on(number, each, os.getpid()):
            told.add(each)


@contextlib.contextmanager
def _as_launcher(num_workers: int, inherited: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that workers inherit and silence torch elastic; put back what it changes in this process."""
    threads = max(1, num_cores() // num_workers)
    before = dict(os.environ)
    level = logging.root.manager.disable
    os.environ.update(inherited)
    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if not _debugging():
        logging.disable()
    try:
        yield
    finally:
        logging.disable(level)
        os.environ.clear()
        os.environ.update(before)


def _ending(rank: int, failure: ProcessFailure, folder: Path) -> Ending:
    """What became of a worker, from what torch elastic knows and from the files of the worker."""
    files = {path.name: path for path in folder.glob(f"*/attempt_0/{rank}/*")}
    told = {
        name: files[name].read_text(encoding="utf-8", errors="replace").strip() if name in files else ""
        for name in ("step", "stderr.log")
    }
    last_words = told["stderr.log"].rpartition("\n")[2]
    return Ending.read(rank, failure.exitcode, failure.error_file_data, step=told["step"], last_words=last_words)


def _debugging() -> bool:
    return os.environ.get("COSMOS_DEBUG") == "1"
