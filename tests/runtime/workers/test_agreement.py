"""What several processes decide as one: one of them finds out, and all go on with the same value or error."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, GuardrailBlocked, met_by
from cosmos_cli.generation.load import _built_by_one, _by_one
from cosmos_cli.guardrails import Guardrails
from cosmos_cli.runtime.workers import agreement
from cosmos_cli.runtime.workers.agreement import agree, deciding, is_alone, together
from cosmos_cli.runtime.workers.team import Team
from tests.processes import run_together
from tests.waiting import until


class Odd(GuardrailBlocked):
    """One that pickle cannot make again, as another package may bring it."""

    def __init__(self, number: int, *, lock: Any) -> None:
        super().__init__(f"number {number} is odd.", where="guardrail odd", fix="Use 2.")
        self.lock = lock


def raised(compute: Any) -> dict[str, Any]:
    try:
        return {"value": compute()}
    except Exception as error:
        kind = "GuardrailBlocked" if isinstance(error, GuardrailBlocked) else type(error).__name__
        return {"kind": kind, "text": str(error), "met_by": met_by(error)}


def fails(error: Exception) -> Any:
    raise error


def of_several_kinds() -> dict[str, Any]:
    rank = dist.get_rank()
    steps: list[str] = []
    output.follow(steps.append)
    array = agree(lambda: np.full((3, 2), 7 + rank, np.uint8)[:, ::2], "an array")
    many = agree(lambda: (np.zeros((0, 4), bool), torch.full((2,), rank), {"rank": rank}), "many")
    return {
        "rank": agree(dist.get_rank, "a number"),
        "nested": agree(lambda: agree(dist.get_rank, "within"), "what is agreed on within"),
        "array": array.tolist(),
        "shape": list(many[0].shape),
        "tensor": many[1],
        "mapping": many[2],
        "blocked": raised(lambda: agree(lambda: fails(Odd(3, lock=threading.Lock())), "a verdict")),
        "memory": raised(lambda: agree(lambda: fails(torch.OutOfMemoryError("full")), "memory")),
        "defect": raised(lambda: agree(lambda: fails(KeyError("faces")), "a defect")),
        "steps": sorted({step for step in steps if step.startswith("waiting")}),
    }


def test_the_first_process_finds_out_and_all_have_its_value_or_its_error(tmp_path: Path) -> None:
    first, second, third = run_together(3, of_several_kinds, tmp_path)
    for each in (first, second, third):
        assert (each["rank"], each["nested"], each["mapping"], each["shape"]) == (0, 0, {"rank": 0}, [0, 4])
        assert (each["array"], each["tensor"].tolist()) == ([[7], [7], [7]], [0, 0])
        blocked = {"kind": "GuardrailBlocked", "text": "guardrail odd: number 3 is odd. Use 2.", "met_by": 0}
        assert each["blocked"] == blocked
        # by their class and their words a run tells that it should step down
        assert each["memory"] == {"kind": "OutOfMemoryError", "text": "full", "met_by": 0}
    assert first["defect"]["kind"] == "KeyError"
    assert second["defect"] == {"kind": "CosmosError", "text": "KeyError: 'faces'", "met_by": 0}
    assert first["steps"] == []
    assert "waiting for rank 0's answer: a verdict" in second["steps"]


def where_one_fails_within() -> list[Any]:
    rank = dist.get_rank()

    def read() -> int:
        if rank == 1:
            raise CosmosError("cannot be read here.")
        return agree(lambda: 5, "what only some come by")

    return [raised(lambda: together(read)), together(lambda: rank)]


def test_where_one_process_fails_all_do_though_they_decide_other_things_meanwhile(tmp_path: Path) -> None:
    results = run_together(3, where_one_fails_within, tmp_path)
    for rank, (failed, after) in enumerate(results):
        assert failed == {"kind": "CosmosError", "text": "cannot be read here.", "met_by": 1}
        assert after == rank


def where_others_are_stuck() -> Any:
    agreement.PATIENCE_S = 0.5
    together(lambda: None)
    if dist.get_rank():
        until(Path("found").exists)  # in a collective call that the other has left
        os._exit(0)
    found = raised(lambda: together(lambda: fails(CosmosError("the disk is full."))))
    Path("found").write_text(f"{found['text']} {found['met_by']}")
    os._exit(0)


def test_who_fails_alone_does_not_wait_for_ever(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):  # the processes end before they tell their results
        run_together(2, where_others_are_stuck, tmp_path)
    assert Path("found").read_text() == "the disk is full. None"


def in_groups() -> list[Any]:
    rank = dist.get_rank()
    team = Team.form(torch.device("cpu"), "dp=2,cp=2", num_heads=2, num_items=2, guided=False)
    ahead: list[Any] = []

    def prepare() -> None:
        with deciding(team.circle_ahead):
            ahead.extend(agree(lambda: 10 + rank, "what comes next") for _ in range(50))

    thread = threading.Thread(target=prepare)
    thread.start()
    with deciding(team.circle):
        made = [agree(lambda: rank, "what is made") for _ in range(50)]
    thread.join()
    return [sorted(set(made)), sorted(set(ahead)), agree(lambda: rank, "what all are asked"), team.is_writer]


def test_each_group_has_its_own_first_process_and_two_threads_do_not_meet(tmp_path: Path) -> None:
    results = run_together(4, in_groups, tmp_path)
    assert results == [[[0], [10], 0, True], [[0], [10], 0, False], [[2], [12], 0, True], [[2], [12], 0, False]]


def with_longer_videos_elsewhere() -> list[Any]:
    rank = dist.get_rank()
    team = Team.form(torch.device("cpu"), "dp=2", num_heads=1, num_items=2, guided=False)
    told: list[str] = []

    def tell(step: str) -> None:
        told.append(step)
        if rank == 0 and told.count("waiting for the videos of other groups") > 5:
            Path("told").touch()

    agreement.worker.step = tell  # type: ignore[assignment]
    if rank == 1:
        until(Path("told").exists, "a word of who waits")
    return team.gather([rank])


def test_who_is_done_before_others_is_not_taken_to_hang(tmp_path: Path) -> None:
    assert run_together(2, with_longer_videos_elsewhere, tmp_path) == [[0, 1], [0, 1]]


def with_a_long_look_of_one() -> list[Any]:
    steps: list[str] = []
    agreement.worker.step = steps.append  # type: ignore[assignment]
    found = agree(lambda: time.sleep(1.5) or 7, "every prompt")  # type: ignore[func-returns-value]
    return [found, steps.count("waiting for rank 0's answer: every prompt") > 5]


def test_who_waits_for_what_one_finds_out_is_not_taken_to_hang(tmp_path: Path) -> None:
    assert run_together(2, with_a_long_look_of_one, tmp_path) == [[7, False], [7, True]]


class Blur:
    """Changes the second frame in the first process, and all of them in another, which nobody should ask."""

    def check_prompt(self, prompt: str) -> None:
        raise GuardrailBlocked(f"rank {dist.get_rank()} refuses.")

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        checked_FHWC = frames_FHWC.copy()
        checked_FHWC[1 if dist.get_rank() == 0 else slice(None)] = 9
        return checked_FHWC


def checked_by_one() -> dict[str, Any]:
    loaded: list[int] = []

    def build() -> dict[str, Any]:
        loaded.append(dist.get_rank())
        return {"blur": Blur()}

    checks = Guardrails(build)
    blocked = raised(lambda: checks.check_ahead([["a bus"]]))
    frames = checks.check_video(np.zeros((3, 2, 2, 3), np.uint8))
    return {"loaded": loaded, "blocked": blocked, "frames": frames.max(axis=(1, 2, 3)).tolist()}


def test_one_process_loads_the_guardrails_and_what_it_finds_holds_for_all(tmp_path: Path) -> None:
    first, second = run_together(2, checked_by_one, tmp_path)
    assert (first["loaded"], second["loaded"]) == ([0], [])
    for each in (first, second):
        assert each["blocked"]["text"] == "guardrail blur: rank 0 refuses."
        assert each["frames"] == [0, 9, 0]


def refined_by_one() -> dict[str, Any]:
    built: list[int] = []

    def build() -> dict[str, Any]:
        built.append(dist.get_rank())
        return {"moody": lambda prompt, frames: f"{prompt} of rank {dist.get_rank()}"}

    stages: Any = SimpleNamespace(run=lambda attempt: attempt())  # there is enough memory
    [(name, refine)] = _built_by_one(build).items()
    return {"built": built, "name": name, "prompt": _by_one(refine, stages, name)("a bus", None)}


def test_one_process_builds_the_refiners_and_asks_them(tmp_path: Path) -> None:
    first, second = run_together(2, refined_by_one, tmp_path)
    assert first == {"built": [0], "name": "moody", "prompt": "a bus of rank 0"}
    assert second == first | {"built": []}


def test_one_process_alone_calls_and_raises_what_it_is_given() -> None:
    error = KeyError("faces")
    assert is_alone()
    assert agree(lambda: 5, "a number") == together(lambda: 5) == 5
    for ask in (together, partial(agree, what="a defect")):
        with pytest.raises(KeyError) as caught:
            ask(lambda: fails(error))
        assert caught.value is error
        assert met_by(error) is None
