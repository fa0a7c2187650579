"""What the models that ship reach on worlds that no training saw: a small part of `python -m benchmarks quality`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality_rows import multiview, tokenizers, transfer, video2world
from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.clips import held_out
from benchmarks.quality_rows.metrics import mean, psnr
from benchmarks.quality_rows.rows import Scores
from cosmos_plugins.predict1_multiview.multiview.pipeline import MultiviewPipeline

LEAST: Scores = {
    "Wan: PSNR": 29.0,
    "Cosmos: PSNR": 28.5,
    video2world.KEPT: 30.0,
    video2world.MOVED: 25.0,
    transfer.EDGE: 0.45,
    transfer.EDGE_0: 2.0,
    multiview.SHARE: 30.0,
}
"""Measures to what they come to at least, a little below what the weights that ship reach."""

ASKED = Asked()


def of_tokenizer(name: str) -> float:
    module = {"Wan": video2world, "Cosmos": transfer}[name]
    return tokenizers.kept(module.load(ASKED), held_out(2, module.SIZE, module.num_frames()))


def of_video2world() -> Scores:
    pipeline, clips = video2world.load(ASKED), video2world.clips_of_movers(4)
    made = [video2world.continued(pipeline, ASKED, clip, seed=seed) for seed, clip in enumerate(clips)]
    return {
        video2world.KEPT: mean(psnr(one[0], clip.frames_FHWC[0]) for one, clip in zip(made, clips, strict=True)),
        video2world.MOVED: 100 * mean(map(video2world.moves_as_named, made, clips)),
    }


def of_transfer() -> Scores:
    pipeline, clips = transfer.load(ASKED), held_out(2, transfer.SIZE, transfer.num_frames())

    def f1(weight: float) -> float:
        made = []
        for clip in clips:
            edge_FHWC = np.repeat(transfer.edges(clip.frames_FHWC)[..., None] * np.uint8(255), 3, axis=-1)
            made.append(pipeline.generate(transfer.request_of(ASKED, "edge", edge_FHWC, clip.caption, weight)).frames)
        return mean(transfer.edge_scores(clips, made))

    full = f1(transfer.FULL)
    return {transfer.EDGE: full, transfer.EDGE_0: full / max(f1(transfer.NOTHING), 1e-3)}


def of_multiview() -> Scores:
    [world] = multiview.held_out_views(1)
    request = multiview.request_of(ASKED, world)
    pipeline = MultiviewPipeline.load(multiview.SETTINGS, [request])
    return multiview.score([world], [pipeline.generate(request).frames])


MAKE = {
    "Wan: PSNR": lambda: {"Wan: PSNR": of_tokenizer("Wan")},
    "Cosmos: PSNR": lambda: {"Cosmos: PSNR": of_tokenizer("Cosmos")},
    video2world.KEPT: of_video2world,
    transfer.EDGE: of_transfer,
    multiview.SHARE: of_multiview,
}
"""The first measure of each kind to what makes all of that kind."""


@pytest.mark.parametrize("first", MAKE)
def test_held_out_worlds_come_out_as_well_as_they_did(first: str) -> None:
    found = MAKE[first]()
    assert found.keys() & LEAST.keys()
    missed = {name: (found[name], least) for name, least in LEAST.items() if name in found and found[name] < least}
    assert not missed
