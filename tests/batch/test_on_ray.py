"""Batches on a Ray cluster: the same files as from this machine, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.batch.engine import Report, run_batch
from cosmos_cli.batch.ledger import read_ledger
from cosmos_cli.batch.on_ray import MAX_RETRIES, RayEngine
from cosmos_cli.errors import CosmosError, InputError
from cosmos_cli.testing import run_cosmos
from tests.batch.test_engine import LEDGER, Shouter, plan_of, statuses

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

NUM_NODES = 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Nodes with a CPU each, and a head that has none."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    for _ in range(NUM_NODES):
        add_node(started)
    yield started
    started.shutdown()


def add_node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)


@pytest.fixture
def address(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return str(cluster.address)


class OnceDeadly(Shouter):
    """Kills its own process the first time that it makes a certain text, or every time."""

    def __init__(self, text: str, mark: Path | None) -> None:
        super().__init__()
        self._text, self._mark = text, mark

    def make(self, sample: dict[str, str]) -> dict[str, str]:
        if sample["text"] == self._text and (self._mark is None or not self._mark.exists()):
            if self._mark is not None:
                self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(sample)


def hidden_files(folder: str = "out") -> list[str]:
    return [path.name for path in Path(folder).rglob(".*")]


@pytest.mark.usefixtures("address")
def test_an_actor_that_dies_costs_nothing_and_its_like_is_given_up_in_the_end() -> None:
    mark = Path("killed").absolute()
    plan = plan_of("a", "b", "c", "d")
    report = run_batch(plan, lambda _: OnceDeadly("b", mark), ledger=LEDGER, engine=RayEngine("cpu"))
    assert mark.exists()
    assert statuses(report) == ["done"] * 4
    assert [Path(f"out/{name}.txt").read_text() for name in "abcd"] == ["A", "B", "C", "D"]
    assert hidden_files() == []
    assert [entry.status for entry in read_ledger(LEDGER).entries()] == ["done"] * 4

    deadly = plan_of("a", "x", "y")
    report = run_batch(deadly, lambda _: OnceDeadly("x", None), ledger=LEDGER, engine=RayEngine("cpu"))
    assert statuses(report) == ["done before", "failed", "done"]
    assert f"died, {MAX_RETRIES + 1} times" in report.outcomes[1].error
    assert hidden_files() == []
