"""What a training leaves for inference: flat files of weights under their published names, or a LoRA as peft saves it.

Sharded tensors are gathered one at a time, and only rank 0 keeps them, on the CPU: one file's content at most.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from cosmos_cli.checkpoints.adapter_config import ADAPTER_CONFIG
from cosmos_cli.checkpoints.lora import ADAPTER_WEIGHTS
from cosmos_cli.files.failures import writing
from cosmos_cli.files.writing import replacing, write_json
from cosmos_cli.runtime.workers import agreement
from cosmos_cli.training import job_folder
from cosmos_cli.training.background import Background
from cosmos_cli.training.checkpoints import is_first, model_tensors
from cosmos_cli.training.job_folder import iteration_name
from cosmos_cli.training.recipe import LoRARecipe

REGULAR, AVERAGED = "reg", "ema"

_ADAPTER = re.compile(r"(?P<layer>.+\.lora_[AB])\.(?P<adapter>[^.]+)\.weight")


def export_path(folder: Path, iteration: int, kind: str) -> Path:
    """Where the weights of a step are exported; `kind` is "reg" or "ema"."""
    return folder / f"{iteration_name(iteration)}_{kind}_model.pt"


def adapter_path(folder: Path, iteration: int, kind: str) -> Path:
    """Folder of the LoRA of a step."""
    return folder / f"{iteration_name(iteration)}_{'ema_' if kind == AVERAGED else ''}lora"


def export(
    folder: Path,
    iteration: int,
    networks: nn.Module,
    ema: Mapping[str, Tensor] | None = None,
    constants: Mapping[str, Tensor] | None = None,
    *,
    background: Background | None = None,
) -> None:
    """Write `iter_..._reg_model.pt` in bfloat16 and, with an average, `iter_..._ema_model.pt` in float32.

    Files of that name are replaced, whole or not at all. All ranks must call this.

    Args:
        networks: their parameters and buffers are exported under their names, without what wraps their parts.
        ema: averages by these names; what has none is exported as it is.
        constants: what published files hold besides, by its whole name, as it is.
        background: what writes while the training goes on; it is waited for before the next file is gathered. None
            writes before this returns.
    Raises:
        DiskFull, CosmosError: a file could not be written; on all ranks alike.
    """
    own = model_tensors(networks)
    kinds = {REGULAR: (own, torch.bfloat16)}
    if ema is not None:
        kinds[AVERAGED] = ({**own, **{name: ema[name] for name in own.keys() & ema.keys()}}, torch.float32)
    for kind, (tensors, dtype) in kinds.items():
        _wait(background)
        content = _gathered(tensors, dtype, dict(constants or {}))
        path = export_path(folder, iteration, kind)
        _write(_file_writer(path, content), f"exporting-{path.name}", background)


def export_adapter(
    folder: Path,
    iteration: int,
    networks: nn.Module,
    lora: LoRARecipe,
    ema: Mapping[str, Tensor] | None = None,
    *,
    background: Background | None = None,
) -> None:
    """Write the LoRA inside networks as folders that peft and `--lora-path` read: `iter_..._lora`, `iter_..._ema_lora`.

    Arguments and errors as for `export`. Layers are named as in the network `net`.
    """
    own = model_tensors(networks)
    kinds = {REGULAR: own} if ema is None else {REGULAR: own, AVERAGED: {**own, **ema}}
    for kind, tensors in kinds.items():
        _wait(background)
        halves = {_adapter_name(found): tensors[key] for key in own if (found := _ADAPTER.fullmatch(key))}
        if not halves:
            raise ValueError("the networks have no LoRA")
        content = _gathered(halves, torch.float32, {})
        target = adapter_path(folder, iteration, kind)
        _write(_adapter_writer(target, content, lora), f"exporting-{target.name}", background)


def _adapter_name(found: re.Match[str]) -> str:
    return f"base_model.model.{found['layer'].removeprefix('net.')}.weight"


def _gathered(tensors: Mapping[str, Tensor], dtype: torch.dtype, others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors on the CPU in rank 0, nothing in the others; what counts, such as positions, keeps its dtype."""
    content: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, tensor in _in_order(tensors):
            part = tensor.detach()
            if part.is_floating_point():
                part = part.to(dtype)  # before it is sent
            whole = part.full_tensor() if isinstance(part, DTensor) else part
            if is_first():
                # never a view: the file would hold the whole storage, and the next step would write into it
                content[name] = torch.empty(whole.shape, dtype=whole.dtype, device="cpu").copy_(whole)
    if is_first():
        content |= {name: tensor.detach().to("cpu", copy=True) for name, tensor in others.items()}
    return content


def _in_order(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """By name: all ranks gather the same tensor at a time."""
    for name in sorted(tensors):
        yield name, tensors[name]


def _wait(background: Background | None) -> None:
    if background is not None:
        agreement.together(background.wait)


def _write(write: Callable[[], None], name: str, background: Background | None) -> None:
    """In rank 0 alone."""
    if background is None:
        agreement.together(lambda: write() if is_first() else None)
    elif is_first():
        background.start(write, name)


def _file_writer(path: Path, content: dict[str, Tensor]) -> Callable[[], None]:
    def write() -> None:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
        content.clear()

    return write


def _adapter_writer(target: Path, content: dict[str, Tensor], lora: LoRARecipe) -> Callable[[], None]:
    config = {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": list(lora.target_modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
        "task_type": None,
        "base_model_name_or_path": None,
    }

    def write() -> None:
        place = job_folder.partial_folder(target.parent, target.name)
        try:
            with writing(target):
                place.mkdir(parents=True)
                save_file(content, place / ADAPTER_WEIGHTS[0], metadata={"format": "pt"})
            write_json(place / ADAPTER_CONFIG, config)
            job_folder.publish(place, target)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    return write
