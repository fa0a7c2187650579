"""One adapter per kind of golden file: our code on the golden inputs and weights."""

from __future__ import annotations

from tests.parity.adapters import (
    controls,
    controls_objects,
    guided_masks,
    guided_sampling,
    guided_warp,
    multiview,
    nemo_dataset,
    predict1,
    predict1_sampling,
    predict2,
    predict2_multiview,
    sampler,
    tokenizer,
    training,
    training_control,
    training_nemo,
    training_parts,
    transfer1,
    transfer1_generate,
    transfer1_weights,
)
from tests.parity.adapters.base import Adapter
from tests.parity.golden import Golden

ADAPTERS: dict[str, Adapter] = (
    predict1.ADAPTERS
    | predict2.ADAPTERS
    | predict2_multiview.ADAPTERS
    | transfer1.ADAPTERS
    | tokenizer.ADAPTERS
    | sampler.ADAPTERS
    | controls.ADAPTERS
    | controls_objects.ADAPTERS
    | transfer1_weights.ADAPTERS
    | transfer1_generate.ADAPTERS
    | predict1_sampling.ADAPTERS
    | guided_masks.ADAPTERS
    | multiview.ADAPTERS
    | guided_sampling.ADAPTERS
    | training.ADAPTERS
    | training_control.ADAPTERS
    | training_nemo.ADAPTERS
    | training_parts.ADAPTERS
    | guided_warp.ADAPTERS
    | nemo_dataset.ADAPTERS
)


def adapter_for(golden: Golden) -> Adapter | None:
    """By "family/case"; a case with a longer name goes to the longest kind that begins it; else by the source."""
    if golden.kind in ADAPTERS:
        return ADAPTERS[golden.kind]
    family, _, case = golden.kind.partition("/")
    begun = [kind for kind in ADAPTERS if kind.startswith(f"{family}/") and case.startswith(kind.partition("/")[2])]
    if begun:
        return ADAPTERS[max(begun, key=len)]
    symbol = golden.source.partition(" ")[0].rpartition(":")[2]
    named = [adapter for adapter in ADAPTERS.values() if any(symbol.startswith(source) for source in adapter.sources)]
    return named[0] if named else None
