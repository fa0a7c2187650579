"""Which weights are measured: those that ship, those of a folder in their place, or random ones."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from cosmos_cli.models.tiny import random_weights

_NAME = "TINY_ROOT"
_SEED = 18


@contextmanager
def taken_from(folder: Path | None) -> Iterator[None]:
    """A block in which files under `folder` stand for those of the same name that ship; None leaves them.

    Modules that are imported within find the others' place, so that import order does not matter.
    """
    if folder is None:
        yield
        return
    with tempfile.TemporaryDirectory() as temporary:
        before = _roots()
        joined = {root: Path(temporary) / str(number) for number, root in enumerate(dict.fromkeys(before.values()))}
        for root, place in joined.items():
            _lay_over(root, place)
            _lay_over(folder, place)
        _set({name: joined[root] for name, root in before.items()})
        try:
            yield
        finally:
            # what was imported meanwhile has taken the place that its neighbours had
            shipped = {place: root for root, place in joined.items()}
            _set({name: shipped.get(root, root) for name, root in _roots().items()})


def _roots() -> dict[str, Path]:
    """Modules to the folder that each of them takes the tiny models from."""
    import cosmos_cli.generation.variants  # noqa: F401
    import cosmos_plugins.predict1_multiview.multiview.pipeline
    import cosmos_plugins.predict2.video2world.pipeline
    import cosmos_plugins.transfer1.pipeline  # noqa: F401

    modules = ((name, getattr(module, _NAME, None)) for name, module in list(sys.modules.items()))
    return {name: root for name, root in modules if name.startswith("cosmos_") and isinstance(root, Path)}


def _set(roots: dict[str, Path]) -> None:
    for name, root in roots.items():
        setattr(sys.modules[name], _NAME, root)


def _lay_over(folder: Path, joined: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = joined / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(path.resolve())


@contextmanager
def untrained(*networks: nn.Module) -> Iterator[None]:
    """A block in which networks have random weights, as those of models that nobody has trained."""
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    generator_state = torch.get_rng_state()
    torch.manual_seed(_SEED)
    for network in networks:
        network.load_state_dict(random_weights(network), strict=False)
    torch.set_rng_state(generator_state)
    try:
        yield
    finally:
        for network, weights in zip(networks, before, strict=True):
            network.load_state_dict(weights)
