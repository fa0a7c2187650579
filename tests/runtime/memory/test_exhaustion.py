"""How libraries say that a device has no memory left, word for word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed as dist

from cosmos_cli import output
from cosmos_cli.errors import CosmosError
from cosmos_cli.runtime.memory.exhaustion import is_out_of_memory
from cosmos_cli.runtime.memory.placement import Descent
from cosmos_cli.runtime.memory.residence import NetworkSize, Stage, lowest_plan, plan_memory

RUNTIME = (
    "CUDA error: out of memory\n"
    "Search for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html "
    "for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
NCCL = (
    "NCCL error in: /pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled cuda error (run with "
    "NCCL_DEBUG=INFO for details), NCCL version 2.27.5\n"
    "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
)
NO_ENGINE = RuntimeError("FIND was unable to find an engine to execute this computation")
OUT_OF_MEMORY = {
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of"),
    "torch, out of a compiled graph": RuntimeError(
        "backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    ),
    "CUDA": torch.AcceleratorError(RUNTIME),
    "CUDA, before there was a class": RuntimeError(RUNTIME),
    "CUDA's driver": RuntimeError("CUDA driver error: out of memory"),
    "CUDA's driver, by its code": RuntimeError("cuMemCreate failed: CUDA_ERROR_OUT_OF_MEMORY"),
    "cuDNN 9": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "cuDNN 8": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuBLAS, that has not begun": RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
    ),
    "cuSOLVER": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`. If you keep seeing this"
    ),
    "cuFFT": RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "NCCL": dist.DistBackendError(f"{NCCL}Cuda failure 2 'out of memory'"),
    "NCCL, older": dist.DistBackendError(f"{NCCL}Cuda failure 'out of memory'"),
    "NCCL, by amount": dist.DistBackendError(f"{NCCL}Failed to CUDA calloc async 608 bytes"),
    "Triton": RuntimeError("Triton Error [CUDA]: out of memory"),
    "transformer-engine": RuntimeError("/te/common/util/cuda_runtime.cpp:22 in function f: CUDA Error: out of memory"),
}
OTHERS = {
    "shapes": RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    "a bad access": torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nSearch for"),
    "memory of the host": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 800000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "memory of the host in cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    "shared memory of a kernel": RuntimeError(
        "out of resource: shared memory, Required: 240000, Hardware limit: 232448"
    ),
    "a peer that is gone": dist.DistBackendError(f"{NCCL}Cuda failure 999 'unknown error'"),
    "cuBLAS, another call": RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm(handle)`"
    ),
    "a convolution that cannot be": NO_ENGINE,
}


@pytest.fixture(autouse=True)
def forget_notices() -> Iterator[None]:
    yield
    output.configure(speaking=False)


@pytest.mark.parametrize("name", OUT_OF_MEMORY)
def test_every_library_is_understood_and_a_run_is_done_again(name: str) -> None:
    failures = [OUT_OF_MEMORY[name]]

    def run() -> str:
        if failures:
            raise failures.pop()
        return "made"

    plan = plan_memory(None, (Stage("diffusion transformer", (NetworkSize(1, 1, 8),)),))
    lowered: list[object] = []
    assert Descent(torch.device("cpu")).run(run, plan, lowered.append) == "made"
    assert len(lowered) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_what_less_on_the_device_would_not_help_is_something_else(name: str) -> None:
    assert not is_out_of_memory(OTHERS[name])


def test_a_convolution_without_an_engine_lacked_memory_if_the_device_refused_some() -> None:
    assert is_out_of_memory(NO_ENGINE, num_refused=1)
    assert not is_out_of_memory(OTHERS["shapes"], num_refused=1)


def test_at_the_end_the_device_is_quoted() -> None:
    plan = lowest_plan((Stage("tokenizer", (NetworkSize(1),)),))

    def run() -> None:
        raise OUT_OF_MEMORY["cuDNN 9"]

    with pytest.raises(CosmosError, match="It said: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"):
        Descent(torch.device("cpu")).run(run, plan, lambda plan: None)
