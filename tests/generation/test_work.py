"""What a generation asks for, said of several requests and of several processes; see `tests/gpu_without_gpu` too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_cli.generation.settings import DIT
from cosmos_cli.generation.work import Networks, Rig, Work, memory_stages
from cosmos_cli.models.costs.dit import cost_of
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_plugins.predict2.variants import VARIANTS as PREDICT2
from cosmos_plugins.transfer1.variants import VARIANTS as TRANSFER


def test_weights_of_all_branches_and_the_most_work_count_for_a_batch() -> None:
    variant = TRANSFER["7B"]
    branch = cost_of(variant.branch(driving=False))

    def work(*files: str, num_tiles: int = 1) -> Work:
        networks = Networks(
            cost_of(variant.base(driving=False)),
            tokenizer_cost_of(variant.tokenizer),
            {Path(file): branch for file in files},
        )
        return Work(networks, clip_px=(121, 704, 1280), num_passes=72, num_tiles=num_tiles)

    one, other, large = work("edge.pt"), work("vis.pt", "edge.pt"), work("up.pt", num_tiles=9)
    [_, dit] = memory_stages([one, other, large], Rig(2))
    assert len(dit.networks) == 1 + 3
    assert dit.working_bytes == max(each.working_bytes(Rig(2))[DIT] for each in (one, other, large))
    refined = replace(other, networks=replace(other.networks, refiner_bytes=25))
    assert [stage.weight_bytes for stage in memory_stages([large, refined], Rig(2))][2:] == [25]  # upscaling has none


def test_what_many_rows_ask_alike_is_reckoned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks(cost_of(PREDICT2["2B"].dit), tokenizer_cost_of(PREDICT2["2B"].vae))
    rows = [Work(replace(networks), clip_px=(93, 704, 1280), num_passes=2 + row % 2) for row in range(300)]
    reckoned, working_bytes = list[Work](), Work.working_bytes

    def reckon(work: Work, rig: Rig) -> dict[str, int]:
        reckoned.append(work)
        return working_bytes(work, rig)

    monkeypatch.setattr(Work, "working_bytes", reckon)
    memory_stages(rows, Rig(2))
    assert len(reckoned) == 2


def test_processes_that_share_tokens_need_less_each_but_hold_whole_texts() -> None:
    config = PREDICT2["14B"].dit
    networks = Networks(cost_of(config), tokenizer_cost_of(PREDICT2["14B"].vae))
    work = Work(networks, clip_px=(93, 704, 1280), num_passes=72, num_contexts=2)
    alone, shared = ({part.name: part.num_bytes for part in work.working_parts(Rig(2, cp=cp))} for cp in (1, 8))
    assert shared["texts"] == alone["texts"]
    assert shared["activations"] < alone["activations"] / 5
