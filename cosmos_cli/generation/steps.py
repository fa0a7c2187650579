"""One generation on its way: how long its stages take, and what its denoising steps show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.diffusion.ab2 import Denoiser
from cosmos_cli.errors import CosmosError
from cosmos_cli.runtime.finite import CHECK_WEIGHTS, not_finite
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


@dataclass(frozen=True)
class _Verdict:
    """Whether one evaluation of the network stayed finite, on its way to the host.

    flags: 1 where the latents that went in, or the x0 that came out, hold NaN or infinity.
    arrived: on the GPU's side; None where nothing has to be waited for.
    """

    number: int
    sigma: Tensor
    flags: Tensor
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, number: int, sigma: Tensor, x: Tensor, x0: Tensor) -> _Verdict:
        flags = not_finite(x, x0)
        if flags.device.type != "cuda":
            return cls(number, sigma, flags, None)
        # read a step later, when it has long arrived: no step waits for the GPU
        on_host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
        on_host.copy_(flags, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(number, sigma, on_host, arrived)

    def read(self) -> tuple[bool, bool]:
        if self.arrived is not None:
            self.arrived.synchronize()
        x, x0 = self.flags.tolist()
        return bool(x), bool(x0)


class Steps:
    """The denoising steps of one clip, for a sampler to call after each.

    Args:
        advance: moves the bar, by a step; or by a tile, of which `tile` tells then.
        in_tiles: whether a step is made tile by tile.
    """

    def __init__(
        self, num_steps: int, advance: Callable[[], None], on_step: OnStep | None, *, in_tiles: bool = False
    ) -> None:
        self._num_steps, self._advance, self._on_step, self._in_tiles = num_steps, advance, on_step, in_tiles
        self._latest: tuple[Tensor, Tensor] | None = None
        self._num_done = 0
        self._verdict: _Verdict | None = None

    def watched(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser, whose latest x0 is looked at and shown to a callback.

        Raises, when the next x0 is asked for or the block ends:
            CosmosError: an x0 holds NaN or infinity; all processes that make a clip have the same.
        """

        def watched(x: Tensor, sigma: Tensor) -> Tensor:
            x0 = denoiser(x, sigma)
            self.check()
            self._verdict = _Verdict.of(self._num_done + 1, sigma, x, x0)
            if self._verdict.arrived is None:
                self.check()
            if self._on_step is not None:
                self._latest = sigma, x0
            return x0

        return watched

    def __call__(self, index: int = 0, _: object = None) -> None:
        """Step `index`, counted from 0, is done."""
        self._num_done = index + 1
        if not self._in_tiles:
            self._advance()
        if self._on_step is not None and self._latest is not None:
            sigma, x0_BCTHW = self._latest
            self._on_step(Step(index + 1, self._num_steps, float(sigma), x0_BCTHW))

    def tile(self) -> None:
        """One tile of a step is done."""
        if self._in_tiles:
            self._advance()

    def check(self) -> None:
        """Raises CosmosError if the latest x0 that was seen is not finite."""
        verdict, self._verdict = self._verdict, None
        if verdict is None:
            return
        was_bad, is_bad = verdict.read()
        if is_bad:
            raise self._error(verdict, was_bad)

    def _error(self, verdict: _Verdict, was_bad: bool) -> CosmosError:
        number, sigma = verdict.number, float(verdict.sigma)
        step = f"step {number} of {self._num_steps}" if number <= self._num_steps else "the last evaluation"
        if not was_bad:
            origin = "The network's prediction or its guidance was the first."
        elif number == 1:
            origin = "The noise or the frames that denoising starts from were so already."
        else:
            origin = f"The update of step {number - 1} was the first."
        return CosmosError(
            f"the latents are not finite (NaN or infinity) at {step}, noise level {sigma:.4g}. {origin}",
            where="denoising",
            fix=f"Lower --guidance, or pass --precision float32. {CHECK_WEIGHTS}",
        )


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
    def denoising(self, num_steps: int, label: str = "Denoising", *, num_tiles: int = 1) -> Iterator[Steps]:
        """A block of so many denoising steps, shown step by step, or tile by tile where each has several.

        Args:
            num_tiles: of each step, and once more of the last noise level.
        """
        in_tiles = num_tiles > 1
        total, unit = ((num_steps + 1) * num_tiles, "tiles") if in_tiles else (num_steps, "steps")
        label = f"{label} {num_tiles} tiles a step:" if in_tiles else label
        with output.progress(label, total, unit) as advance:
            steps = Steps(num_steps, advance, self._on_step, in_tiles=in_tiles)
            yield steps
            steps.check()
