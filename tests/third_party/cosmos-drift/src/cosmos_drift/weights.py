"""The file that holds a drifting world: its velocity, and how many training steps made it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmos_cli.errors import CheckpointError
from cosmos_cli.files.writing import write_json


@dataclass(frozen=True)
class Weights:
    """velocity: to the right and down, in pixels per frame. step: training steps behind it."""

    velocity: tuple[float, float]
    step: int = 0

    def __str__(self) -> str:
        right, down = self.velocity
        return f"{right:.2f} px right and {down:.2f} px down per frame after {self.step} steps"

    @classmethod
    def load(cls, path: Path) -> Weights:
        """Read a weights file.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        if not path.is_file():
            raise CheckpointError("is missing.", where=str(path), fix="Fetch it: cosmos drift download")
        try:
            document = json.loads(path.read_text())
            right, down = document["velocity"]
            return cls((float(right), float(down)), int(document.get("step", 0)))
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError("is damaged.", where=str(path), fix="Delete it and fetch it again.") from error

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, asdict(self))
