"""Attention backends: the registry, and the arithmetic of every backend that can run here."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime import attention as module
from cosmos_cli.runtime.attention import attention, available_backends, load_backend, register_backend


def softmax_attention(q, k, v):
    logits = torch.einsum("blhd,bmhd->bhlm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhlm,bmhd->blhd", logits.softmax(-1), v)


@pytest.fixture
def backends(monkeypatch):
    monkeypatch.setattr(module, "_backends", dict(module._backends))
    monkeypatch.setattr(module, "_loaded", {})


def test_sdpa_is_softmax_attention_over_another_number_of_keys():
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 5, 3, 8, generator=generator)
    k, v = torch.randn(2, 2, 7, 3, 8, generator=generator)
    torch.testing.assert_close(attention(q, k, v), softmax_attention(q, k, v), atol=1e-6, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [name for name, missing in available_backends().items() if not missing])
def test_every_backend_of_this_machine_computes_the_same_on_the_gpu(name):
    generator = torch.Generator("cuda").manual_seed(0)
    q, k, v = torch.randn(3, 2, 300, 4, 128, generator=generator, device="cuda")
    out = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), name)
    assert out.shape == q.shape
    torch.testing.assert_close(out.float(), softmax_attention(q, k, v), atol=2e-2, rtol=0)  # bfloat16 rounding


def test_sdpa_always_runs_and_the_others_say_what_they_lack():
    missing = available_backends()
    assert missing["sdpa"] is None
    assert set(missing) >= {"sdpa", "flash-attention", "transformer-engine"}
    if not torch.cuda.is_available():
        assert "NVIDIA GPU" in missing["flash-attention"]
        assert "NVIDIA GPU" in missing["transformer-engine"]


def test_a_missing_library_is_named_before_it_is_loaded(backends):
    def never():
        raise AssertionError("loaded although it is missing")

    register_backend("fancy", never, lambda: "Install it with: pip install fancy.")
    with pytest.raises(InputError, match=r"pip install fancy.*'sdpa'"):
        load_backend("fancy")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no attention backend 'xformers'.*flash-attention.*sdpa"):
        attention(*torch.zeros(3, 1, 2, 1, 8), "xformers")


def test_a_registered_backend_is_loaded_once_and_used(backends):
    loads = []

    def load():
        loads.append(1)
        return lambda q, k, v: v * 2

    register_backend("doubling", load)
    ones = torch.ones(1, 2, 1, 8)
    for _ in range(2):
        assert torch.equal(attention(ones, ones, ones, "doubling"), ones * 2)
    assert loads == [1]
    with pytest.raises(ValueError, match="already registered"):
        register_backend("doubling", load)


def test_listing_backends_imports_none_of_them():
    code = (
        "import sys; from cosmos_cli.runtime.attention import available_backends; available_backends(); "
        "print([name for name in ('transformer_engine', 'flash_attn', 'flash_attn_interface') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
