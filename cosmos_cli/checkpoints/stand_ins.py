"""Reading pickles that describe tensors, with a stand-in for every object, so that nothing in them can run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cosmos_cli.checkpoints.pickles import check_pickle
from cosmos_cli.errors import CheckpointError

# What a pickle's callable may be replaced by, given its qualified name; None refuses the file.
StandIns = Callable[[str], Any]


class Record:
    """Keeps what a pickle says about an object, and does nothing else."""

    fields: Any = None

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.fields = state

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


class StandInUnpickler(pickle._Unpickler):
    """Builds what a pickle describes out of stand-ins and, of the real things, only torch's dtypes.

    Python's own, since the one in C makes room for as many objects as a single number in the file says.

    Raises:
        CheckpointError: the pickle asks for something that has no stand-in. Damaged pickles raise anything.
    """

    def __init__(self, content: bytes, path: Path, stand_ins: StandIns) -> None:
        check_pickle(content)
        super().__init__(io.BytesIO(content))
        self._path = path
        self._stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        qualified_name = f"{module}.{name}"
        stand_in = self._stand_ins(qualified_name)
        if stand_in is not None:
            return stand_in
        # not getattr, which would import some submodules of torch on demand
        value = vars(torch).get(name)
        if module == "torch" and isinstance(value, torch.dtype):
            return value
        raise refuse_object(self._path, qualified_name)


def refuse_object(path: Path, name: str) -> CheckpointError:
    """The error for a file that asks for `name` (`module.attribute`) when it is unpickled."""
    return CheckpointError(
        f"{path.name} was refused, and nothing in it was run: it asks for the Python object `{name}`. Weights need "
        "only tensors; objects can run any code.",
        where=str(path),
        fix="Use a safetensors file, or if you trust the source, save the state dict alone with torch.save.",
    )
