"""Tokenizers alone: clips that are so short that the layers keep little, and full-length ones."""

from __future__ import annotations

import pytest
import torch

from cosmos_cli.models.configs import CosmosTokenizerConfig, WanVAEConfig
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.costs.tokenizers import tokenizer_cost_of
from cosmos_cli.models.wan_vae import WanVAE
from tests.gpu_without_gpu.fake_cuda import DEVICE, fake_cuda, unfilled, why_not
from tests.gpu_without_gpu.kinds import seen_once

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("num_frames", [1, 5, 17, 93])
def test_the_wan_tokenizer_takes_what_is_planned(num_frames: int, dtype: torch.dtype) -> None:
    config, height, width = WanVAEConfig(), 704, 1280
    cost = tokenizer_cost_of(config)
    with fake_cuda() as record, seen_once(record):
        with record.weights():
            network = unfilled(lambda: WanVAE(config), dtype)
            clip = torch.empty(1, 3, num_frames, height, width, dtype=dtype, device=DEVICE)
        latents = network.encode(clip)
        planned = cost.encode(num_frames, height, width).elements * dtype.itemsize
        assert planned == pytest.approx(record.peak, rel=0.1)
        record.begin()
        for frames in network.decode_chunks(latents):
            del frames
        planned = cost.decode(latents.shape[2], height // 8, width // 8).elements * dtype.itemsize
        assert planned == pytest.approx(record.peak, rel=0.1)


@pytest.mark.parametrize("clip_px", [(121, 704, 1280), (57, 576, 1024)], ids=["one view", "of several views"])
def test_the_cosmos_tokenizer_takes_what_is_planned(clip_px: tuple[int, int, int]) -> None:
    config, (num_frames, height, width), dtype = CosmosTokenizerConfig(), clip_px, torch.bfloat16
    cost = tokenizer_cost_of(config)
    with fake_cuda() as record, seen_once(record):
        with record.weights():
            network = unfilled(lambda: CosmosTokenizer(config), dtype)
            clip = torch.empty(1, 3, num_frames, height, width, dtype=dtype, device=DEVICE)
        latents = network.encode(clip)
        planned = cost.encode(num_frames, height, width).elements * dtype.itemsize
        assert planned == pytest.approx(record.peak, rel=0.1)
        record.begin()
        for frames in network.decode_steps(latents):
            del frames
        planned = cost.decode(latents.shape[2], height // 8, width // 8).elements * dtype.itemsize
        assert planned == pytest.approx(record.peak, rel=0.1)
