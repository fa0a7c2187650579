"""Stand-ins of published weights: real names, shapes, types and nesting at full size, in about a hundred kilobytes.

Every tensor is one number seen in its shape through strides of 0, which torch.save and TorchScript write as one number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.conftest import GOLDEN

Content = dict[str, Any]

_WITH_STATE = {".to_q.0.weight": ".attn_op._extra_state", ".q_proj.weight": ".attn_op._extra_state"}
"""Of Transformer Engine's attention, which every block has beside this weight."""

COUNTERS: Content = {"iteration": np.int64(1000), "trainer": {"loss": np.float32(0.5), "random": np.arange(3)}}
"""What training leaves in its files beside tensors."""


def stand_in(manifest: str, value: float = 1.0, dtype: torch.dtype = torch.bfloat16) -> Content:
    """All entries of a full-size network by their published names.

    Args:
        value: of every number. dtype: of what is floating.
    """
    entries = json.loads((GOLDEN / "manifests" / f"{manifest}.json").read_text())
    kinds = {"float32": torch.tensor(value, dtype=dtype)}
    content: Content = {}
    for key, entry in entries.items():
        number = kinds.setdefault(entry["dtype"], torch.tensor(0, dtype=getattr(torch, entry["dtype"])))
        content[key] = number.expand(entry["shape"])
        for end, state in _WITH_STATE.items():
            if key.endswith(end):
                content[f"{key.removesuffix(end)}{state}"] = io.BytesIO(b"recipe")
    return content


def stand_in_of(network: nn.Module, prefix: str, value: float = 1.0) -> Content:
    """The same of a network on the meta device that there is no manifest of."""
    number = torch.tensor(value, dtype=torch.bfloat16)
    return {f"{prefix}{name}": number.expand(tensor.shape) for name, tensor in network.state_dict().items()}


def under(content: Mapping[str, Any], prefix: str, new: str) -> Content:
    """The entries under a prefix, under another instead."""
    return {f"{new}{key.removeprefix(prefix)}": entry for key, entry in content.items() if key.startswith(prefix)}


def with_dashes(content: Mapping[str, Any]) -> Content:
    """As the tool that averages weights keeps them: tensors only, by names without dots."""
    return {key.replace(".", "-"): entry for key, entry in content.items() if isinstance(entry, Tensor)}


def save(content: Any, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    assert path.stat().st_size < 1_000_000, "one of its tensors was written in full"
    return path


def save_shards(content: Content, folder: Path, wrap: Callable[[Content], Content] = dict) -> Path:
    """In three files, whose index is returned."""
    folder.mkdir(parents=True)
    names = [f"pytorch_model-0000{number}-of-00003.bin" for number in (1, 2, 3)]
    place = {key: names[number % 3] for number, (key, entry) in enumerate(content.items()) if isinstance(entry, Tensor)}
    for name in names:
        save(wrap({key: content[key] for key in place if place[key] == name}), folder / name)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return index


def save_torchscript(content: Content, path: Path) -> Path:
    """An archive of modules that have these tensors, and no program."""
    root = nn.Module()
    for key, tensor in content.items():
        *parts, name = key.split(".")
        module = root
        for part in parts:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(name, tensor)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(root).save(path)
    assert path.stat().st_size < 1_000_000
    return path
