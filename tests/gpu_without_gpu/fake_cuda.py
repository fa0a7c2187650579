"""CUDA tensors without content on a machine without CUDA, and a record of what a program does with them.

Tensors on the CPU are real, so that what depends on their values runs as it is: schedules, noise, masks, prompts.
Tensors on `cuda:0` have a shape, a dtype, strides and a device, and take no memory.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

N = TypeVar("N", bound=nn.Module)

DEVICE = torch.device("cuda", 0)

_SOURCES = ("cosmos_cli", "plugins")
_CUDA, _META = 1, 14  # numbers of device types
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"  # c10::impl::device_guard_impl_registry


class Event(NamedTuple):
    """Something that makes the processor wait for the GPU, and the place that asks for it.

    kind: "to GPU", "from GPU", or "read", which looks at values.
    """

    kind: str
    place: str


class _Run(NamedTuple):
    """What one run took beyond what was there before, and what it gave."""

    more_bytes: int
    events: Counter[Event]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


class Record(TorchDispatchMode):
    """Live and peak bytes of all storages on the fake device but for weights, and copies and reads by place.

    Attributes:
        peak: since the last `begin`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.events: Counter[Event] = Counter()
        self._seen: set[int] = set()
        self._runs: dict[Hashable, list[_Run]] = {}
        self._are_weights = False

    @contextmanager
    def weights(self) -> Iterator[None]:
        """What is made inside the block does not count."""
        self._are_weights = True
        yield
        self._are_weights = False

    def begin(self) -> None:
        """Forget the peak and the events so far."""
        self.peak, self.events = self.live, Counter()

    def repeated(self, key: Hashable, run: Callable[[], Tensor], num_runs: int = 1) -> Tensor:
        """What `run` gives or, after so many runs of this key, an empty tensor like it with the last run's record.

        What a network does at step after step would be seen hundreds of times.
        """
        runs = self._runs.setdefault(key, [])
        if len(runs) == num_runs:
            last = runs[-1]
            self.peak = max(self.peak, self.live + last.more_bytes)
            self.events += last.events
            return torch.empty_strided(last.shape, last.strides, dtype=last.dtype, device=DEVICE)
        outer_peak, live, events = self.peak, self.live, Counter(self.events)
        self.peak = live
        out = run()
        runs.append(_Run(self.peak - live, self.events - events, out.shape, out.stride(), out.dtype))
        self.peak = max(self.peak, outer_peak)
        return out

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = any(tensor.device.type == "cuda" for tensor in given)
        target = kwargs.get("device")
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(given[0], FakeTensor):
            self._note("read")
            return {torch.bool: True}.get(given[0].dtype, 1)
        if func in _LOOKS_AT_VALUES and on_gpu:
            self._note("read")
        if not any(isinstance(tensor, FakeTensor) for tensor in given) and torch.device(target or "cpu").type == "cpu":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        out = func(*args, **kwargs)
        if func in _COPIES:
            ends = [tensor.device.type for tensor in given] + [out.device.type]
            if {"cpu", "cuda"} <= set(ends):
                self._note("to GPU" if out.device.type == "cuda" else "from GPU")
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.device.type == "cuda":
                self._count(leaf.untyped_storage())
        return out

    def _note(self, kind: str) -> None:
        self.events[Event(kind, _place())] += 1

    def _count(self, storage: Any) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        if self._are_weights:
            num_bytes = 0
        self.live += num_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, num_bytes)

    def _freed(self, key: int, num_bytes: int) -> None:
        self._seen.discard(key)
        self.live -= num_bytes


_aten = torch.ops.aten
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
_LOOKS_AT_VALUES = {_aten.nonzero.default, _aten.unique_dim.default, _aten._unique2.default, _aten.equal.default}


def _place() -> str:
    """The innermost function of this project that is being executed, such as "cosmos_cli/models/rope.py rotate"."""
    frame = sys._getframe(1)
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        if "tests" not in parts and (sources := [part for part in parts if part in _SOURCES]):
            return f"{'/'.join(parts[parts.index(sources[-1]) :])} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


@contextmanager
def fake_cuda() -> Iterator[Record]:
    """Tensors on `cuda:0` are fake inside the block, which gives what is recorded of them.

    Attention accepts what a fused kernel would: all on the device, of one dtype, the last axis contiguous.
    """
    from cosmos_cli.runtime import attention

    with (
        _guard(),
        mock.patch.object(attention, "load_backend", lambda name, device, dtype: _checked_attention),
        mock.patch.dict(attention._loaded, clear=True),
        mock.patch.object(torch.cuda, "get_device_capability", lambda *_: (9, 0)),
        mock.patch.object(torch.cuda, "empty_cache", lambda: None),
        mock.patch.object(Tensor, "numpy", _empty_array(Tensor.numpy)),
        mock.patch.object(np, "concatenate", _joined(np.concatenate)),
        mock.patch.object(np, "stack", _stacked(np.stack)),
        mock.patch.object(np, "ascontiguousarray", _as_it_is(np.ascontiguousarray)),
        torch.no_grad(),
        FakeTensorMode(allow_non_fake_inputs=True),
        Record() as record,
    ):
        yield record


def _checked_attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
    for x in (q_BLHD, k_BLHD, v_BLHD):
        assert x.device == DEVICE and x.dtype == q_BLHD.dtype, (x.device, x.dtype, q_BLHD.dtype)
        assert x.stride(-1) == 1, x.stride()
    assert k_BLHD.shape == v_BLHD.shape and k_BLHD.shape[2:] == q_BLHD.shape[2:]
    return torch.empty(q_BLHD.shape, device=q_BLHD.device, dtype=q_BLHD.dtype)


@contextmanager
def _guard() -> Iterator[None]:
    """A CUDA device guard that does nothing, as a build of torch without CUDA has none.

    Its table of guards has one for the meta device that does nothing either, which stands in for CUDA's here.
    """
    if torch.backends.cuda.is_built():
        yield
        return
    name = {"darwin": "libc10.dylib", "win32": "c10.dll"}.get(sys.platform, "libc10.so")
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name))
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(library, _REGISTRY)
    before, guards[_CUDA] = guards[_CUDA], guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = before


@cache
def why_not() -> str | None:
    """Why there can be no fake device here, or None."""
    try:
        with fake_cuda(), torch.no_grad():
            x = torch.empty(4, 4, device=DEVICE)
            x[:, torch.arange(2, device=DEVICE)] = x[:, :2]
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        return f"torch {torch.__version__} makes no CUDA tensors without a GPU: {error}"
    return None


def unfilled(build: Callable[[], N], dtype: torch.dtype, device: torch.device = DEVICE) -> N:
    """A network whose weights are fake."""
    with torch.device("meta"):
        net = build()
    for module in net.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            empty = torch.empty(weight.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(empty, requires_grad=False))
        for name, weight in list(module.named_buffers(recurse=False)):
            kept = dtype if weight.is_floating_point() else weight.dtype
            setattr(module, name, torch.empty(weight.shape, dtype=kept, device=device))
    return net.eval()


# Frames that were never computed are arrays of one element seen many times: a clip of 4K would fill the memory.


def black(*shape: int) -> np.ndarray:
    """Frames of that shape, uint8, which take no memory."""
    return np.broadcast_to(np.uint8(0), shape)


def _empty_array(numpy: Callable[..., Any]) -> Callable[..., Any]:
    def of(tensor: Tensor, **options: Any) -> np.ndarray:
        if not isinstance(tensor, FakeTensor):
            return numpy(tensor, **options)
        assert tensor.device.type == "cpu" and tensor.dtype == torch.uint8
        return black(*tensor.shape)

    return of


def _is_black(arrays: Iterable[Any]) -> bool:
    return all(isinstance(array, np.ndarray) and array.size and not any(array.strides) for array in arrays)


def _joined(concatenate: Callable[..., Any]) -> Callable[..., Any]:
    def join(arrays: Iterable[Any], axis: int = 0, **options: Any) -> Any:
        arrays = list(arrays)
        if not _is_black(arrays):
            return concatenate(arrays, axis, **options)
        shape = list(arrays[0].shape)
        shape[axis] = sum(array.shape[axis] for array in arrays)
        return black(*shape)

    return join


def _as_it_is(contiguous: Callable[..., Any]) -> Callable[..., Any]:
    return lambda array, *args: array if _is_black([array]) else contiguous(array, *args)


def _stacked(stack: Callable[..., Any]) -> Callable[..., Any]:
    def put(arrays: Iterable[Any], axis: int = 0, **options: Any) -> Any:
        arrays = list(arrays)
        if not _is_black(arrays) or axis:
            return stack(arrays, axis, **options)
        return black(len(arrays), *arrays[0].shape)

    return put
