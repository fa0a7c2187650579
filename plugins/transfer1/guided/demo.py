"""A small episode to try guided generation with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.outputs import check_writable, making
from cosmos_cli.files.writing import replacing
from cosmos_plugins.transfer1.guided.episodes.layout import SUFFIXES
from cosmos_plugins.transfer1.guided.requests import DemoEpisode

_SIZE_PX = 224


@dataclass(frozen=True)
class DemoResult:
    """An episode that was rendered."""

    episode: Path
    num_frames: int

    def summary(self) -> str:
        return f"{self.episode}  (2 views of {self.num_frames} frames, {_SIZE_PX}x{_SIZE_PX})"

    def document(self) -> dict[str, Any]:
        return {"status": "ok", "episode": str(self.episode), "num_frames": self.num_frames}


def write_demo(demo: DemoEpisode, *, overwrite: bool) -> DemoResult:
    """Render an episode of two cameras around a table with a phantom and a robot on it.

    Raises:
        InputError: the file cannot be written, exists already, or h5py is not installed.
    """
    path = demo.demo_episode
    assert path is not None
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} does not end in {' or '.join(SUFFIXES)}.",
            where="--demo-episode",
            fix="Give a name such as demo_0.hdf5.",
        )
    check_writable(path, field="--demo-episode", overwrite=overwrite)
    from cosmos_plugins.transfer1.guided.episodes.synthetic import render
    from cosmos_plugins.transfer1.guided.episodes.written import create_episode

    with (
        making([path], overwrite=overwrite),
        replacing(path) as temporary,
        output.progress("Rendering", demo.demo_frames, unit="frames") as advance,
    ):

        def told() -> Any:
            for frame in render(demo.demo_frames, size=_SIZE_PX):
                yield frame
                advance()

        create_episode(temporary, told(), environment="cosmos demo")
    return DemoResult(path, demo.demo_frames)
