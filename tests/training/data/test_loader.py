"""Which clips a step takes, whoever reads them, and what happens when they cannot be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from cosmos_cli import output
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.training.data.examples import Example, Examples
from cosmos_cli.training.data.loader import Loader
from cosmos_cli.training.data.order import Order
from tests.training.data.folders import recipe_with
from tests.waiting import PATIENCE_S, runs, until


class Numbers:
    """Clip i holds i, and what chance says; some cannot be read."""

    def __init__(self, num_clips: int, bad: frozenset[int] = frozenset()) -> None:
        self._num_clips, self._bad = num_clips, bad

    def __len__(self) -> int:
        return self._num_clips

    def example(self, index: int, generator: torch.Generator) -> Example:
        if index in self._bad:
            raise InputError("cannot be read.", where=f"clip {index}")
        chance = torch.rand(2, 1, generator=generator)
        return Example(str(index), torch.full((1, 2, 2, 3), index % 256, dtype=torch.uint8), chance, 24.0)


def loader(dataset: Numbers, num_workers: int = 0, *, batch_size: int = 1, **changes: int) -> Loader:
    data = recipe_with("mock:MockClips", Path(), num_workers=num_workers, batch_size=batch_size).data
    return Loader(dataset, data, **{"seed": 3, "global_batch_size": 8, **changes})


Step = list[tuple[Examples, tuple[int, ...]]]


def steps(of: Loader, count: int) -> list[Step]:
    with of:
        return list(islice(of, count))


def flat(taken: list[Step]) -> list[list[tuple[int, str, list[float]]]]:
    """Place, name and text of every clip, by step, in the order of their places."""
    return [
        sorted(
            (place, examples.names[i], examples.text_BLC[i].flatten().tolist())
            for examples, places in step
            for i, place in enumerate(places)
        )
        for step in taken
    ]


def test_an_epoch_holds_every_clip_once_and_the_next_another_order() -> None:
    order = Order(50, seed=1)
    epochs = [[order.clip(50 * epoch + place) for place in range(50)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [order.clip(position) for position in (149, 0, 75)] == [epochs[2][49], epochs[0][0], epochs[1][25]]


@pytest.mark.parametrize(("world", "batch_size"), [(1, 8), (2, 1), (4, 2), (8, 1)])
def test_clips_of_a_step_depend_on_neither_ranks_nor_batches_nor_where_the_run_began(
    world: int, batch_size: int
) -> None:
    whole = flat(steps(loader(Numbers(11)), 5))
    begun = [
        steps(loader(Numbers(11), batch_size=batch_size, rank=rank, world=world, first_step=2), 3)
        for rank in range(world)
    ]
    together = [[part for rank in begun for part in rank[step]] for step in range(3)]
    assert flat(together) == whole[2:]


def test_processes_that_read_ahead_give_what_this_one_reads() -> None:
    dataset = Numbers(11, frozenset({4}))
    own, ahead = (steps(loader(dataset, workers, batch_size=2, first_step=1), 4) for workers in (0, 2))
    assert flat(own) == flat(ahead)
    assert all(
        torch.equal(a.frames_BFHWC, b.frames_BFHWC)
        for one, two in zip(own, ahead, strict=True)
        for (a, _), (b, _) in zip(one, two, strict=True)
    )


def test_a_clip_that_cannot_be_read_is_replaced_by_the_next_and_told_once() -> None:
    order = Order(40, seed=3)
    bad = frozenset({order.clip(2), order.clip(3)})
    taken = flat(steps(loader(Numbers(40, bad)), 10))  # two epochs
    names = [name for step in taken for _, name, _ in step]
    assert names[:5] == [str(order.clip(position)) for position in (0, 1, 4, 4, 4)]
    assert not bad & set(map(int, names))
    told = [line for line in output.notices() if "left out" in line]
    assert len(told) == 2
    assert all(any(f"clip {each}: cannot be read" in line for line in told) for each in bad)


def test_too_many_clips_that_cannot_be_read_end_the_training() -> None:
    with pytest.raises(InputError, match="19 clips before it"):
        steps(loader(Numbers(30, frozenset(range(30)))), 1)
    with pytest.raises(InputError, match=r"101 of the last \d+ clips"):
        steps(loader(Numbers(200, frozenset(range(0, 200, 5)))), 100)
    assert len(steps(loader(Numbers(200, frozenset(range(0, 200, 20)))), 150)) == 150  # one in twenty is no harm


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.fixture
def deadline() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.usefixtures("deadline")
def test_processes_heed_no_signal_that_asks_and_a_killed_one_is_an_error() -> None:
    with pytest.raises(CosmosError, match="has ended") as caught, loader(Numbers(11), 1) as running:
        before = {*children()}
        taken = iter(running)
        first = next(taken)
        own = [process.pid for process in running._processes]
        assert {*own} <= {*children()} - before
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            os.kill(own[0], number)
        assert flat([first, *islice(taken, 3)]) == flat(steps(loader(Numbers(11)), 4))
        os.kill(own[0], signal.SIGKILL)
        list(islice(taken, 100))
    assert caught.value.exit_code == 1
    assert not {*own} & {*children()}


PARENT = """
import os, sys
from tests.training.data.test_loader import Numbers, loader
with loader(Numbers(11), 1) as running:  # as in the script of a command: nothing keeps it from being run again
    next(iter(running))
    print(*[process.pid for process in running._processes], flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.usefixtures("deadline")
def test_processes_end_with_the_one_that_trains(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until(lambda: not runs(pid))
