"""The key table against the published networks' names, shapes and sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch

from cosmos_plugins.nemo_bridge.convert.keys import (
    HEAD,
    POSITIONS,
    diffusers_name,
    native_of_diffusers,
    nemo_names,
    place_of,
)
from cosmos_plugins.nemo_bridge.convert.shapes import (
    Untold,
    as_native_shapes,
    native_shapes,
    nemo_shapes,
    variant_of,
)

SIZES = {
    "7b_text2world": (574, 7_236_192_256, 7_764_674_560),
    "7b_video2world": (574, 7_236_208_640, 7_764_690_944),
    "14b_text2world": (734, 14_267_149_312, 15_116_495_872),
    "14b_video2world": (734, 14_267_169_792, 15_116_516_352),
}
"""Native keys, and parameters of the native and the NeMo network without the head of the loss and constants."""


def manifest(golden: Path, name: str) -> dict[str, tuple[int, ...]]:
    entries = json.loads((golden / "manifests" / f"predict1_{name}.json").read_text())
    return {key: tuple(entry["shape"]) for key, entry in entries.items()}


@pytest.mark.parametrize("name", SIZES)
def test_the_table_has_all_published_names_and_shapes(golden: Path, name: str) -> None:
    published = manifest(golden, name)
    variant = variant_of(published)
    assert native_shapes(variant) == published
    size, _, kind = name.partition("_")
    assert (variant.size, variant.kind) == (size.upper(), kind)
    assert len(published) == SIZES[name][0]


@pytest.mark.parametrize("name", SIZES)
def test_nemo_has_27_tensors_and_as_many_parameters_as_its_recipes_say(golden: Path, name: str) -> None:
    variant = variant_of(manifest(golden, name))
    stored = nemo_shapes(variant)
    assert list(stored) == list(nemo_names())
    assert len(stored) == 27
    assert sum(key.startswith("decoder.layers.") for key in stored) == 13
    left_out = {POSITIONS.removeprefix("net."), *HEAD}
    assert sum(prod(shape) for key, shape in stored.items() if key not in left_out) == SIZES[name][2]
    native = native_shapes(variant)
    assert sum(prod(native[key]) for key in native if key not in {POSITIONS, *HEAD}) == SIZES[name][1]


@pytest.mark.parametrize("name", SIZES)
def test_the_size_is_told_by_nemos_shapes_too(golden: Path, name: str) -> None:
    published = manifest(golden, name)
    variant = variant_of(published)
    assert as_native_shapes(nemo_shapes(variant)) == published
    assert variant_of(as_native_shapes(nemo_shapes(variant))) == variant
    # what NeMo has trained has three times the rank in every part of a block, and is stored in the same shapes
    assert nemo_shapes(variant.with_rank(3 * variant.rank), is_dense=True) == nemo_shapes(variant)


@pytest.mark.parametrize("name", SIZES)
def test_every_native_name_has_one_in_diffusers_but_for_constants_and_the_head_of_the_loss(
    golden: Path, name: str
) -> None:
    names = {key: diffusers_name(key) for key in manifest(golden, name)}
    assert {key for key, theirs in names.items() if theirs is None} == {POSITIONS, *HEAD}
    assert all(native_of_diffusers(theirs) == key for key, theirs in names.items() if theirs)


def test_diffusers_own_class_has_these_names_and_shapes(golden: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    from cosmos_plugins.nemo_bridge.convert.writers import diffusers_config

    for name in ("7b_text2world", "14b_video2world"):
        published = manifest(golden, name)
        config = diffusers_config(variant_of(published))
        with torch.device("meta"):
            network = diffusers.CosmosTransformer3DModel.from_config(config)
        own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        assert own == {theirs: shape for key, shape in published.items() if (theirs := diffusers_name(key))}


def test_names_that_no_such_network_has_are_not_placed() -> None:
    assert native_of_diffusers("transformer_blocks.0.attn1.to_q.bias") is None
    assert native_of_diffusers("x_transformer_blocks.0.attn1.to_q.weight") is None
    assert place_of("net.x_embedder.proj.1.weight") is None


def test_a_camera_network_is_told_by_its_patches_and_none_of_ours(golden: Path) -> None:
    variant = variant_of(manifest(golden, "7b_video2world"))
    assert replace(variant, columns_in=96).kind == "camera"
    assert replace(variant, columns_in=92).kind is None


def test_what_tells_the_size_is_named_where_it_is_missing() -> None:
    with pytest.raises(Untold) as caught:
        variant_of({"net.affline_norm.weight": (48,)})
    assert "net.x_embedder.proj.1.weight" in caught.value.missing
    assert "net.affline_norm.weight" not in caught.value.missing
