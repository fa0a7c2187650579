"""Attention kernels by name, so that a network says what to compute and the user says with which library.

Every backend computes the same softmax attention without a mask; they differ in speed and in the last bits. Which of
them can run depends on the device and on the precision, so both are always given.
"""

# B batch, L tokens, H heads, D head width

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.backends import BACKENDS
from cosmos_cli.runtime.bounds import WIDE_SCORES_BYTES

AttentionFunction = Callable[[Tensor, Tensor, Tensor], Tensor]

HALF_PRECISION = (torch.bfloat16, torch.float16)
PROBE_SHAPE_BHLD = (1, 1, 128, 128)
"""What PyTorch is asked about: all published networks have heads of width 128."""


@dataclass(frozen=True)
class _Backend:
    load: Callable[[torch.device, torch.dtype], AttentionFunction]
    missing: Callable[[torch.device, torch.dtype], str | None]


_backends: dict[str, _Backend] = {}
_loaded: dict[tuple[str, torch.device, torch.dtype], AttentionFunction] = {}


def register_backend(
    name: str,
    load: Callable[[torch.device, torch.dtype], AttentionFunction],
    missing: Callable[[torch.device, torch.dtype], str | None] = lambda device, dtype: None,
) -> None:
    """Adds an attention backend.

    Args:
        name: what users write, in kebab case.
        load: imports what it needs and returns the function (q_BLHD, k_BLHD, v_BLHD) -> BLHD for a device and a
            precision; called once for each pair, at the first use. A function that torch.compile cannot look into
            goes through `as_one_operator`.
        missing: None when the backend can run there, else one sentence that says why not and, if something can be
            done, what. It must be cheap: it may look for packages, not import them.
    Raises:
        ValueError: the name is taken.
    """
    if name in _backends:
        raise ValueError(f"attention backend {name!r} is already registered")
    _backends[name] = _Backend(load, missing)
    BACKENDS.setdefault(name)


def available_backends(device: torch.device, dtype: torch.dtype) -> dict[str, str | None]:
    """Every registered backend, in order of registration, and why it cannot run there, or None when it can."""
    return {name: backend.missing(device, dtype) for name, backend in _backends.items()}


def load_backend(name: str, device: torch.device, dtype: torch.dtype) -> AttentionFunction:
    """The function behind a name; call it early to report that it cannot run before weights are loaded.

    Raises:
        InputError: no backend of this name, or it cannot run on this device in this precision.
    """
    key = name, device, dtype
    if key not in _loaded:
        available = [other for other, reason in available_backends(device, dtype).items() if not reason]
        fix = f"Choose one of: {', '.join(available)}."
        if name not in _backends:
            raise InputError(f"There is no attention backend {name!r}.", where="--attention", fix=fix)
        if reason := _backends[name].missing(device, dtype):
            raise InputError(f"The attention backend {name!r} cannot run here. {reason}", where="--attention", fix=fix)
        _loaded[key] = _backends[name].load(device, dtype)
    return _loaded[key]


def attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, backend: str = "sdpa") -> Tensor:
    """Softmax attention with scale 1/sqrt(D) and no mask, (B, L, H, D).

    Args:
        q_BLHD: queries; `k_BLHD` and `v_BLHD` may hold another number of tokens.
        backend: a name from `available_backends()`.
    Raises:
        InputError: the backend is unknown, or cannot run on this device in this precision.
    """
    key = backend, q_BLHD.device, q_BLHD.dtype
    # torch.compile can look a function up, but not load it: see `compile_blocks`
    function = _loaded[key] if key in _loaded else load_backend(*key)
    return function(q_BLHD, k_BLHD, v_BLHD)


def as_one_operator(name: str, function: AttentionFunction) -> AttentionFunction:
    """An attention function that torch.compile takes as one operator and does not look into.

    Outside of compiled networks the function runs as it is, so that gradients find their way; inside there are none.

    Args:
        name: an identifier, of this function alone.
    """

    @torch.library.custom_op(f"cosmos_attention::{name}", mutates_args=())
    def operator(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        return function(q_BLHD, k_BLHD, v_BLHD).contiguous()  # as is promised below

    @operator.register_fake
    def _(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        return torch.empty_like(q_BLHD, memory_format=torch.contiguous_format)

    def either(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return operator(q_BLHD, k_BLHD, v_BLHD)
        return function(q_BLHD, k_BLHD, v_BLHD)

    return either


def _sdpa(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, kernels: Sequence[SDPBackend] = ()) -> Tensor:
    """PyTorch's attention with the first of these kernels that can do it; with none given, PyTorch chooses."""
    q, k, v = (t.transpose(1, 2) for t in (q_BLHD, k_BLHD, v_BLHD))
    with sdpa_kernel(list(kernels), set_priority=True) if kernels else nullcontext():
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


_BYTES_PER_SCORE = 8
"""PyTorch's plain kernel computes scores, and their softmax beside them, in float32."""


def wide_attention(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> Tensor:
    """Softmax attention with scale 1/sqrt(D) and no mask, for heads wider than the 256 of most kernels; (B, H, L, D).

    Where no kernel for the device takes such heads, PyTorch would hold the scores of all queries and keys at once. So
    it is given some of the queries at a time there, and scores take `WIDE_SCORES_BYTES` at the most.
    """
    if _has_kernel(q_BHLD, k_BHLD, v_BHLD):
        return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD)
    B, H, L, _ = q_BHLD.shape
    num_queries = max(1, WIDE_SCORES_BYTES // (_BYTES_PER_SCORE * H * k_BHLD.shape[2]))
    num_samples = max(1, num_queries // L)
    parts_B = zip(*(x_BHLD.split(num_samples) for x_BHLD in (q_BHLD, k_BHLD, v_BHLD)), strict=True)
    out_BHLD = q_BHLD.new_empty(B, H, L, v_BHLD.shape[-1])
    for out, (q, k, v) in zip(out_BHLD.split(num_samples), parts_B, strict=True):
        for start in range(0, L, num_queries):
            rows = slice(start, start + num_queries)
            out[:, :, rows] = F.scaled_dot_product_attention(q[:, :, rows], k, v)
    return out_BHLD


def _has_kernel(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor) -> bool:
    """Whether PyTorch has a kernel for these that holds no scores; the choice is its own, and this asks as it does."""
    if q_BHLD.device.type == "cpu":  # whose kernel takes heads of any width
        return True
    if q_BHLD.device.type != "cuda":
        return False
    asked = torch.backends.cuda.SDPAParams(q_BHLD, k_BHLD, v_BHLD, None, 0.0, False, False)
    cuda = torch.backends.cuda
    return bool(
        cuda.can_use_flash_attention(asked)
        or cuda.can_use_efficient_attention(asked)
        or cuda.can_use_cudnn_attention(asked)
    )


def _load_sdpa(device: torch.device, dtype: torch.dtype) -> AttentionFunction:
    # PyTorch tries FlashAttention-2 first everywhere; on Hopper and Blackwell cuDNN's kernel is far faster.
    if device.type == "cuda" and dtype in HALF_PRECISION and torch.cuda.get_device_capability(device)[0] in (9, 10):
        order = (
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        )
        return partial(_sdpa, kernels=order)
    return _sdpa


def _load_kernel(device: torch.device, dtype: torch.dtype, *, kernel: SDPBackend) -> AttentionFunction:
    return partial(_sdpa, kernels=(kernel,))


def _cudnn_missing(device: torch.device, dtype: torch.dtype) -> str | None:
    if reason := _no_half_precision_gpu(device, dtype):
        return reason
    if not torch.backends.cuda.can_use_cudnn_attention(_probe(device, dtype)):
        return "PyTorch has no cuDNN attention for this GPU."
    return None


def _flash_missing(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type == "cpu":  # where PyTorch has a kernel of the same name
        return None
    if reason := _no_half_precision_gpu(device, dtype):
        return reason
    if not torch.backends.cuda.can_use_flash_attention(_probe(device, dtype)):
        return "PyTorch has no flash attention for this GPU."
    return None


def _no_half_precision_gpu(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return "It needs an NVIDIA GPU."
    if dtype not in HALF_PRECISION:
        return f"It computes in half precision, not in {str(dtype).removeprefix('torch.')}."
    return None


def _probe(device: torch.device, dtype: torch.dtype) -> Any:
    """Inputs of a typical attention, as PyTorch's questions take them."""
    x_BHLD = torch.empty(PROBE_SHAPE_BHLD, device=device, dtype=dtype)
    return torch.backends.cuda.SDPAParams(x_BHLD, x_BHLD, x_BHLD, None, 0.0, False, False)


def _load_flash_attention(device: torch.device, dtype: torch.dtype) -> AttentionFunction:
    if _is_flash_attention_3(device):
        if find_spec("flash_attn_3"):
            from flash_attn_3.flash_attn_interface import flash_attn_func
        else:
            from flash_attn_interface import flash_attn_func
    else:
        from flash_attn import flash_attn_func
    return _flash_attention(flash_attn_func)


@cache  # an operator is made once, whatever device and precision it is for
def _flash_attention(flash_attn_func: Callable[..., Any]) -> AttentionFunction:
    def flash_attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        out: Any = flash_attn_func(q_BLHD, k_BLHD, v_BLHD)
        return out[0] if isinstance(out, tuple) else out  # some releases return the softmax statistics as well

    return as_one_operator("flash_attention", flash_attention)


def _is_flash_attention_3(device: torch.device) -> bool:
    """FlashAttention-3 is installed and this is the one generation of GPUs that it was written for."""
    installed = find_spec("flash_attn_3") or find_spec("flash_attn_interface")
    return bool(installed) and torch.cuda.get_device_capability(device)[0] == 9


def _flash_attention_missing(device: torch.device, dtype: torch.dtype) -> str | None:
    if reason := _no_half_precision_gpu(device, dtype):
        return reason
    if not (_is_flash_attention_3(device) or find_spec("flash_attn")):
        return "Install it with `pip install flash-attn --no-build-isolation`."
    return None


def _load_transformer_engine(device: torch.device, dtype: torch.dtype) -> AttentionFunction:
    return _transformer_engine()


@cache
def _transformer_engine() -> AttentionFunction:
    from transformer_engine.pytorch import DotProductAttention

    @cache
    def kernel(num_heads: int, head_dim: int) -> Any:
        return DotProductAttention(
            num_heads, head_dim, attention_dropout=0.0, qkv_format="bshd", attn_mask_type="no_mask"
        )

    def transformer_engine(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        num_heads, head_dim = q_BLHD.shape[-2:]
        return kernel(num_heads, head_dim)(q_BLHD, k_BLHD, v_BLHD).view(q_BLHD.shape)

    return as_one_operator("transformer_engine", transformer_engine)


def _transformer_engine_missing(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return "It needs an NVIDIA GPU."
    if not find_spec("transformer_engine"):
        return "Install it with `pip install 'cosmos-cli[gpu]'`."
    return None


register_backend("sdpa", _load_sdpa)
register_backend("sdpa-cudnn", partial(_load_kernel, kernel=SDPBackend.CUDNN_ATTENTION), _cudnn_missing)
register_backend("sdpa-flash", partial(_load_kernel, kernel=SDPBackend.FLASH_ATTENTION), _flash_missing)
register_backend("sdpa-math", partial(_load_kernel, kernel=SDPBackend.MATH))
register_backend("flash-attention", _load_flash_attention, _flash_attention_missing)
register_backend("transformer-engine", _load_transformer_engine, _transformer_engine_missing)
