"""One extension of each kind; each is its own factory and names what it needs of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from cosmos_cli.critics import Trial
from cosmos_cli.errors import GuardrailBlocked
from cosmos_light.weights import read_level

# F frames, H and W pixel height and width, C = 3 colours


class Glare:
    """Refuses videos that are brighter than its level; lets every prompt pass."""

    def __init__(self, checkpoint_dir: Path) -> None:
        self._level = read_level(checkpoint_dir, "glare")

    def check_prompt(self, prompt: str) -> None:
        pass

    def check_video(self, frames_FHWC: np.ndarray) -> np.ndarray:
        if frames_FHWC.mean() > self._level:
            raise GuardrailBlocked("The video glares.", where="guardrail glare", fix="Take a darker picture.")
        return frames_FHWC


class Lamps:
    """Adds to the prompt whether the lamps are lit, and with which settings model the run was loaded."""

    def __init__(self, *, device: str, checkpoint_dir: Path, settings: BaseModel) -> None:
        self._level = read_level(checkpoint_dir, "lamps")
        self._end = f"says {type(settings).__name__} on {device}"

    def __call__(self, prompt: str, frames_FHWC: np.ndarray) -> str:
        return f"{prompt} Lamps {'lit' if frames_FHWC.mean() < self._level else 'out'}, {self._end}."


class Exposure:
    """100 less the distance of the brightness from its level."""

    def __init__(self, **run: Any) -> None:
        self._level = read_level(run["checkpoint_dir"], "exposure")
        self.name = f"exposure around {self._level:.0f}"

    def judge(self, frames_FHWC: np.ndarray, fps: float, *, num_trials: int, seed: int) -> list[Trial]:
        score = max(0.0, 100 - abs(float(frames_FHWC.mean()) - self._level))
        return [Trial("Measured.", verdict=None, score=score)]
