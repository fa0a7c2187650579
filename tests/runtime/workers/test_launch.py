"""One command on several workers: it computes together, prints once, and however it ends, all of it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.runtime.host import num_cores
from cosmos_cli.runtime.workers.beats import Silence
from cosmos_cli.runtime.workers.failures import Ending, first_cause
from cosmos_cli.runtime.workers.launch import PROCESSES_PER_CORE, check_workers
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_cli.testing import CommandResult
from tests.third_party import COSMOS, write_distribution
from tests.waiting import PATIENCE_S, free_port, runs, until

CREW = '''
"""A family whose workers add up their ranks, and end as they are told."""

import os
import time
from pathlib import Path

import typer
from cosmos_cli import output
from cosmos_cli.flags import JsonFlag
from cosmos_cli.errors import CheckpointError
from cosmos_cli.hookspecs import hookimpl
from cosmos_cli.files.writing import replacing
from cosmos_cli.runtime.memory.steps import OutOfMemory, read_steps
from cosmos_cli.runtime.workers import worker
from cosmos_cli.runtime.workers.agreement import agree
from cosmos_cli.runtime.workers.launch import spread

@hookimpl
def cosmos_register_families(register):
    register(name="crew", help="Works together.", commands="crew:app")

app = typer.Typer()

@app.callback()
def crew() -> None:
    """Works together."""

@app.command()
def add(
    num_gpus: int = 1, device: str = "cpu", prompt: str = "", end: str = "", at: int = -1, code: int = 0,
    below: int = 0, timeout_s: float = 0, json: JsonFlag = False,
) -> None:
    """Add up the ranks. timeout_s: of the launcher, and of workers once they compute; imports may take longer."""
    if timeout_s:
        os.environ[worker.TIMEOUT_VARIABLE] = "1000" if "RANK" in os.environ else str(timeout_s)
    with spread(num_gpus, device):
        import torch
        from torch import distributed

        rank = distributed.get_rank()
        Path(f"{rank}.pid").write_text(str(os.getpid()))
        os.write(1, b"a library prints")
        total = torch.tensor([rank])
        with replacing(Path(f"{rank}.mp4")) as temporary, output.progress("Adding", total=3) as advance:
            temporary.write_text("half a video")
            for number in range(3):
                if timeout_s and number == 1 and end != "wait":
                    worker._watched_timeout_s = timeout_s
                if (rank, number) == (at, 1):
                    if end == "error":
                        raise CheckpointError("is damaged.", where="model.pt", fix="Fetch it again.")
                    if end == "kill":
                        os.kill(os.getpid(), 9)
                    if end == "memory" and read_steps() < below:
                        raise OutOfMemory("is full.", fix="Go down.", below=f"plan {read_steps() + 1}")
                    if end == "stop":
                        Path(f"{rank}.waits").touch()
                        os.kill(os.getpid(), 19)
                    while end == "hang":
                        time.sleep(1)
                if end == "look":  # more than the time-out in all, and never so much without a sign
                    agree(lambda: [(time.sleep(3), output.status(f"{n} of 3")) for n in range(3)], "looking")
                if end == "wait" and number == 1:
                    Path(f"{rank}.waits").touch()
                    time.sleep(100)
                while end == "deaf":
                    try:
                        Path(f"{rank}.waits").touch()
                        time.sleep(100)
                    except KeyboardInterrupt:
                        pass
                distributed.all_reduce(torch.ones(1))
                advance()
        distributed.all_reduce(total)
    output.result(str(int(total)), {"total": int(total), "prompt": prompt})
    if code:
        raise typer.Exit(code)
'''

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with the family `crew`."""
    write_distribution(tmp_path / "packages", "crew", {"crew": CREW}, {"crew": "crew"})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a launcher that is killed cannot tidy up
    return tmp_path / "packages"


@pytest.fixture
def start(packages: Path) -> Iterator[Start]:
    """Start `cosmos crew add` in a process of its own, or with other words before these."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object, before: tuple[str, ...] = (str(COSMOS),), **variables: str) -> subprocess.Popen[str]:
        command = [*before, "crew", "add", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, env={**os.environ, **variables}, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> CommandResult:
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return CommandResult(process.returncode, stdout, stderr)


def running() -> list[int]:
    """Processes whose working folder is this test's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cwd").resolve() == Path.cwd() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            pass  # it ended meanwhile, or is somebody else's
    return [pid for pid in found if runs(pid)]


def panel(stderr: str) -> str:
    """Text of the only panel."""
    assert stderr.count("╭") == 1, stderr
    inside = stderr[stderr.index("╭") : stderr.index("╯")]
    return " ".join(re.sub(r"[│╭─╮╰]", " ", inside).split())


def test_workers_compute_together_and_the_command_prints_once(start: Start) -> None:
    prompt = "$5 or $$5 to ${local_rank}"
    result = ended(start("--num-gpus", 2, "--json", "--prompt", prompt))
    assert (result.exit_code, result.json) == (0, {"total": 1, "prompt": prompt, "notices": []})
    assert re.sub(r"\d+\.\d s", "1 s", result.stderr) == "a library printsAdding 3 steps: 1 s\n"
    assert sorted(path.name for path in Path().glob("*.mp4")) == ["0.mp4", "1.mp4"]


@pytest.mark.slow
def test_slurm_starts_the_same_command(start: Start) -> None:
    step = {"SLURM_STEP_NUM_TASKS": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    tasks = [
        start("--num-gpus", 2, "--json", **step, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (0, 1)
    ]
    first, second = map(ended, tasks)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.json["total"] == 1
    assert second.stdout == ""


def test_an_error_of_one_worker_ends_all_with_its_message_and_exit_code(start: Start) -> None:
    result = ended(start("--num-gpus", 2, "--end", "error", "--at", 1, "--json"))
    assert result.exit_code == result.json["exit_code"] == CheckpointError.exit_code
    assert result.json["problems"] == [{"what": "rank 1: is damaged.", "where": "model.pt", "fix": "Fetch it again."}]
    assert panel(result.stderr) == "Checkpoint missing or damaged model.pt rank 1: is damaged. Fetch it again."
    assert not running()
    assert not list(Path().glob("*.mp4")) and not list(Path().glob(".*.part*"))


def test_out_of_memory_starts_all_again_until_it_is_enough(start: Start) -> None:
    result = ended(start("--num-gpus", 2, "--end", "memory", "--at", 1, "--below", 2, "--json"))
    assert (result.exit_code, result.json["total"]) == (0, 1), result.stderr
    lines = [f"out of memory on rank 1: all workers start again with plan {steps}" for steps in (1, 2)]
    assert result.json["notices"] == lines
    # each is said once, when it happens, and the video is made once
    assert re.findall("note: (.*)", result.stderr) == lines
    assert result.stderr.count("Adding 3 steps") == 1
    assert sorted(path.name for path in Path().glob("*.mp4")) == ["0.mp4", "1.mp4"]
    assert not running()
    assert not list(Path().glob(".*.part*"))


@pytest.mark.slow
def test_torchrun_starts_the_same_command_which_tells_that_memory_ran_out_and_may_start_again(
    start: Start,
) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
    line = ("--num-gpus", 2, "--end", "memory", "--at", 1, "--below", 1, "--json")
    result = ended(start(*line, before=(*torchrun, str(COSMOS))))
    assert result.exit_code == 1
    told = " ".join(re.sub(r"[│╭─╮╰]", " ", result.stderr).split())  # rank 0 tells that rank 1 has gone
    assert "Out of memory rank 1: is full. Go down." in told
    again = ended(start(*line, before=(*torchrun, str(COSMOS)), COSMOS_MEMORY_STEPS="1"))
    assert (again.exit_code, again.json["total"]) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "between"), (signal.SIGTERM, "starting")])
def test_stopping_the_command_while_it_starts_again_stops_all(start: Start, number: int, moment: str) -> None:
    process = start("--num-gpus", 2, "--end", "memory", "--at", 1, "--below", 9)
    assert process.stderr is not None
    assert any("start again with plan 1" in line for line in process.stderr)
    if moment == "starting":
        until(lambda: len(workers_of(process.pid)) == 2)
    process.send_signal(number)
    result = ended(process)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.endswith("Interrupted. Finished work is kept.\n")
    assert "plan 2" not in result.stderr
    until(lambda: not running())  # one that was just being started ends by itself
    assert not list(Path().glob(".*.part*"))
    assert not list(Path(os.environ["TMPDIR"]).glob("cosmos-*"))


@pytest.mark.slow
def test_who_waits_for_rank_0_lives_as_long_as_rank_0_does(start: Start) -> None:
    result = ended(start("--num-gpus", 2, "--end", "look", "--json", COSMOS_TIMEOUT_S="8"))
    assert (result.exit_code, result.json["total"]) == (0, 1)


@pytest.mark.slow
def test_a_hang_is_cut_and_names_the_rank_and_the_step(start: Start) -> None:
    result = ended(start("--num-gpus", 2, "--end", "hang", "--at", 1, "--timeout-s", 3))
    assert result.exit_code == 1
    # rank 0, which waits for it, may notice first
    hang = r"rank [01]: nothing new for 3 s at 'Adding: \d of 3 steps done'; taken to hang\."
    assert re.search(hang, panel(result.stderr))
    assert not running()


@pytest.mark.slow
def test_a_stopped_worker_is_named_near_the_time_out_and_ended(start: Start) -> None:
    process = start("--num-gpus", 2, "--end", "stop", "--at", 1, "--timeout-s", 5)
    until(lambda: Path("1.waits").exists())
    stopped = time.monotonic()
    result = ended(process)
    assert time.monotonic() - stopped < 30  # which torch elastic gives beyond that
    assert result.exit_code == 1
    assert re.search(r"rank 1: does not answer: nothing was heard of it for \d+ s, since 'Adding", panel(result.stderr))
    assert not running()


@pytest.mark.slow
def test_workers_that_are_all_stopped_are_ended_by_their_launcher(start: Start) -> None:
    process = start("--num-gpus", 2, "--end", "wait", "--timeout-s", 4)
    until(lambda: len(list(Path().glob("*.waits"))) == 2)
    for pid in workers_of(process.pid):
        os.kill(pid, signal.SIGSTOP)
    result = ended(process)
    assert result.exit_code == 1
    assert re.search(r"rank [01]: does not answer", panel(result.stderr))
    assert not running()


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds, number, fate",
    [
        (0.2, signal.SIGKILL, "rank 2: was killed (SIGKILL)"),
        (None, signal.SIGKILL, "rank 2: was killed (SIGKILL) at 'Adding: 1 of 3 steps done'."),
        (None, signal.SIGTERM, "rank 2 was stopped at 'Adding: 1 of 3 steps done'; this ended the others too."),
    ],
)
def test_killing_one_of_three_ends_the_command_and_names_the_rank(
    start: Start, seconds: float | None, number: int, fate: str
) -> None:
    process = start("--num-gpus", 3, "--end", "wait")
    if seconds is None:
        until(lambda: len(list(Path().glob("*.waits"))) == 3)
        victim = int(Path("2.pid").read_text())
    else:  # while they start
        until(lambda: len(workers_of(process.pid)) == 3)
        time.sleep(seconds)
        victim = workers_of(process.pid)[2]
    killed = time.monotonic()
    os.kill(victim, number)
    result = ended(process)
    assert time.monotonic() - killed < 30  # and not 100 as the others would
    assert result.exit_code == 1
    assert fate in panel(result.stderr)
    assert not running()


def workers_of(pid: int) -> list[int]:
    """Workers that a launcher has started, by rank."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if b"\0RANK=" in environment_of(child)]


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""  # it has ended


@pytest.mark.slow
def test_stopping_the_command_stops_all_and_leaves_no_half_files(start: Start) -> None:
    process = start("--num-gpus", 2, "--end", "wait")
    until(lambda: len(list(Path().glob("*.waits"))) == 2)
    process.send_signal(signal.SIGHUP)  # others stop who is starting, or does not listen
    result = ended(process)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "a library printsInterrupted. Finished work is kept.\n"
    assert not running()
    assert not list(Path().glob(".*.part*"))


@pytest.mark.slow
def test_workers_that_do_not_listen_are_ended_too(start: Start) -> None:
    process = start("--num-gpus", 2, "--end", "deaf")
    until(lambda: len(list(Path().glob("*.waits"))) == 2)
    stopped = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert ended(process).exit_code == 130
    assert time.monotonic() - stopped < 30  # which torch elastic would give them
    assert not running()
    assert not list(Path().glob(".*.part*"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["importing", "twice"])
def test_a_launcher_that_is_stopped_early_or_twice_leaves_nothing(start: Start, moment: str) -> None:
    process = start("--num-gpus", 2, "--end", "deaf")
    if moment == "importing":
        until(lambda: "torch" in Path(f"/proc/{process.pid}/maps").read_text())
    else:
        until(lambda: len(list(Path().glob("*.waits"))) == 2)
        process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    result = ended(process)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.replace("a library prints", "") == "Interrupted. Finished work is kept.\n"
    until(lambda: not running())
    assert not list(Path().glob(".*.part*"))
    assert not list(Path(os.environ["TMPDIR"]).glob("*cosmos-*"))


@pytest.mark.slow
def test_workers_end_when_their_launcher_is_killed_and_the_next_command_ends_as_its_rank_0(start: Start) -> None:
    process = start("--num-gpus", 2, "--end", "wait")
    until(lambda: len(list(Path().glob("*.waits"))) == 2)
    process.kill()
    process.wait()
    until(lambda: not running())
    assert not list(Path().glob(".*.part*"))
    assert len(list(Path(os.environ["TMPDIR"]).glob("cosmos-*"))) == 1
    result = ended(start("--num-gpus", 2, "--code", 7))
    assert (result.exit_code, result.stdout) == (7, "1\n")
    assert "╭" not in result.stderr
    assert not list(Path(os.environ["TMPDIR"]).glob("*cosmos-*"))


@pytest.mark.parametrize(
    "options, variables, where, what",
    [
        (["--device", "cuda:1"], {}, "--device", "names one device"),
        ([], {"COSMOS_TIMEOUT_S": "soon"}, "COSMOS_TIMEOUT_S", "'soon' is not a number of seconds"),
        ([], {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "--num-gpus", "started 4"),
        ([], {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8"}, "--num-gpus", "Slurm started 8 workers"),
    ],
)
@pytest.mark.usefixtures("packages")
def test_what_cannot_be_launched_is_refused(
    cosmos: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variables: dict[str, str],
    where: str,
    what: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = cosmos("crew", "add", "--num-gpus", 2, *options, "--json")
    [problem] = result.json["problems"]
    assert (result.exit_code, problem["where"]) == (2, where)
    assert what in problem["what"]


@pytest.mark.usefixtures("packages")
def test_more_processes_than_cores_can_carry_are_refused_before_any_is_made(
    cosmos: Callable[..., CommandResult], tmp_path: Path
) -> None:
    most = PROCESSES_PER_CORE * num_cores()
    before = set(tmp_path.iterdir())
    for number in (most + 1, 1_000_000, 10**30):
        result = cosmos("crew", "add", "--num-gpus", number, "--device", "cpu", "--json")
        [problem] = result.json["problems"]
        assert (result.exit_code, problem["where"]) == (2, "--num-gpus")
        assert f"{most} at most" in problem["what"]
    assert set(tmp_path.iterdir()) == before
    check_workers(most, "cpu")


@pytest.mark.usefixtures("packages")
def test_more_gpus_than_there_are_is_refused_with_their_number(cosmos: Callable[..., CommandResult]) -> None:
    import torch

    result = cosmos("crew", "add", "--num-gpus", 1000, "--device", "auto", "--json")
    assert result.exit_code == 2
    assert f"this machine shows {torch.cuda.device_count()}" in result.json["problems"][0]["what"]


@pytest.mark.parametrize(
    "nodes, first", [("gpu[003-010,12],cpu7", "gpu003"), ("a1,b2", "a1"), ("r[1-2]n[05,07]", "r1n05"), ("one", "one")]
)
def test_slurm_workers_meet_on_the_first_machine(nodes: str, first: str) -> None:
    step = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": nodes}
    rank = find_rank({**step, "SLURM_JOB_ID": "123456"})
    assert rank is not None
    assert (rank.rank, rank.world_size, rank.local_rank, rank.master_addr) == (5, 8, 1, first)
    assert rank == find_rank({**step, "SLURM_JOB_ID": "123456", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"})


def test_a_process_alone_has_no_rank() -> None:
    assert find_rank({}) is None
    assert find_rank({"RANK": "gold", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}) is None
    # in a batch script of four tasks, outside of srun
    assert find_rank({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"}) is None


def told(rank: int, kind: str, at: float, path: Path) -> Ending:
    """An ending that went through the file between worker and launcher."""
    error = RuntimeError("[gloo/pair.cc:553] Connection closed by peer") if kind == "lost contact" else None
    failure = CosmosError(f"{kind} of {rank}")
    failure.__cause__ = error
    ending = Ending(rank, "interrupted") if kind == "interrupted" else Ending.of_error(rank, failure, "step 3")
    assert ending.kind == kind
    ending.write(path)
    document = json.loads(path.read_text())
    document["cosmos"]["time"] = at
    return Ending.read(rank, 1, document, step="", last_words="")


def found_dead(rank: int, number: int) -> Ending:
    return Ending.read(rank, -number, {"message": "<NONE>"}, step="step 3", last_words="")


def test_the_first_cause_is_told_from_what_followed(tmp_path: Path) -> None:
    def tell(rank: int, kind: str, at: float) -> Ending:
        return told(rank, kind, at, tmp_path / "error.json")

    kill, abort, end = (signal.SIGKILL, signal.SIGABRT, signal.SIGTERM)
    runs = [
        [tell(0, "lost contact", 5), found_dead(2, kill), tell(1, "interrupted", 6)],
        [tell(0, "error", 5.2), tell(2, "error", 5.1)],
        [tell(0, "lost contact", 5.2), tell(2, "error", 5.3), found_dead(1, abort)],
        [tell(2, "error", 5.2), found_dead(0, signal.SIGSEGV)],  # in its last destructors, after SIGTERM
        [tell(0, "lost contact", 5), found_dead(1, end), found_dead(2, abort)],
        [tell(0, "lost contact", 5.2), tell(2, "interrupted", 5.1), found_dead(1, end)],
    ]
    assert [first_cause(run).rank for run in runs] == [2] * len(runs)
    unheard = replace(Ending.no_answer(Silence(2, 5.0, "step 3", None)), rank=1)  # as rank 1 tells it
    for others in ([found_dead(2, kill)], [tell(0, "error", 5), found_dead(2, kill)]):
        assert "rank 2: does not answer" in str(first_cause([*others, unheard]).error())
    assert "rank 2: was killed (SIGKILL) at 'step 3'." in str(first_cause(runs[0]).error())
