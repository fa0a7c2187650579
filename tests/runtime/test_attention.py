"""Attention backends: the registry, and the arithmetic of all that can run here, alone and in the networks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime import attention as module
from cosmos_cli.runtime.attention import attention, available_backends, load_backend, register_backend
from tests.parity.__main__ import check_golden
from tests.runtime.test_compiling import NETWORKS

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent.parent / "golden"
GOLDEN_DITS = ("predict1/dit_v2w", "predict1/dit_v2w_multiview", "predict2/dit_2b_like", "predict2/dit_multiview")
ON_CPU = [name for name, reason in available_backends(CPU, torch.float32).items() if not reason]
ON_GPU = (
    [name for name, reason in available_backends(torch.device("cuda"), torch.bfloat16).items() if not reason]
    if torch.cuda.is_available()
    else []
)


def softmax_attention(q, k, v):
    logits = torch.einsum("blhd,bmhd->bhlm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhlm,bmhd->blhd", logits.softmax(-1), v)


@pytest.fixture
def backends(monkeypatch):
    monkeypatch.setattr(module, "_backends", dict(module._backends))
    monkeypatch.setattr(module, "_loaded", {})


@pytest.mark.parametrize("name", ON_CPU)
def test_every_backend_is_softmax_attention_over_another_number_of_keys(name):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 5, 3, 8, generator=generator)
    k, v = torch.randn(2, 2, 7, 3, 8, generator=generator)
    torch.testing.assert_close(attention(q, k, v, name), softmax_attention(q, k, v), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", [name for name in ON_CPU if name != "sdpa-math"])
def test_every_backend_gives_every_network_the_same_numbers(name, network):
    net = NETWORKS[network]
    expected = net.run(net.make("sdpa-math"))
    limit = 1e-5 * max(1.0, expected.std().item())
    torch.testing.assert_close(net.run(net.make(name)), expected, atol=limit, rtol=0)


@pytest.mark.parametrize("case", GOLDEN_DITS)
@pytest.mark.parametrize("name", [name for name in ON_CPU if name != "sdpa"])
def test_every_backend_passes_the_golden_files_of_the_networks(name, case, backends):
    module._backends["sdpa"] = module._backends[name]  # the networks of the parity tests ask for the default
    comparisons = check_golden(GOLDEN / f"{case}.safetensors")
    assert comparisons
    assert not [c for c in comparisons if not c.passed]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ON_GPU)
def test_every_backend_of_this_machine_computes_the_same_on_the_gpu(name):
    generator = torch.Generator("cuda").manual_seed(0)
    q, k, v = torch.randn(3, 2, 300, 4, 128, generator=generator, device="cuda")
    out = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), name)
    assert out.shape == q.shape
    torch.testing.assert_close(out.float(), softmax_attention(q, k, v), atol=2e-2, rtol=0)  # bfloat16 rounding


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ON_GPU)
def test_every_backend_of_this_machine_gives_every_network_the_same_numbers_on_the_gpu(name, network):
    net = NETWORKS[network]
    out, expected = (
        net.run(net.make(backend).to("cuda", torch.bfloat16), device="cuda", dtype=torch.bfloat16).float()
        for backend in (name, "sdpa-math")
    )
    # bfloat16 rounding over three blocks; CPU kernels differ by 0.006 to 0.008
    assert (out - expected).std() <= 0.02 * expected.std()


def test_a_cpu_has_pytorchs_kernels_and_the_others_say_what_they_lack():
    reasons = available_backends(CPU, torch.float32)
    assert ON_CPU == ["sdpa", "sdpa-flash", "sdpa-math"]
    assert all("NVIDIA GPU" in reasons[name] for name in ("sdpa-cudnn", "flash-attention", "transformer-engine"))


def test_half_precision_kernels_refuse_float32_before_they_look_for_a_gpu():
    reasons = available_backends(torch.device("cuda"), torch.float32)
    assert all("half precision, not in float32" in reasons[n] for n in ("sdpa-cudnn", "sdpa-flash", "flash-attention"))


def test_a_backend_is_the_kernel_of_its_name():
    q = torch.randn(1, 4, 2, 8, generator=torch.Generator().manual_seed(0))

    def operators(name):
        with torch.profiler.profile() as profile:
            attention(q, q, q, name)
        return {event.key for event in profile.key_averages()}

    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in operators("sdpa-flash")
    assert "aten::_scaled_dot_product_attention_math" in operators("sdpa-math")


def test_a_backend_that_cannot_run_says_why_and_what_can(backends):
    def never(device, dtype):
        raise AssertionError("loaded although it is missing")

    register_backend("fancy", never, lambda device, dtype: "Install it with: pip install fancy.")
    with pytest.raises(InputError, match=r"--attention: .*'fancy'.*pip install fancy.*sdpa, sdpa-flash, sdpa-math"):
        load_backend("fancy", CPU, torch.float32)


def test_an_unknown_name_lists_what_can_run():
    with pytest.raises(InputError, match=r"no attention backend 'xformers'.*sdpa, sdpa-flash, sdpa-math"):
        attention(*torch.zeros(3, 1, 2, 1, 8), "xformers")


def test_a_registered_backend_is_loaded_once_for_each_precision_and_used(backends):
    loads = []

    def load(device, dtype):
        loads.append(dtype)
        return lambda q, k, v: v * 2

    register_backend("doubling", load)
    ones = torch.ones(1, 2, 1, 8)
    for x in (ones, ones, ones.bfloat16()):
        assert torch.equal(attention(x, x, x, "doubling"), x * 2)
    assert loads == [torch.float32, torch.bfloat16]
    with pytest.raises(ValueError, match="already registered"):
        register_backend("doubling", load)


def test_listing_backends_imports_none_of_them():
    code = (
        "import sys, torch; from cosmos_cli.runtime.attention import available_backends; "
        "available_backends(torch.device('cpu'), torch.bfloat16); "
        "print([name for name in ('transformer_engine', 'flash_attn', 'flash_attn_interface') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
