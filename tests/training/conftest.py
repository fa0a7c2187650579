"""What trainings leave in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_group_stays() -> Iterator[None]:
    """One process that computes in bfloat16 makes a group of its own, of which the next test must not hear."""
    yield
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
