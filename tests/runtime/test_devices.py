import threading

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.devices import Cores, choose_device, choose_dtype, num_cores


def test_auto_is_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:999", "", "cpu:x"])
def test_a_device_that_does_not_exist_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert caught.value.problems[0].where == "--device"


def test_a_cpu_computes_in_float32_unless_told_otherwise() -> None:
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_a_computation_on_the_cpu_gives_cores_away_while_others_need_them_and_takes_them_back() -> None:
    cores, cpu = Cores(), torch.device("cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(num_cores())
    taken, given_back = threading.Event(), threading.Event()
    seen: list[int] = []

    def other() -> None:
        with cores.taken(cpu):
            seen.append(cores.here)
            taken.set()
            assert given_back.wait(10)

    thread = threading.Thread(target=other)
    try:
        with cores.at_work(cpu):
            assert torch.get_num_threads() == num_cores()
            thread.start()
            assert taken.wait(10)
            cores.share()
            assert torch.get_num_threads() == max(1, num_cores() - 1)
            given_back.set()
            thread.join()
            cores.share()
            assert torch.get_num_threads() == num_cores()
            torch.set_num_threads(1)
        assert torch.get_num_threads() == num_cores()
        assert seen == [1]
        with cores.taken(cpu):  # nobody computes
            assert cores.here == num_cores()
    finally:
        torch.set_num_threads(before)
