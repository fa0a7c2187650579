"""Attention of the tokenizers, whose heads are too wide for most kernels, where scores and softmax are held in full."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cosmos_cli.runtime import attention
from cosmos_cli.runtime.attention import wide_attention
from cosmos_cli.runtime.bounds import WIDE_SCORES_BYTES
from tests.gpu_without_gpu.fake_cuda import DEVICE, fake_cuda, why_not


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize("size_px", [(704, 1280), (1080, 1920)], ids=["720p", "1080p"])
@pytest.mark.parametrize("head_dim", [384, 512], ids=["Wan", "Cosmos"])
def test_scores_stay_below_their_bound_in_a_kernel_that_holds_them(
    head_dim: int, size_px: tuple[int, int], num_frames: int
) -> None:
    height, width = size_px
    tokens = height // 8 * (width // 8)
    with fake_cuda() as record:
        q, k, v = (torch.empty(num_frames, 1, tokens, head_dim, dtype=torch.bfloat16, device=DEVICE) for _ in "qkv")
        record.begin()
        before = record.live
        out = wide_attention(q, k, v)
        assert out.shape == q.shape and out.dtype == q.dtype
        # it also has queries, keys, values and results of one frame at a time in float32
        own = 4 * 4 * tokens * head_dim + out.nbytes
        assert record.peak - before <= WIDE_SCORES_BYTES + own


@pytest.mark.parametrize("bound", [1, 8 * 48 * 5, 8 * 48 * 48, 8 * 48 * 48 * 2, 1 << 30])
def test_in_parts_it_is_the_same(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    qkv = torch.randn(3, 3, 2, 48, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.scaled_dot_product_attention(*qkv)
    calls: list[int] = []
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return sdpa(q, k, v)

    monkeypatch.setattr(attention, "_has_kernel", lambda *_: False)
    monkeypatch.setattr(attention, "WIDE_SCORES_BYTES", bound)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    torch.testing.assert_close(wide_attention(*qkv), whole, atol=1e-6, rtol=0)
    assert sum(calls) == 3 * 2 * 48 * 48
    assert 8 * max(calls) <= max(bound, 8 * 2 * 48)  # one query of every head at the least


def test_on_a_cpu_it_is_one_call() -> None:
    qkv = torch.randn(3, 2, 1, 300, 384, generator=torch.Generator().manual_seed(0))
    assert torch.equal(wide_attention(*qkv), torch.nn.functional.scaled_dot_product_attention(*qkv))
