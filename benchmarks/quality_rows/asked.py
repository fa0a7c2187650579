"""What somebody wants measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

Request = TypeVar("Request", bound=BaseModel)


@dataclass(frozen=True)
class Asked:
    """num_clips: to measure; None takes each part's own number. of_requests: fields, such as num_steps, as text.

    keep: folder for what was generated, a .npz for every part; None keeps nothing.
    on_clip: called after each clip that was made.
    """

    num_clips: int = 50
    of_requests: dict[str, str] = field(default_factory=dict)
    keep: Path | None = None
    on_clip: Callable[[], None] = lambda: None

    @property
    def num_untrained(self) -> int:
        """Clips that are made with random weights: whatever the number, they show noise."""
        return max(1, self.num_clips // 10)

    def request(self, kind: type[Request], **given: Any) -> Request:
        """A request with the fields that were asked for, as far as its kind has them."""
        own = {name: value for name, value in self.of_requests.items() if name in kind.model_fields}
        return kind.model_validate({**own, **given})

    def made(self, frames: np.ndarray) -> np.ndarray:
        self.on_clip()
        return frames

    def kept(self, part: str, **clips: list[np.ndarray]) -> None:
        """Keep clips, to look at them or to try other measures."""
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(self.keep / f"{part}.npz", **{name: np.stack(made) for name, made in clips.items()})
