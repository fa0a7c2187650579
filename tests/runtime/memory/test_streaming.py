"""Networks that pass through the device block by block; `torch.equal`, since streaming must not change a bit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from cosmos_cli import output
from cosmos_cli.models.configs import ControlBranchConfig, GeneralDiTConfig, MinimalDiTConfig
from cosmos_cli.models.control_branch import ControlBranch, sum_residuals
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.runtime.memory import streaming
from cosmos_cli.runtime.memory.limit import DeviceMemory
from cosmos_cli.runtime.memory.placement import Placement
from cosmos_cli.runtime.memory.residence import PARKED, RESIDENT, streamed
from cosmos_cli.runtime.memory.streaming import BlockStream
from tests.runtime.memory.sizes import size_of

CPU = torch.device("cpu")
SIZE: dict[str, Any] = {"model_channels": 48, "num_heads": 2, "crossattn_emb_channels": 24, "adaln_lora_dim": 8}
LIMITS: dict[str, Any] = {"max_img_h": 16, "max_img_w": 16, "max_frames": 8}


def randomised(net: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return net.eval().requires_grad_(False)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def minimal(num_blocks: int = 5) -> MinimalDiT:
    net: MinimalDiT = randomised(MinimalDiT(MinimalDiTConfig(num_blocks=num_blocks, **SIZE, **LIMITS)))
    return net


def predict(net: MinimalDiT, seed: int = 1, device: torch.device = CPU) -> Tensor:
    """A forward pass whose text is encoded first, as pipelines do, which uses only a part of every block."""
    dtype = net.final_layer.linear.weight.dtype
    with torch.inference_mode():
        text = net.encode_text(noise(1, 5, net.config.crossattn_emb_channels).to(device, dtype))
        return net(noise(1, 16, 3, 6, 8, seed=seed).to(device, dtype), torch.full((1, 1), 0.5).to(device, dtype), text)


class LateCopies(streaming._Copies):
    """Copies as late as they may be: when the work is about to wait for them. Until then a slot holds rubbish."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.calls: list[str] = []

    def copy(self, target: Tensor, source: Tensor, *, after: Any) -> Any:
        target.fill_(0xFF)  # nan in any floating-point type
        self.calls.append("copy")
        return lambda: target.copy_(source)

    def wait(self, event: Any) -> None:
        self.calls.append("wait")
        event()


@pytest.fixture
def late_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_Copies", LateCopies)


@pytest.mark.parametrize("num_resident", [2, 3, 4, 5, 9, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_streamed_network_predicts_the_same(num_resident: int | None, dtype: torch.dtype) -> None:
    net = minimal().to(dtype)
    expected = [predict(net, seed) for seed in (1, 2, 3)]
    with BlockStream(net, CPU, num_resident=num_resident):
        assert all(torch.equal(predict(net, seed), value) for seed, value in zip((1, 2, 3), expected, strict=True))


@pytest.mark.usefixtures("late_copies")
def test_no_block_works_before_its_copy_is_awaited() -> None:
    net = minimal()
    expected = predict(net)
    stream = BlockStream(net, CPU)
    for stream.num_resident in (2, 3, 4):
        with stream:
            for _ in range(3):
                assert torch.equal(predict(net), expected)


@pytest.mark.usefixtures("late_copies")
def test_the_next_block_is_copied_while_one_works_and_each_once_per_pass() -> None:
    net, inputs = minimal(num_blocks=3), noise(1, 16, 3, 6, 8)
    stream = BlockStream(net, CPU, num_resident=2)
    for number, block in enumerate(net.blocks):
        block.register_forward_hook(lambda *_, number=number: stream._copies.calls.append(f"end {number}"))
    with stream, torch.inference_mode():
        for _ in range(2):
            net(inputs, torch.full((1, 1), 0.5), noise(1, 5, 24))
    one_pass = [step for number in range(3) for step in ("wait", "copy", f"end {number}")]
    assert stream._copies.calls == ["copy", *one_pass, *one_pass]


@pytest.mark.usefixtures("late_copies")
def test_a_base_and_its_control_branches_stream_at_the_same_time() -> None:
    base = randomised(GeneralDiT(GeneralDiTConfig(num_blocks=6, **SIZE, **LIMITS)))
    branches = [
        randomised(ControlBranch(ControlBranchConfig(num_blocks=4, **SIZE, **LIMITS, hint_channels=16)), seed)
        for seed in (1, 2)
    ]
    given: dict[str, Any] = {"x_BCTHW": noise(1, 16, 3, 6, 8), "timesteps_B": noise(1), "fps": 24}

    def controlled() -> Tensor:
        with torch.inference_mode():
            hints = [branch.encode_hint(noise(1, 16, 3, 6, 8, seed=2)) for branch in branches]
            residuals = [
                branch.residuals(**given, text=branch.encode_text(noise(1, 5, 24)), guided_hint_BTHWD=hint)
                for branch, hint in zip(branches, hints, strict=True)
            ]
            text = base.encode_text(noise(1, 5, 24))
            total: Tensor = base(**given, text=text, control_residuals=sum_residuals([(0.5, r) for r in residuals]))
            return total

    expected = controlled()
    with ExitStack() as stack:
        for network in (base, *branches):
            stack.enter_context(BlockStream(network, CPU, num_resident=2))
        assert torch.equal(controlled(), expected)
        assert torch.equal(controlled(), expected)


def test_a_text_encoder_streams_and_its_shared_weights_stay_shared() -> None:
    config = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=4, num_heads=4, vocab_size=64, is_gated_act=True)
    torch.manual_seed(0)
    encoder = T5EncoderModel(config).eval().requires_grad_(False)
    tokens = torch.arange(12)[None]
    with torch.no_grad():
        expected = encoder(input_ids=tokens).last_hidden_state
        with BlockStream(encoder, CPU, num_resident=2, blocks=encoder.encoder.block):
            assert torch.equal(encoder(input_ids=tokens).last_hidden_state, expected)
            assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


@pytest.mark.parametrize("num_resident", [2, 3, 4, None])
def test_the_device_holds_the_trunk_and_no_more_blocks_than_asked_for(num_resident: int | None) -> None:
    net, memory = minimal(), DeviceMemory()
    size = size_of(net)
    stream = BlockStream(net, CPU, num_resident=num_resident, memory=memory)
    assert memory.num_bytes == 0
    with stream:
        predict(net)
    assert memory.peak_bytes == size.trunk_bytes + (num_resident or size.num_blocks) * size.block_bytes
    assert memory.num_bytes == 0


def test_what_does_not_fit_leaves_nothing_behind_and_fewer_blocks_fit() -> None:
    net = minimal()
    expected, size = predict(net), size_of(net)
    memory = DeviceMemory(limit_bytes=size.bytes_with(3))
    stream = BlockStream(net, CPU, num_resident=4, memory=memory)
    with pytest.raises(torch.OutOfMemoryError, match="Simulated device out of memory"), stream:
        pass
    assert memory.num_bytes == 0
    stream.num_resident = 3
    with stream:
        assert torch.equal(predict(net), expected)


def test_an_error_in_a_forward_pass_leaves_the_network_usable() -> None:
    net = minimal()
    expected = predict(net)
    stream = BlockStream(net, CPU, num_resident=2)

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    for number in range(5):
        handle = net.blocks[number].mlp.register_forward_pre_hook(fail)
        with stream:
            with pytest.raises(RuntimeError, match="broken"):
                predict(net)
            handle.remove()
            assert torch.equal(predict(net), expected)
    handle = net.blocks[2].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"), stream:
        predict(net)
    handle.remove()
    with stream:
        assert torch.equal(predict(net), expected)


def test_outside_of_its_stream_a_network_keeps_its_weights_and_does_not_run() -> None:
    net = minimal()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    stream = BlockStream(net, CPU, num_resident=2)
    with stream:
        predict(net)
        inside = net.state_dict()
        assert all(torch.equal(inside[name], tensor) for name, tensor in before.items())
    after = net.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert list(after) == list(before)
    with pytest.raises(RuntimeError, match="inside of its stream"):
        predict(net)


def test_another_thread_may_run_what_this_one_placed() -> None:
    net = minimal()
    expected, found = predict(net), []
    with BlockStream(net, CPU, num_resident=2):
        predict(net)
        thread = threading.Thread(target=lambda: found.append(predict(net)))
        thread.start()
        thread.join()
        found.append(predict(net))
    assert [torch.equal(value, expected) for value in found] == [True, True]


def test_one_resident_block_is_too_few() -> None:
    with pytest.raises(ValueError, match="num_resident is 1, less than 2"):
        BlockStream(minimal(), CPU, num_resident=1)


def test_a_stage_goes_down_step_by_step_and_back_to_work_with_the_same_result() -> None:
    net, memory = minimal(), DeviceMemory()
    expected, size = predict(net), size_of(net)
    placement = Placement([net], CPU, RESIDENT, memory)
    assert 0 < memory.num_bytes <= size.total_bytes
    for residence, blocks in ((PARKED, 5), (streamed(3), 3), (streamed(2), 2)):
        placement.lower(residence)
        assert memory.num_bytes == 0
        memory.peak_bytes = 0
        with placement.at_work(working_bytes=1000):
            assert torch.equal(predict(net), expected)
        assert memory.peak_bytes == size.bytes_with(blocks) + 1000
    with pytest.raises(ValueError, match="do not return"):
        placement.lower(RESIDENT)


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    yield torch.device("cuda")
    torch.cuda.empty_cache()


@pytest.mark.gpu
def test_on_a_gpu_copies_beside_the_work_change_nothing_and_save_memory(gpu: torch.device) -> None:
    config = MinimalDiTConfig(model_channels=1024, num_blocks=12, num_heads=8, crossattn_emb_channels=64)
    net = randomised(MinimalDiT(config)).to(gpu, torch.bfloat16)
    expected = [predict(net, seed, gpu) for seed in range(4)]
    total_bytes = size_of(net).total_bytes
    stream = BlockStream(net, gpu)
    for stream.num_resident in (2, 3, 6):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(gpu)
        before = torch.cuda.memory_allocated(gpu)
        with stream:
            # nothing waits for the device between passes, so copies and work may overlap as much as they can
            found = [predict(net, seed, gpu) for _ in range(5) for seed in range(4)]
        for number, value in enumerate(found):
            assert torch.equal(value, expected[number % 4])
        assert torch.cuda.max_memory_allocated(gpu) - before < 0.8 * total_bytes


class Cudart:
    """CUDA's runtime on a machine that pins host memory, or does not."""

    def __init__(self, result: int) -> None:
        self.result, self.calls = result, 0

    def cudaHostRegister(self, address: int, num_bytes: int, flags: int) -> int:
        self.calls += 1
        return self.result

    def cudaHostUnregister(self, address: int) -> int:
        return 0


@pytest.mark.parametrize(("result", "num_notices"), [(0, 0), (2, 1)])
def test_host_memory_that_cannot_be_pinned_costs_time_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, result: int, num_notices: int
) -> None:
    net = minimal()
    expected, cudart = predict(net), Cudart(result)
    kernels: list[tuple[int, ...]] = []
    ones = torch.ones

    def launch(*size: int, **options: Any) -> Tensor:
        if str(options.get("device")) != "cuda:0":
            return ones(*size, **options)
        kernels.append(size)
        raise torch.AcceleratorError("CUDA error: out of memory")  # of the pinning, told to who comes next

    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch, "ones", launch)
    stream = BlockStream(net, torch.device("cuda:0"), num_resident=2)
    assert cudart.calls > 3
    assert len(kernels) == (cudart.calls if result else 0)
    notices = output.notices()
    output.configure(speaking=False)
    assert len(notices) == num_notices
    assert all("cannot be pinned" in notice for notice in notices)
    stream._device = torch.device("cpu")  # there is no other here
    with stream:
        assert torch.equal(predict(net), expected)
