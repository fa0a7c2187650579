"""Every kind at its published size: nothing is left behind on the host, nothing waits for the GPU, the plan holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch

from cosmos_cli.generation.settings import DIT, TOKENIZER
from cosmos_cli.models import neighborhood
from tests.gpu_without_gpu.fake_cuda import why_not
from tests.gpu_without_gpu.kinds import KINDS, Kind, Measured, measure, transfer, video2world

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(autouse=True)
def nothing_fake_is_kept() -> Iterable[None]:
    neighborhood.forget_cells()
    yield
    neighborhood.forget_cells()


def check_plan(measured: Measured) -> None:
    assert set(measured.peak) == {TOKENIZER, DIT}
    for stage, peak in measured.peak.items():
        assert measured.planned[stage] == pytest.approx(peak, rel=0.1), stage


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.slow
def test_a_whole_run_stays_on_the_device_and_takes_what_is_planned(name: str) -> None:
    measured = measure(KINDS[name]())  # which fails where devices or dtypes do not go together
    check_plan(measured)
    first, *later = measured.steps
    assert later or "distilled" in name
    assert not any(later), "a denoising step waits for the GPU"
    # the indices of sparse attention are copied when they are needed first
    assert {event.place.split()[0] for event in first} <= {"cosmos_cli/models/neighborhood.py"}
    assert not first or "sparse" in name
    assert not any(event.kind == "read" for event in measured.events[TOKENIZER])
    assert not any(event.kind == "from GPU" for event in measured.events[DIT])


@pytest.mark.parametrize(
    "kind",
    [lambda: video2world("2B"), lambda: video2world("14B"), lambda: transfer("edge"), lambda: transfer("vis", "edge")],
    ids=["video2world 2B", "video2world 14B", "transfer, 1 control", "transfer, 2 controls"],
)
@pytest.mark.slow
def test_float32_takes_what_is_planned_too(kind: Callable[[], Kind]) -> None:
    check_plan(measure(kind(), torch.float32))
