"""What an engine of batches is asked; plugins bring more than the one that works on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cosmos_cli.batch.desk import Desk
from cosmos_cli.batch.plan import Item
from cosmos_cli.batch.report import Outcome
from cosmos_cli.batch.steps import Worker

Load = Callable[[Sequence[Any]], Worker]
"""Gives the worker for some requests, all that are left to do. It has what it needs bound to it, so that cloudpickle
can send it to another machine, and imports what is heavy when it is called. If guardrails refuse all requests it raises
GuardrailBlocked."""


class Engine(Protocol):
    """Works off items, wherever it likes; only the desk writes the ledger and lets files have their names.

    One by which `--num-gpus` devices can make an item together has a `shares_items` that is true; it loads and makes in
    `cosmos_cli.runtime.workers.layout.one_at_a_time`.
    """

    def work_off(self, todo: Sequence[Item[Any]], load: Load, desk: Desk) -> Sequence[Outcome]:
        """The outcome of every item, in any order; one that fails or is blocked does not stop the others.

        Each is begun and claimed at the desk before it is made, written or taken in there, and closed.

        Raises:
            GuardrailBlocked: the prompts of all were refused when the worker was loaded.
            CosmosError: nothing can be made at all; what is finished is kept.
            KeyboardInterrupt: it was stopped; what is finished is kept.
        """
