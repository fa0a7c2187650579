"""What decides on the clips of a data set, as plain facts: equal facts are equal clips. No torch here."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosmos_cli import registry
from cosmos_cli.files.identity import fingerprint
from cosmos_cli.training.recipe import Data, Recipe

if TYPE_CHECKING:
    from cosmos_cli.training.data.source import Dataset

_OF_NO_ACCOUNT = {
    "batch_size",
    "dataset_dir",
    "global_batch_size",
    "hint",
    "latents_dir",
    "num_mock_clips",
    "num_workers",
    "shuffle",
    "text_encoder",
}
"""Fields that decide on no clip, or that stand here by their content."""


def facts_of_clips(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What decides on the clips of a recipe and their texts, and on its hints where the clips depend on them.

    Raises:
        OSError: the folder of the data set cannot be looked through.
    """
    data = recipe.data
    facts: dict[str, Any] = {
        "source": data.source,
        "code": _code(data.source.partition(":")[0]),
        "identity": getattr(dataset, "identity", ""),
        "seed": recipe.trainer.seed,
        "data": data.model_dump(mode="json", exclude=_OF_NO_ACCOUNT),
        "files": _files(data) if data.dataset_dir else "",
        "text_encoder": fingerprint(Path(data.text_encoder)) if data.text_encoder else "",
    }
    return facts if getattr(dataset, "hints_stand_apart", False) else facts | facts_of_hint(data)


def facts_of_hint(data: Data) -> dict[str, Any]:
    """What decides on the control videos of given clips."""
    control: Any = registry.current().controls.get(data.hint)
    computes = None if control is None else control.train
    return {"hint": data.hint, "hint_code": _code(computes.partition(":")[0]) if computes else ""}


def _files(data: Data) -> str:
    """Digest of names, sizes and times of all files of a data set, wherever it lies; latents beside them are none."""
    root, latents = Path(data.dataset_dir).expanduser(), Path(data.latents_dir).expanduser().resolve()
    content = hashlib.sha256()
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] != "." and Path(folder, name).resolve() != latents)
        for name in sorted(names):
            if name[0] != ".":
                path = Path(folder, name)
                status = path.stat()
                content.update(os.fsencode(f"{path.relative_to(root)}\0{status.st_size} {status.st_mtime_ns}\n"))
    return content.hexdigest()


def _code(module: str) -> str:
    """Digest of a module and of all modules of its package that it imports, whatever their comments say."""
    package = module.rpartition(".")[0]
    known: dict[str, str] = {}
    left = [module]
    while left:
        name = left.pop()
        path = None if name in known else _file_of(name)
        if path is not None:
            tree = ast.parse(path.read_bytes())
            known[name] = ast.dump(tree)
            left += [each for each in _imported(tree, package) if package and each.startswith(f"{package}.")]
    return hashlib.sha256(repr(sorted(known.items())).encode(errors="surrogatepass")).hexdigest()


def _file_of(module: str) -> Path | None:
    """None for what is no module, or not written in Python."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _imported(tree: ast.AST, package: str) -> list[str]:
    """Names of modules, and of what else is imported out of them."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) + 1 - node.level]
                name = ".".join([*above, *([name] if name else [])])
            found += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return found
