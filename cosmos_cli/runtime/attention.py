"""Attention kernels by name, so that a network says what to compute and the user says with which library.

Every backend computes the same softmax attention without a mask; they differ in speed and in the last bits.
"""

# B batch, L tokens, H heads, D head width

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosmos_cli.errors import InputError

AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Backend:
    load: Callable[[], AttentionFunction]
    missing: Callable[[], str | None]


_backends: dict[str, _Backend] = {}
_loaded: dict[str, AttentionFunction] = {}


def register_backend(
    name: str, load: Callable[[], AttentionFunction], missing: Callable[[], str | None] = lambda: None
) -> None:
    """Adds an attention backend.

    Args:
        name: what users write, in kebab case.
        load: imports what it needs and returns the function (q_BLHD, k_BLHD, v_BLHD) -> BLHD; called once, at the
            first use.
        missing: None when the backend can run here, else one sentence that says what to install. It must be cheap:
            it may look for packages, not import them.
    Raises:
        ValueError: the name is taken.
    """
    if name in _backends:
        raise ValueError(f"attention backend {name!r} is already registered")
    _backends[name] = _Backend(load, missing)


def available_backends() -> dict[str, str | None]:
    """Every registered backend, in order of registration, and why it cannot run here, or None when it can."""
    return {name: backend.missing() for name, backend in _backends.items()}


def load_backend(name: str) -> AttentionFunction:
    """The function behind a name; call it early to report a missing library before weights are loaded.

    Raises:
        InputError: no backend of this name, or its library is not installed.
    """
    if name not in _loaded:
        if name not in _backends:
            raise InputError(
                f"There is no attention backend {name!r}.", fix=f"Choose one of: {', '.join(sorted(_backends))}."
            )
        if reason := _backends[name].missing():
            raise InputError(
                f"The attention backend {name!r} cannot run here.", fix=f"{reason} Or choose 'sdpa', which always runs."
            )
        _loaded[name] = _backends[name].load()
    return _loaded[name]


def attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, backend: str = "sdpa") -> Tensor:
    """Softmax attention with scale 1/sqrt(D) and no mask, (B, L, H, D).

    Args:
        q_BLHD: queries; `k_BLHD` and `v_BLHD` may hold another number of tokens.
        backend: a name from `available_backends()`.
    Raises:
        InputError: the backend is unknown or not installed.
    """
    return load_backend(backend)(q_BLHD, k_BLHD, v_BLHD)


def _sdpa(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
    q, k, v = (t.transpose(1, 2) for t in (q_BLHD, k_BLHD, v_BLHD))
    # PyTorch tries FlashAttention-2 first everywhere; on Hopper and Blackwell cuDNN's kernel is far faster.
    prefer_cudnn = q.is_cuda and q.dtype != torch.float32 and _capability(q.device)[0] in (9, 10)
    kernels = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    with sdpa_kernel(kernels, set_priority=True) if prefer_cudnn else nullcontext():
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _load_flash_attention() -> AttentionFunction:
    if _flash_attention_3():
        if find_spec("flash_attn_3"):
            from flash_attn_3.flash_attn_interface import flash_attn_func
        else:
            from flash_attn_interface import flash_attn_func
    else:
        from flash_attn import flash_attn_func

    def flash_attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        if q_BLHD.dtype not in (torch.bfloat16, torch.float16):
            raise InputError(
                f"The attention backend 'flash-attention' computes in half precision, not in {q_BLHD.dtype}.",
                fix="Run the network in bfloat16, or choose 'sdpa'.",
            )
        out: Any = flash_attn_func(q_BLHD, k_BLHD, v_BLHD)
        return out[0] if isinstance(out, tuple) else out  # some releases return the softmax statistics as well

    return flash_attention


def _flash_attention_3() -> bool:
    """FlashAttention-3 is installed and this is the one generation of GPUs that it was written for."""
    installed = find_spec("flash_attn_3") or find_spec("flash_attn_interface")
    return bool(installed) and torch.cuda.get_device_capability()[0] == 9


def _flash_attention_missing() -> str | None:
    if not torch.cuda.is_available():
        return "It needs an NVIDIA GPU."
    if not (_flash_attention_3() or find_spec("flash_attn")):
        return "Install it with: pip install flash-attn --no-build-isolation."
    return None


def _load_transformer_engine() -> AttentionFunction:
    from transformer_engine.pytorch import DotProductAttention

    @cache
    def kernel(num_heads: int, head_dim: int) -> Any:
        return DotProductAttention(
            num_heads, head_dim, attention_dropout=0.0, qkv_format="bshd", attn_mask_type="no_mask"
        )

    def transformer_engine(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        num_heads, head_dim = q_BLHD.shape[-2:]
        return kernel(num_heads, head_dim)(q_BLHD, k_BLHD, v_BLHD).view(q_BLHD.shape)

    return transformer_engine


def _transformer_engine_missing() -> str | None:
    if not torch.cuda.is_available():
        return "It needs an NVIDIA GPU."
    if not find_spec("transformer_engine"):
        return "Install it with: pip install 'cosmos-cli[gpu]'."
    return None


register_backend("sdpa", lambda: _sdpa)
register_backend("flash-attention", _load_flash_attention, _flash_attention_missing)
register_backend("transformer-engine", _load_transformer_engine, _transformer_engine_missing)
