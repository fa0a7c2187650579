"""Compiled blocks: one graph each, of every network, with the numbers of the block as it is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from cosmos_cli.errors import InputError
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.models.configs import (
    ActionDiTConfig,
    ControlBranchConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MinimalMultiviewDiTConfig,
    MultiViewConfig,
    MultiViewControlBranchConfig,
    NeighborhoodConfig,
)
from cosmos_cli.models.context_parallel import ContextParallel
from cosmos_cli.models.control_branch import ControlBranch
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.models.minimal_multiview_dit import MinimalMultiviewDiT
from cosmos_cli.models.multiview_control_branch import MultiViewControlBranch
from cosmos_cli.models.multiview_dit import MultiViewDiT
from cosmos_cli.models.regional_text import RegionalText
from cosmos_cli.runtime import attention
from cosmos_cli.runtime.compiling import check_compiler, compile_blocks, uncompile_blocks
from cosmos_cli.runtime.memory.streaming import BlockStream

# heads of width 32 and not less: kernels for GPUs take no others than multiples of 8
SIZE: dict[str, Any] = {
    "model_channels": 64,
    "num_blocks": 3,
    "num_heads": 2,
    "crossattn_emb_channels": 24,
    "adaln_lora_dim": 8,
    "max_img_h": 16,
    "max_img_w": 16,
    "max_frames": 8,
}
VIEWS: dict[str, Any] = {"n_views": 2, "view_condition_dim": 4}
GRID = (4, 3, 4)
SPARSE = NeighborhoodConfig(window=(2, 3, 2), stride=(1, 1, 2))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Network:
    """How a small network is built and what it is given beside latents, times and text."""

    build: Callable[[str], nn.Module]
    inputs: dict[str, Any] = field(default_factory=dict)
    text_shape: tuple[int, ...] = (1, 6, 24)

    def make(self, backend: str = "sdpa") -> Any:
        net = self.build(backend).eval()
        generator = torch.Generator().manual_seed(0)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)
        return net

    def run(self, net: Any, *, encode: bool = True, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Its outputs, one after the other: a branch has several."""
        x, times, text = noise(1, 16, 4, 6, 8, seed=1), noise(1, seed=2).sigmoid(), noise(*self.text_shape, seed=3)
        times = times[:, None] if isinstance(net, MinimalDiT) else times
        x, times, text = (t.to(device, dtype) for t in (x, times, text))
        inputs = tree_map(lambda v: v.to(device, dtype) if isinstance(v, Tensor) else v, self.inputs)
        with torch.inference_mode():
            out = net(x, times, net.encode_text(text) if encode else text, **inputs)
        return torch.cat(out) if isinstance(out, tuple) else out


HINT = {"guided_hint_BTHWD": noise(1, *GRID, 64, seed=4), "fps": 24}
NETWORKS = {
    "minimal": Network(lambda backend: MinimalDiT(MinimalDiTConfig(**SIZE), backend)),
    "minimal sparse": Network(lambda backend: MinimalDiT(MinimalDiTConfig(**SIZE), backend, [None, SPARSE, SPARSE])),
    "minimal multi-view": Network(
        lambda backend: MinimalMultiviewDiT(MinimalMultiviewDiTConfig(**SIZE, state_t=2), backend),
        {"fps": 24},
        text_shape=(1, 2, 6, 24),
    ),
    "action": Network(
        lambda backend: ActionDiT(ActionDiTConfig(**SIZE, action_dim=12), backend),
        {"actions": noise(1, 4, 3, seed=5)},
    ),
    "general": Network(
        lambda backend: GeneralDiT(GeneralDiTConfig(**SIZE), backend),
        {"fps": 24, "control_residuals": [noise(1, *GRID, 64, seed=6)]},
    ),
    "general multi-view": Network(lambda backend: MultiViewDiT(MultiViewConfig(**SIZE, **VIEWS), backend), {"fps": 24}),
    "control branch": Network(lambda backend: ControlBranch(ControlBranchConfig(**SIZE), backend), HINT),
    "multi-view control branch": Network(
        lambda backend: MultiViewControlBranch(MultiViewControlBranchConfig(**SIZE, **VIEWS), backend), HINT
    ),
}


class CountedGraphs:
    """A backend of torch.compile that runs graphs as they are and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):
        yield


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_of_every_network_compile_without_a_break_and_give_the_same(name: str) -> None:
    network, graphs = NETWORKS[name], CountedGraphs()
    net = network.make()
    expected, keys = network.run(net), net.state_dict().keys()
    compile_blocks(net, backend=graphs)  # type: ignore[arg-type]
    # a break would be an error; one graph for each kind of block, however many there are
    torch.testing.assert_close(network.run(net), expected, atol=1e-5, rtol=1e-5)
    assert graphs.count == (2 if "sparse" in name else 1)
    assert net.state_dict().keys() == keys
    network.run(net)
    assert graphs.count == (2 if "sparse" in name else 1)


@pytest.mark.parametrize("name", ["minimal", "control branch"])
def test_what_was_compiled_can_leave_the_device_after_all(name: str) -> None:
    network, graphs = NETWORKS[name], CountedGraphs()
    net = network.make()
    expected = network.run(net)
    compile_blocks(net, backend=graphs)  # type: ignore[arg-type]
    network.run(net)
    weights = [weakref.ref(weight) for weight in net.blocks.parameters()]
    uncompile_blocks(net)
    stream = BlockStream(net, torch.device("cpu"), num_resident=2)
    gc.collect()
    assert not any(weight() is not None for weight in weights)
    with stream:
        assert torch.equal(network.run(net), expected)
    assert graphs.count == 1


@pytest.mark.parametrize("name", ["minimal", "general"])
def test_a_text_that_is_not_encoded_compiles_too(name: str) -> None:
    network = NETWORKS[name]
    net = network.make()
    expected = network.run(net, encode=False)
    compile_blocks(net, backend="eager")
    torch.testing.assert_close(network.run(net, encode=False), expected, atol=1e-5, rtol=1e-5)


def test_texts_of_regions_compile_too() -> None:
    network = NETWORKS["general"]
    net = network.make()
    whole, *regions = (net.encode_text(noise(1, 5 + i, 24, seed=20 + i)) for i in range(3))
    text = RegionalText.of(whole, regions, noise(2, 48, seed=9) > 0.3)
    with torch.inference_mode():
        x, times = noise(1, 16, 4, 6, 8, seed=1), noise(1, seed=2)
        expected, plain = net(x, times, text, fps=24), net(x, times, whole, fps=24)
        compile_blocks(net, backend="eager")
        torch.testing.assert_close(net(x, times, text, fps=24), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(net(x, times, whole, fps=24), plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected, plain, atol=1e-2)


def test_a_block_is_compiled_for_more_shapes_than_pytorch_allows_by_itself() -> None:
    net = NETWORKS["minimal"].make()
    x, times = noise(1, 16, 1, 4, 4, seed=1), torch.full((1, 1), 0.5)
    texts = [noise(1, length, 24, seed=length) for length in (5, 6, 7)]
    with torch.inference_mode():
        expected = [net(x, times, text) for text in texts]
        compile_blocks(net, backend="eager")
        for text, y in zip(texts, expected, strict=True):
            torch.testing.assert_close(net(x, times, text), y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "backend", [n for n, r in attention.available_backends(torch.device("cpu"), torch.float32).items() if not r]
)
def test_every_attention_backend_of_this_machine_compiles(backend: str) -> None:
    network = NETWORKS["minimal"]
    net = network.make(backend)
    expected = network.run(net)
    compile_blocks(net, backend="aot_eager")
    torch.testing.assert_close(network.run(net), expected, atol=1e-5, rtol=1e-5)


def test_an_attention_library_that_cannot_be_looked_into_is_one_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def library(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2).double().numpy() for t in (q_BLHD, k_BLHD, v_BLHD))  # a break, if it is seen
        logits = torch.from_numpy(q @ k.swapaxes(-1, -2)) / q.shape[-1] ** 0.5
        return (logits.softmax(-1) @ torch.from_numpy(v)).to(q_BLHD.dtype).transpose(1, 2)

    monkeypatch.setattr(attention, "_backends", dict(attention._backends))
    attention.register_backend("library", lambda device, dtype: attention.as_one_operator("library", library))
    network = NETWORKS["general"]
    net, expected = network.make("library"), network.run(NETWORKS["general"].make())
    torch.testing.assert_close(network.run(net), expected, atol=1e-5, rtol=1e-5)
    compile_blocks(net, backend="aot_eager")
    torch.testing.assert_close(network.run(net), expected, atol=1e-5, rtol=1e-5)


class Ranks:
    """As much of a process group as it takes to be one of two."""

    def rank(self) -> int:
        return 0

    def size(self) -> int:
        return 2


def test_a_network_that_cannot_be_compiled_is_refused_with_a_way_out() -> None:
    net = NETWORKS["minimal"].make()
    net.context = ContextParallel(Ranks())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--compile: .*2 processes share.*dp or cfg.*leave out --compile"):
        compile_blocks(net, backend="eager")
    streamed = NETWORKS["general"].make()
    BlockStream(streamed, torch.device("cpu"), num_resident=2)
    with pytest.raises(InputError, match=r"wait in host memory.*--max-memory"):
        compile_blocks(streamed, backend="eager")
    with pytest.raises(InputError, match=r"no attention backend 'fast'.*sdpa"):
        compile_blocks(NETWORKS["minimal"].make("fast"), backend="eager")


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"no (g|clang)\+\+.*apt install.*leave out --compile"):
        compile_blocks(NETWORKS["minimal"].make())
    monkeypatch.setenv("CXX", "my-compiler")
    with pytest.raises(InputError, match="no my-compiler"):
        check_compiler(torch.device("cpu"))
    (tmp_path / "my-compiler").touch(mode=0o755)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(InputError, match=r"no Python\.h"):
        check_compiler(torch.device("cpu"))


def can_compile() -> bool:
    try:
        check_compiler(torch.device("cpu"))
    except InputError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler and Python's header files")
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"), [("general", torch.float32, 1e-5), ("minimal", torch.bfloat16, 0.01)]
)
def test_generated_code_gives_the_same(name: str, dtype: torch.dtype, tolerance: float) -> None:
    network = NETWORKS[name]
    net = network.make().to(dtype)
    expected = network.run(net, dtype=dtype)
    compile_blocks(net)
    out = network.run(net, dtype=dtype)
    error = (out - expected).float().abs().max().item() / max(1.0, expected.float().std().item())
    assert error <= tolerance
