import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.devices import choose_device, choose_dtype


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
