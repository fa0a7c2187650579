import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.devices import Cores, choose_device, choose_dtype, computing, num_cores
from cosmos_cli.runtime.machine import peak_device_bytes
from cosmos_cli.runtime.memory.limit import limit_device
from cosmos_cli.runtime.shortcuts import NO_SHORTCUTS, Shortcuts
from cosmos_cli.runtime.threads import same_device
from cosmos_cli.runtime.timing import timed
from tests.fake_driver import FakeDriver


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(monkeypatch, ["a", "b", "c"])


def test_auto_is_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_has_its_number_from_the_moment_it_is_chosen(driver: FakeDriver, name: str) -> None:
    assert choose_device(name) == torch.device("cuda", 0)
    torch.cuda.set_device(2)
    device = choose_device(name)
    assert device == torch.device("cuda", 2)
    # where PyTorch wants a number
    torch.cuda.set_device(device)
    limit_device(device, 20 << 30)
    assert driver.limits == {2: 0.25}


def test_a_gpu_by_number_is_that_one_for_all_that_goes_to_the_current_device(driver: FakeDriver) -> None:
    device = choose_device("cuda:1")
    assert device == torch.device("cuda", 1)
    with computing(device):
        assert torch.cuda.current_device() == 1
        assert peak_device_bytes() == 1001
        with timed("denoise", {}, device):
            pass
    assert torch.cuda.current_device() == 0
    with timed("encode", {}, device):
        pass
    with timed("write", {}):
        pass
    assert driver.waited_for == [1, 1]


def test_a_thread_of_ours_computes_on_the_gpu_of_the_one_that_starts_it(driver: FakeDriver) -> None:
    torch.cuda.set_device(1)
    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(1, initializer=same_device()) as along:
        devices = [pool.submit(choose_device, "cuda").result() for pool in (alone, along)]
    assert devices == [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_a_gpu_beyond_the_last_is_refused_with_their_number(driver: FakeDriver) -> None:
    with pytest.raises(InputError, match="cuda:3 does not exist; there are 3 CUDA devices"):
        choose_device("cuda:3")


Flags = tuple[bool, bool, bool, bool]


@pytest.fixture
def flags() -> Iterator[Callable[[], Flags]]:
    """Tells TF32 in products and in convolutions, trials, and whether kernels must round alike."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn

    def read() -> Flags:
        return cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic

    before = read()
    yield read
    cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


def test_shortcuts_hold_on_a_gpu_from_then_on(driver: FakeDriver, flags: Callable[[], Flags]) -> None:
    gpu = torch.device("cuda", 0)
    with computing(gpu, Shortcuts(tf32_products=True, trials=True)):
        assert flags() == (True, True, True, False)
    assert flags() == (True, True, True, False)
    with computing(gpu):
        assert flags() == (True, True, True, False)
    with computing(gpu, Shortcuts()):
        assert flags() == (False, True, False, False)
    with computing(gpu, NO_SHORTCUTS):
        assert flags() == (False, False, False, True)


def test_a_cpu_knows_no_shortcuts(flags: Callable[[], Flags]) -> None:
    before = flags()
    for shortcuts in (NO_SHORTCUTS, Shortcuts(tf32_products=True, trials=True)):
        with computing(torch.device("cpu"), shortcuts):
            assert flags() == before


def test_shortcuts_are_pytorchs_own_unless_a_family_says_otherwise() -> None:
    code = "import torch.backends as b; print(b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32, b.cudnn.benchmark)"
    own = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    default = Shortcuts()
    assert own == [str(each) for each in (default.tf32_products, default.tf32_convolutions, default.trials)]


def test_shortcuts_are_told_in_words() -> None:
    both = "TF32 in matrix products and convolutions, cuDNN's choice of kernels by trial"
    assert str(Shortcuts(tf32_products=True, trials=True)) == both
    assert str(Shortcuts()) == "TF32 in convolutions"
    assert str(NO_SHORTCUTS) == "none"


@pytest.mark.parametrize("name", ["gpu", "cuda:999", "", "cpu:x", "mps", "meta", "cuda:-1", "auto:1"])
def test_a_device_that_does_not_exist_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert caught.value.problems[0].where == "--device"


def test_a_cpu_computes_in_float32_unless_told_otherwise() -> None:
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_torch_keeps_its_threads_whoever_works_beside_it_and_from_whatever_thread() -> None:
    cores, cpu = Cores(), torch.device("cpu")
    own, seen = torch.get_num_threads(), []
    taken, done = threading.Event(), threading.Event()

    def guest() -> None:
        with cores.taken(cpu):
            seen.append(cores.here)
            taken.set()
            assert done.wait(10)

    def second() -> None:
        with cores.at_work(cpu, own + 1):
            seen.append(torch.get_num_threads())

    threads = [threading.Thread(target=work) for work in (guest, second)]
    with cores.at_work(cpu, own + 1):
        threads[0].start()
        assert taken.wait(10)
        assert torch.get_num_threads() == own + 1
        threads[1].start()
        threads[1].join()
        done.set()
        threads[0].join()
    assert torch.get_num_threads() == own
    assert seen == [1, own + 1]
    with cores.taken(cpu):  # nobody computes
        assert cores.here == num_cores()
