"""Commands that die, or find the disk full, before each of their file operations in turn, and are run once more.

    python -m tests.deaths run|batch|best-of-n PICTURE FOLDER

A program of its own: it loads the tiny model once and splits into a process for every attempt, so that one takes a
few tenths of a second. What networks make is kept from a first run, since only files matter here, and what was found
to go on from the same files once is not run again. Prints a JSON document.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import hashlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cosmos_cli import main
from cosmos_cli.generation.pipeline import Pipeline

How = Literal["death", "full"]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
NEEDS_NO_ROOM = {"os.remove", "os.rmdir", "os.chmod"}

COMMON = ("--model", "tiny", "--num-frames", "5", "--num-steps", "1", "--prompt", "It drifts.")
LINES = {
    "run": ["video2world", "--input-path", "picture.png", *COMMON, "--preview", "--save-path", "out/a.mp4"],
    "batch": ["batch", "rows.json", *COMMON[:-2]],
    "best-of-n": [
        *("best-of-n", "--input-path", "picture.png", *COMMON, "--save-path", "out"),
        *("--num-generations", "2", "--num-critic-trials", "1"),
    ],
}
ROWS = [{"input_video": "picture.png", "prompt": "It drifts.", "output_video": f"out/{name}.mp4"} for name in "ab"]


class Failing:
    """Notes what changes files in a folder, and fails before operation `at`, counted from 1."""

    def __init__(self, how: How, at: int, folder: Path) -> None:
        self._how, self._at, self._folder = how, at, str(folder)
        self.operations: list[str] = []
        sys.addaudithook(self._audit)
        for name in ("write", "fsync", "ftruncate"):
            setattr(os, name, self._before_it(getattr(os, name)))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR)) or bool(set(str(mode or "")) & set("wax+"))
            if writes and isinstance(path, str | bytes):
                self._before(path, event)
        elif event in CHANGES and isinstance(arguments[0], str | bytes | os.PathLike):
            self._before(arguments[0], event)

    def _before_it(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(descriptor: int, *arguments: Any) -> Any:
            path = ""
            with contextlib.suppress(OSError):
                path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            self._before(path, real.__name__)
            return real(descriptor, *arguments)

        return wrapped

    def _before(self, path: Any, operation: str) -> None:
        name = os.fsdecode(path)
        if name.startswith(("pipe:", "anon_inode:")) or not str(Path(name).absolute()).startswith(self._folder):
            return
        self.operations.append(operation)
        count = len(self.operations)
        if self._how == "death" and count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        # once a disk is full it stays so; names may find room in their folder again
        is_full = count == self._at or (count > self._at and operation != "os.rename")
        if self._how == "full" and is_full and operation not in NEEDS_NO_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))


def attempt(kind: str, folder: Path, failing: Callable[[], Failing] | None = None) -> tuple[int, list[str]]:
    """Run a command in a process of its own: its exit status as `os.waitpid` tells it, and what operations it made.

    What it says goes to `said.txt` beside the folder.
    """
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        code = 99
        try:
            os.chdir(folder)
            with folder.with_name("said.txt").open("w") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            noted = failing() if failing else None
            code = main.run(["predict2", *LINES[kind]])
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(writing, " ".join(noted.operations if noted else []).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        operations = told.read().split()
    return os.waitpid(pid, 0)[1], operations


def state(folder: Path) -> dict[str, Any]:
    """What lies in a folder, without what may differ from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "cache" not in path.parts and path.name not in ("picture.png", "rows.json"):
            found[str(path.relative_to(folder))] = _content(path)
    return found


def _content(path: Path) -> Any:
    if path.name.startswith("."):
        return "in the making"
    if path.name.endswith(".jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        finished = {"written": "done"}
        last = {line["key"]: finished.get(line["status"], line["status"]) for line in lines if "key" in line}
        return sorted(last.items())
    if path.suffix == ".json":
        document = json.loads(path.read_text())
        for name in ("result", "planned", "actual", "notices"):
            document.pop(name, None)
        return document
    return "a page" if path.suffix == ".html" else hash(path.read_bytes())


CHANCE = re.compile(
    rb"-[0-9a-f]{8}-\d+-[0-9a-f]{8}|\.[0-9a-f]{16}(?=\.part)"  # what is in the making: machine, process and chance
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    rb"|(?<![\w.])\d+(\.\d+)?(e-\d+)?(?![\w.])"  # processes, seconds and bytes; names and keys stay
)


def what_lies_there(folder: Path) -> str:
    """A digest of names, modes and bytes, but for processes and times: from the same, a command goes on alike."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: CHANCE.sub(b"", os.fsencode(path))):
        content = b"" if path.is_dir() else path.read_bytes()
        if "cache" in path.parts:  # rates that were measured
            content = content[:1]
        elif path.suffix not in (".mp4", ".png"):
            content = CHANCE.sub(b"#", content)
        name = CHANCE.sub(b"#", os.fsencode(path.relative_to(folder)))
        digest.update(repr((name, path.stat().st_mode, content)).encode())
    return digest.hexdigest()


def keep_what_networks_make() -> None:
    """From now on a model loads once, and makes the same request once."""
    from cosmos_plugins.predict2.video2world.pipeline import Video2WorldPipeline

    pipelines: list[Any] = []
    real_load, real_make = Video2WorldPipeline.load, Pipeline.make
    made: dict[Any, Any] = {}

    def load(*arguments: Any, **options: Any) -> Any:
        pipelines or pipelines.append(real_load(*arguments, **options))
        return pipelines[0]

    def make(self: Any, sample: Any, **options: Any) -> Any:
        key = (sample.request.seed, sample.request.save_path)
        if key not in made:
            made[key] = real_make(self, sample, **options)
        return made[key]

    Video2WorldPipeline.load = load  # type: ignore[method-assign, assignment]
    Video2WorldPipeline.make = make  # type: ignore[method-assign]


def fresh(root: Path, picture: Path) -> Path:
    folder = root / "here"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(picture, folder / "picture.png")
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


def all_failures(kind: str, picture: Path, root: Path) -> dict[str, Any]:
    """How many operations there are, and what was wrong after failing before each of them."""
    os.environ["COSMOS_CACHE_DIR"] = "cache"
    os.environ["COLUMNS"] = "200"
    folder = fresh(root, picture)
    keep_what_networks_make()
    os.chdir(folder)
    assert main.run(["predict2", *LINES[kind]]) == 0  # in this process, whose networks are split off with it
    gc.freeze()  # or every process would copy what it looks through
    folder = fresh(root, picture)
    status, operations = attempt(kind, folder, functools.partial(Failing, "death", 0, folder))
    assert status == 0, (root / "said.txt").read_text()
    undisturbed = state(folder)
    faults = []
    gone_on: set[str] = set()
    for how in ("death", "full"):
        for at, operation in enumerate(operations, 1):
            if how == "full" and operation in NEEDS_NO_ROOM:
                continue  # it is the next that fails, which has its turn
            folder = fresh(root, picture)
            status, _ = attempt(kind, folder, functools.partial(Failing, how, at, folder))
            said = (root / "said.txt").read_text()
            fault = _fault(how, status, said, state(folder))
            left = what_lies_there(folder)
            if not fault and left not in gone_on:
                gone_on.add(left)
                again, _ = attempt(kind, folder)
                fault = _fault_after(again, (root / "said.txt").read_text(), undisturbed, state(folder))
            if fault:
                faults.append(f"{how} before operation {at}: {fault}")
    return {"operations": len(operations), "went_on": len(gone_on), "faults": faults}


def _fault(how: str, status: int, said: str, between: dict[str, Any]) -> str:
    """What is wrong with how a command ended."""
    if how == "death" and status == signal.SIGKILL:
        return ""
    if "Traceback" in said or "defect" in said:
        return said
    code = os.waitstatus_to_exitcode(status)
    if how == "full" and code not in (0, 1):
        return f"exit code {code}: {said}"
    if how == "full" and code == 1 and "Disk full" not in said and "did not fit" not in said:
        return f"does not say that the disk is full: {said}"
    if any(name.endswith("-journal.json") for name in between):  # the next run knows what goes with what
        return ""
    alone = [name for name in between if re.fullmatch(r"out/[^.]*\.mp4", name) and name[:-3] + "json" not in between]
    return f"videos without their sidecars: {alone}" if alone else ""


def _fault_after(status: int, said: str, undisturbed: dict[str, Any], now: dict[str, Any]) -> str:
    """What is wrong after the command was run once more."""
    code = os.waitstatus_to_exitcode(status)
    if code and not (code == 2 and "exists already" in said):  # a single run that had finished
        return f"once more, exit code {code}: {said}"
    if now != undisturbed:
        differing = {name for name in now.keys() | undisturbed.keys() if now.get(name) != undisturbed.get(name)}
        return f"once more, other files: {sorted(differing)}"
    return ""


if __name__ == "__main__":
    os.umask(0o022)
    document = all_failures(sys.argv[1], Path(sys.argv[2]).absolute(), Path(sys.argv[3]).absolute())
    sys.stdout.write("\n" + json.dumps(document))
