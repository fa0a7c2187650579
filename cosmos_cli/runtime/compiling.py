"""torch.compile for diffusion transformers: every block becomes one graph, and nothing else is compiled.

Blocks of one shape share what is compiled, so the first of them takes the time. What stands around the blocks is little
work; and the tokens pass from block to block as before, so that control residuals are added between them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.attention import load_backend

NUM_VARIANTS = 64
"""How often a block may be compiled for other shapes or another kind of text; PyTorch's own limit is 8."""

WAY_OUT = "Or leave out --compile."


def check_compiler(device: torch.device) -> None:
    """Raises InputError if torch.compile cannot make code for a device here; it looks only for what it needs.

    A CPU needs a C++ compiler; a GPU needs Triton, and Triton a C compiler. Both need Python's header files.
    """
    if device.type == "cuda":
        if not find_spec("triton"):
            raise _refusal("needs Triton, which is not installed.", "Install it with `pip install triton`.")
        variable, candidates = "CC", ["gcc", "clang"]
    else:
        variable, candidates = "CXX", ["clang++"] if sys.platform == "darwin" else ["g++"]
    if command := shlex.split(os.environ.get(variable, "")):
        candidates = command[:1]
    if not any(map(shutil.which, candidates)):
        raise _refusal(
            f"needs a compiler, and there is no {' or '.join(candidates)}.",
            f"Install one, for instance with `apt install g++`, or have {variable} name one.",
        )
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        raise _refusal(
            "needs Python's header files, and there is no Python.h.",
            "Install them, for instance with `apt install python3-dev`.",
        )


def check_compilable(num_ranks: int, *, is_resident: bool) -> None:
    """Raises InputError if a network cannot be compiled where it will be.

    Args:
        num_ranks: processes that share its tokens.
        is_resident: whether its weights stay on the device.
    """
    if num_ranks > 1:
        raise _refusal(
            f"cannot compile a network whose tokens {num_ranks} processes share.",
            "Have them share otherwise, with --parallel dp or cfg.",
        )
    if not is_resident:
        raise _refusal(
            "cannot compile a network whose weights wait in host memory.",
            "Leave out --max-memory and --offload-diffusion-transformer, or free memory of the device.",
        )


def compile_blocks(network: nn.Module, *, backend: str = "inductor") -> None:
    """Has every block of a network compiled when it is first called, each time for the shapes of that call.

    The network keeps its parameters, their names and its methods. Call it when the weights are where they will stay and
    after `parallelise`: what is compiled neither reaches other processes nor has its weights exchanged.

    Args:
        network: a diffusion transformer or a control branch, of any kind.
        backend: of torch.compile. With "inductor", each operation is rounded as without, but sums may be taken in
            another order.
    Raises:
        InputError: several processes share the network's tokens, its weights are streamed, there is no compiler, or an
            attention backend cannot run.
    """
    blocks: Any = network.blocks
    context: Any = network.context
    check_compilable(context.num_ranks, is_resident=not any(module._forward_pre_hooks for module in blocks.modules()))
    parameter = next(blocks.parameters())
    if backend == "inductor":
        check_compiler(parameter.device)
    for module in blocks.modules():
        if isinstance(name := getattr(module, "attention_backend", None), str):
            load_backend(name, parameter.device, parameter.dtype)
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, NUM_VARIANTS)
    # otherwise a fused block would skip the roundings between its operations, and bfloat16 videos would change
    options = {"emulate_precision_casts": True} if backend == "inductor" else None
    for block in blocks.children():
        block.compile(fullgraph=True, dynamic=False, backend=backend, options=options)


def uncompile_blocks(network: nn.Module) -> None:
    """Has the blocks of a network run as they are again; what was compiled of them lets go of their weights."""
    blocks: Any = network.blocks
    for block in blocks.children():
        block._compiled_call_impl = None  # nothing public undoes `Module.compile`
    torch._dynamo.reset()


def _refusal(what: str, fix: str) -> InputError:
    return InputError(what, where="--compile", fix=f"{fix} {WAY_OUT}")
