"""Networks whose weights live in host memory and pass through the device block by block while they work.

While one block works, the next one's weights are copied beside it. Two slots of device memory take turns: a block's
slot is filled again only after its work. Blocks beyond these two may stay on the device as long as the network works,
which leaves fewer to copy; they are spread evenly, so that each copy has the time of several blocks. Embeddings and
other parts outside the blocks stay as well. Results are those of the network without streaming, bit for bit.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from cosmos_cli.runtime.memory.limit import DeviceMemory
from cosmos_cli.runtime.memory.residence import MIN_BLOCKS, aligned


class BlockStream:
    """A network whose weights move to host memory, and to the device while the stream is entered.

    >>> stream = BlockStream(network, device, num_resident=4)
    >>> with stream:
    ...     network(x)

    For inference, with one forward pass at a time, in any thread. Weights may be replaced only before the stream is
    made, and a network has one stream for good. An error in a forward pass leaves it usable. Outside of the `with`
    block it does not run.

    Args:
        num_resident: blocks on the device at a time, at least 2; None for all of them: the network is then copied
            whole whenever the stream is entered.
        blocks: None takes `network.blocks`; a network without blocks is copied whole.
        memory: what counts the weights on the device.
    Raises:
        ValueError: `num_resident` is less than 2.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        num_resident: int | None = None,
        blocks: nn.ModuleList | nn.ModuleDict | None = None,
        memory: DeviceMemory | None = None,
    ) -> None:
        self._device = device
        self._memory = memory if memory is not None else DeviceMemory()
        self.num_resident = num_resident
        children = blocks if blocks is not None else getattr(network, "blocks", nn.ModuleList())
        block_modules = [list(block.modules()) for block in children.children()]
        in_blocks = set(chain.from_iterable(block_modules))
        trunk_modules = [module for module in network.modules() if module not in in_blocks]
        pinned_for = device if device.type == "cuda" else None
        with torch.inference_mode(False), torch.no_grad():
            self._trunk = _Weights(trunk_modules, pinned_for)
            self._blocks = [_Weights(modules, pinned_for) for modules in block_modules]
        # Hooks stand on the modules that hold weights, not on the blocks: methods may use a part of a block alone.
        for module in trunk_modules:
            _hook(module, self._check_entered)
        for number, modules in enumerate(block_modules):
            for module in modules:
                _hook(module, partial(self._require, number))
        self._copies = _Copies(device)
        self._is_entered = False
        self._num_taken = 0
        self._order: list[int] = []
        self._slots: list[_Slot] = []
        self._current: int | None = None

    @property
    def num_resident(self) -> int | None:
        """Blocks on the device at a time, None for all; a change takes effect when the stream is entered."""
        return self._num_resident

    @num_resident.setter
    def num_resident(self, value: int | None) -> None:
        if value is not None and value < MIN_BLOCKS:
            raise ValueError(f"num_resident is {value}, less than {MIN_BLOCKS}")
        self._num_resident = value

    def __enter__(self) -> BlockStream:
        """Bring to the device what stays there, and begin to copy the first block of the others.

        Raises:
            torch.OutOfMemoryError: it does not fit; nothing stays on the device.
            RuntimeError: the stream is entered already.
        """
        if self._is_entered:
            raise RuntimeError("the stream is entered already")
        num_blocks = len(self._blocks)
        self._order = _spread(num_blocks, self.num_resident)
        self._is_entered = True
        try:
            with torch.inference_mode(False), torch.no_grad():
                staying = [self._blocks[i] for i in range(num_blocks) if i not in set(self._order)]
                for weights in (self._trunk, *staying):
                    self._place(weights)
                if self._order:
                    size_bytes = max(self._blocks[i].num_bytes for i in self._order)
                    # the allocator may hand out memory that earlier work on the device has not done with
                    self._slots = [_Slot(self._allocate(size_bytes), self._copies.mark()) for _ in range(MIN_BLOCKS)]
                    self._load(self._order[0])
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._copies.finish()
        for weights in (self._trunk, *self._blocks):
            weights.use(weights.on_host)
        self._slots, self._order, self._current, self._is_entered = [], [], None, False
        self._memory.give(self._num_taken)
        self._num_taken = 0

    def _allocate(self, num_bytes: int) -> Tensor:
        self._memory.take(num_bytes)
        self._num_taken += num_bytes
        return torch.empty(num_bytes, dtype=torch.uint8, device=self._device)

    def _place(self, weights: _Weights) -> None:
        buffer = self._allocate(weights.num_bytes)
        buffer.copy_(weights.host, non_blocking=True)
        weights.use(weights.views(buffer))

    def _check_entered(self) -> None:
        if not self._is_entered:
            raise RuntimeError("the network is in host memory; run it inside of its stream's `with` block")

    def _require(self, number: int) -> None:
        """Called before every module that holds weights of a block: have them on the device."""
        if number == self._current:
            return
        self._check_entered()
        with torch.inference_mode(False), torch.no_grad():
            for slot in self._slots:
                if slot.number == self._current:
                    slot.done = self._copies.mark()
            self._current = number
            if number not in self._order:
                return
            slot = self._load(number)
            self._copies.wait(slot.filled)
            self._blocks[number].use(slot.views_of(self._blocks[number]))
            # after the last comes the first: there is a next pass
            self._load(self._order[(self._order.index(number) + 1) % len(self._order)])

    def _load(self, number: int) -> _Slot:
        """The slot that holds a block, or will once `filled` has happened; never one whose block is at work."""
        for slot in self._slots:
            if slot.number == number:
                return slot
        slot = next(slot for slot in self._slots if slot.number is None or slot.number != self._current)
        if slot.number is not None:
            self._blocks[slot.number].use(self._blocks[slot.number].on_host)
        slot.number = number
        weights = self._blocks[number]
        slot.filled = self._copies.copy(slot.buffer[: weights.num_bytes], weights.host, after=slot.done)
        return slot


def _hook(module: nn.Module, call: Any) -> None:
    if _own_tensors(module):
        module.register_forward_pre_hook(lambda *_: call())


def _own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        *module.named_parameters(recurse=False, remove_duplicate=False),
        *module.named_buffers(recurse=False, remove_duplicate=False),
    ]


def _spread(num_blocks: int, num_resident: int | None) -> list[int]:
    """Numbers of the blocks that stream: all but those that two slots leave room for, evenly spread."""
    if num_resident is None or num_resident >= num_blocks:
        return []
    num_streamed = num_blocks - (num_resident - MIN_BLOCKS)
    return [i * num_blocks // num_streamed for i in range(num_streamed)]


@dataclass(frozen=True)
class _Entry:
    """A tensor in a piece of memory, and where modules hold it: in several places if it is shared."""

    places: list[tuple[nn.Module, str]]
    start: int
    tensor: Tensor


class _Weights:
    """The weights of some modules in one piece of host memory, and views of any piece of the same layout."""

    def __init__(self, modules: Iterable[nn.Module], pinned_for: torch.device | None) -> None:
        places: dict[Tensor, list[tuple[nn.Module, str]]] = {}
        for module in modules:
            for name, tensor in _own_tensors(module):
                places.setdefault(tensor, []).append((module, name))
        self.num_bytes = 0
        entries = []
        for tensor, holders in places.items():
            entries.append(_Entry(holders, self.num_bytes, tensor))
            self.num_bytes += aligned(tensor.nbytes)
        self.host = torch.empty(self.num_bytes, dtype=torch.uint8)
        if pinned_for is not None and self.num_bytes:
            _pin(self, self.host, pinned_for)
        self._entries = entries
        self.on_host = self.views(self.host)
        for entry, view in zip(entries, self.on_host, strict=True):
            view.copy_(entry.tensor)
        self.use(self.on_host)
        # what described the layout is enough from here on; the tensors' own memory must go
        self._entries = [_Entry(e.places, e.start, view) for e, view in zip(entries, self.on_host, strict=True)]

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The tensors in a piece of memory of this layout, as parameters where they are parameters."""
        views = []
        for entry in self._entries:
            like = entry.tensor
            view = buffer[entry.start : entry.start + like.nbytes].view(like.dtype).view(like.shape)
            views.append(nn.Parameter(view, requires_grad=False) if isinstance(like, nn.Parameter) else view)
        return views

    def use(self, tensors: list[Tensor]) -> None:
        """Have the modules hold these."""
        for entry, tensor in zip(self._entries, tensors, strict=True):
            for module, name in entry.places:
                setattr(module, name, tensor)


def _pin(owner: _Weights, host: Tensor, device: torch.device) -> None:
    """Pin host memory for copies to a GPU; what cannot be pinned is copied all the same, only not beside other work."""
    # torch's own pinned memory comes in powers of two: a network's blocks may take nearly twice their size
    cudart: Any = torch.cuda.cudart()
    if int(cudart.cudaHostRegister(host.data_ptr(), host.nbytes, 1)) != 0:  # 1: for the contexts of all devices
        from cosmos_cli import output  # all else here needs torch alone

        _forget_error(device)
        output.notice(
            "host memory cannot be pinned, so weights pass to the device more slowly; "
            "`ulimit -l` shows how much may be locked"
        )
        return
    # the finalizer holds the memory itself, so it is still there when it is unpinned
    weakref.finalize(owner, lambda: cudart.cudaHostUnregister(host.data_ptr())).atexit = False


def _forget_error(device: torch.device) -> None:
    # CUDA keeps the error for whoever asks next, and the next kernel, which has nothing to do with it, would raise it
    with suppress(RuntimeError):
        torch.ones(1, device=device)


@dataclass
class _Slot:
    """Device memory for one block. done: the work of its last block. filled: the copy of its block, `number`."""

    buffer: Tensor
    done: torch.cuda.Event | None
    number: int | None = None
    filled: torch.cuda.Event | None = None
    _views: dict[_Weights, list[Tensor]] = field(default_factory=dict)

    def views_of(self, weights: _Weights) -> list[Tensor]:
        if weights not in self._views:
            self._views[weights] = weights.views(self.buffer)
        return self._views[weights]


class _Copies:
    """Copies from host memory to the device: on a GPU beside the work of the current stream, on a CPU at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> torch.cuda.Event | None:
        """The end of all work that has been given to the device so far."""
        return torch.cuda.current_stream(self._device).record_event() if self._stream is not None else None

    def copy(self, target: Tensor, source: Tensor, *, after: torch.cuda.Event | None) -> torch.cuda.Event | None:
        """Copy once `after` has happened; what is returned happens at the end."""
        if self._stream is None:
            target.copy_(source)
            return None
        if after is not None:
            self._stream.wait_event(after)
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
        return self._stream.record_event()

    def wait(self, event: torch.cuda.Event | None) -> None:
        """Have the work that follows wait."""
        if event is not None:
            torch.cuda.current_stream(self._device).wait_event(event)

    def finish(self) -> None:
        """Return when no copy is under way."""
        if self._stream is not None:
            self._stream.synchronize()
