"""One generation on its way: how long its stages take, and what its denoising steps show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.runtime.timing import timed

# B batch, or the tiles of a picture; C latent channels, T latent frames, H and W latent height and width


@dataclass(frozen=True)
class Step:
    """One denoising step that was made.

    number: counted from 1, of num_steps. sigma: noise level that it began at.
    x0_BCTHW: the clean latents as they were predicted there, normalised by the tokenizer, on the device.
    """

    number: int
    num_steps: int
    sigma: float
    x0_BCTHW: Tensor


OnStep = Callable[[Step], None]


class Steps:
    """The denoising steps of one clip, for a sampler to call after each.

    Args:
        advance: moves the bar.
    """

    def __init__(self, num_steps: int, advance: Callable[[], None], on_step: OnStep | None) -> None:
        self._num_steps, self._advance, self._on_step = num_steps, advance, on_step
        self._latest: tuple[float, Tensor] | None = None

    def watched(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser, whose latest x0 a callback is shown."""
        if self._on_step is None:
            return denoiser

        def watched(x: Tensor, sigma: Tensor) -> Tensor:
            x0 = denoiser(x, sigma)
            self._latest = float(sigma), x0
            return x0

        return watched

    def __call__(self, index: int = 0, _: object = None) -> None:
        """Step `index`, counted from 0, is done."""
        self._advance()
        if self._on_step is not None and self._latest is not None:
            sigma, x0_BCTHW = self._latest
            self._on_step(Step(index + 1, self._num_steps, sigma, x0_BCTHW))


class Clock:
    """Adds up what the stages of one generation take, and hands out its steps.

    seconds: stage to wall time so far.
    on_step: what a caller wants to be told after each denoising step.
    device: where the stages compute; None where they do not.
    """

    def __init__(
        self,
        on_step: OnStep | None = None,
        seconds: dict[str, float] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.seconds = {} if seconds is None else seconds
        self._on_step, self._device = on_step, device

    def __call__(self, stage: str) -> AbstractContextManager[None]:
        """A block that is a stage, or a part of one."""
        return timed(stage, self.seconds, self._device)

    @contextmanager
    def denoising(self, num_steps: int, label: str = "Denoising") -> Iterator[Steps]:
        """A block of so many denoising steps."""
        with output.progress(label, num_steps) as advance:
            yield Steps(num_steps, advance, self._on_step)
