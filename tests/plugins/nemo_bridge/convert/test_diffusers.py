"""Diffusers' own class reads what a conversion writes, and is the same function as ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_plugins.nemo_bridge.convert.conversion import convert
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.convert.shapes import Variant
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from tests.plugins.nemo_bridge.convert.stores import (
    TEXT2WORLD,
    VIDEO2WORLD,
    native_weights,
    save_native,
    save_zarr,
    stacked,
    train_in_nemo,
)

diffusers = pytest.importorskip("diffusers")

SMALL = {
    "text2world": replace(TEXT2WORLD, frames=8, rows=8, columns=8),
    "video2world": replace(VIDEO2WORLD, frames=8, rows=8, columns=8),
}


@pytest.fixture(autouse=True)
def masks_of_the_latents_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusers resizes the padding mask by torchvision, which need not be here: ours has the size already."""
    from diffusers.models.transformers import transformer_cosmos

    def resize(mask: torch.Tensor, size: list[int], interpolation: object) -> torch.Tensor:
        assert list(mask.shape[-2:]) == size
        return mask

    functional = SimpleNamespace(resize=resize)
    modes = SimpleNamespace(NEAREST=None)
    stand_in = SimpleNamespace(functional=functional, InterpolationMode=modes)
    monkeypatch.setattr(transformer_cosmos, "transforms", stand_in, raising=False)


def largest_difference(folder: Path, variant: Variant) -> float:
    """Between the two networks, relative to the largest number that ours gives."""
    theirs = diffusers.CosmosTransformer3DModel.from_pretrained(folder, subfolder="transformer").eval()
    with open_checkpoint(folder) as source:
        assert source.variant.rope == (2.0, 1.0, 1.0)
        ours = load_network(lambda: GeneralDiT(source.variant.config), source, naming=PUBLISHED)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 16, 3, 4, 6, generator=generator)
    text = torch.randn(1, 5, variant.text_width, generator=generator)
    time = torch.tensor([-0.4])
    mask = torch.zeros(1, 1, 3, 4, 6)
    mask[:, :, :1] = 1
    padding = torch.zeros(1, 1, 4, 6)
    padding[..., -1] = 1
    given = mask if variant.kind == "video2world" else None
    with torch.no_grad():
        want = theirs(x, time, text, fps=16, condition_mask=given, padding_mask=padding, return_dict=False)[0]
        found = ours(x, time, text, fps=16.0, condition_mask_B1THW=given, padding_mask_B1HW=padding)
    assert want.abs().max() > 0.1
    return float((found - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("kind", SMALL)
def test_diffusers_network_is_ours(tmp_path: Path, kind: str) -> None:
    variant = SMALL[kind]
    start = save_native(native_weights(variant, dtype=torch.float32), tmp_path / "model.pt")
    folder = convert(ConversionRequest(source=start, target=tmp_path / "out", to="diffusers")).path
    assert largest_difference(folder, variant) < 1e-4


def test_diffusers_network_is_ours_also_for_one_that_nemo_has_trained(tmp_path: Path) -> None:
    variant = SMALL["video2world"]
    store = train_in_nemo(stacked(native_weights(variant, dtype=torch.float32), variant))
    start = save_zarr(store, tmp_path / "store")
    folder = convert(ConversionRequest(source=start, target=tmp_path / "out", to="diffusers")).path
    assert largest_difference(folder, variant) < 1e-4


def test_what_diffusers_itself_has_written_is_read(tmp_path: Path) -> None:
    config = {
        "in_channels": 17,
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "num_layers": 2,
        "text_embed_dim": 20,
        "adaln_lora_dim": 8,
        "max_size": (8, 16, 16),
        "rope_scale": (3.0, 2.0, 1.5),
    }
    network = diffusers.CosmosTransformer3DModel(**config)
    network.save_pretrained(tmp_path / "transformer")
    with open_checkpoint(tmp_path) as source:
        assert (source.format, source.variant.kind, source.variant.rope) == (
            "diffusers",
            "video2world",
            (3.0, 2.0, 1.5),
        )
        back = source.tensor("net.blocks.block1.blocks.1.block.attn.to_v.0.weight")
    assert torch.equal(back, network.state_dict()["transformer_blocks.1.attn2.to_v.weight"])
    done = convert(ConversionRequest(source=tmp_path, target=tmp_path.parent / "again", to="diffusers"))
    again = diffusers.CosmosTransformer3DModel.from_pretrained(done.path / "transformer")
    assert again.config.rope_scale == [3.0, 2.0, 1.5]
