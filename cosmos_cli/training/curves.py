"""Values over the steps of a run, in a bounded number of points however long it runs, and where a picture has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_POINTS = 400
_SMOOTH_POINTS = 12
_WIDTH, _HEIGHT = 1000, 300
"""Of the picture, in units of its own: it is stretched to its place, and all text stands beside it."""


@dataclass
class Point:
    """Neighbouring steps as one: the first of them, how many, and what their values were."""

    step: int
    count: int
    total: float
    low: float
    high: float

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass
class Curve:
    """What was measured at each step; points get wider as there are more.

    is_noisy: what matters is the running average. points: in the order of the steps. stride: steps of a point.
    latest: the last finite value.
    """

    is_noisy: bool = True
    points: list[Point] = field(default_factory=list)
    stride: int = 1
    latest: float | None = None

    def add(self, step: int, value: float | None) -> None:
        """Values that are not finite leave a gap."""
        if value is None or not math.isfinite(value):
            return
        self.latest = value
        self._take(Point(step - step % self.stride, 1, value, value, value))
        while len(self.points) > MAX_POINTS:
            self.stride *= 2
            points, self.points = self.points, []
            for point in points:
                point.step -= point.step % self.stride
                self._take(point)

    def _take(self, point: Point) -> None:
        if not self.points or self.points[-1].step != point.step:
            self.points.append(point)
            return
        last = self.points[-1]
        last.count, last.total = last.count + point.count, last.total + point.total
        last.low, last.high = min(last.low, point.low), max(last.high, point.high)

    def smoothed(self) -> list[float]:
        """A running average of the points, without the pull of a beginning at zero; just them if there is no noise."""
        if not self.is_noisy:
            return [point.mean for point in self.points]
        smooth, weight, keep = 0.0, 0.0, 1 - 1 / _SMOOTH_POINTS
        values = []
        for point in self.points:
            smooth, weight = keep * smooth + (1 - keep) * point.mean, keep * weight + 1 - keep
            values.append(smooth / weight)
        return values


@dataclass(frozen=True)
class Chart:
    """A curve as a figure shows it, in units of its own: `width` by `height`, from the top left.

    latest: the last value, of the running average where that matters.
    labels: of the scale, from the top. rules: heights of its lines.
    band: corners of what all steps were. line: points of their running average. Both are as SVG writes them, and empty
    if there is nothing yet.
    """

    title: str
    latest: str
    labels: tuple[str, ...] = ()
    rules: tuple[int, ...] = ()
    band: str = ""
    line: str = ""
    width: int = _WIDTH
    height: int = _HEIGHT


def chart(title: str, curve: Curve, total: int, *, from_zero: bool = False) -> Chart:
    """What all steps were as a band, and their running average as a line.

    Args:
        total: steps of the whole run, the right end. from_zero: the scale begins there.
    """
    if not curve.points or curve.latest is None:
        return Chart(title, "")
    smooth = curve.smoothed()
    latest = short(smooth[-1] if curve.is_noisy else curve.latest)  # where the line ends
    ticks = _ticks(*_range(curve, smooth, from_zero))
    low, high = ticks[0], ticks[-1]

    def at(step: float, value: float) -> str:
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return f"{_WIDTH * min(step / max(total, 1), 1):.1f},{_HEIGHT * (1 - share):.1f}"

    steps = [point.step + min(curve.stride - 1, point.count - 1) / 2 for point in curve.points]
    highs = [at(step, point.high) for step, point in zip(steps, curve.points, strict=True)]
    lows = [at(step, point.low) for step, point in zip(steps, curve.points, strict=True)]
    return Chart(
        title,
        latest,
        labels=tuple(short(tick) for tick in reversed(ticks)),
        rules=tuple(_HEIGHT * number // (len(ticks) - 1) for number in range(len(ticks))),
        band=" ".join([*highs, *reversed(lows)]),
        line=" ".join(at(step, value) for step, value in zip(steps, smooth, strict=True)),
    )


def _range(curve: Curve, smooth: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """From the lowest to the highest, but for rare peaks, which would flatten all the rest."""
    highs = sorted(point.high for point in curve.points)
    lows = sorted(point.low for point in curve.points)
    rare = len(highs) // 50
    low, high = min(lows[rare], *smooth), max(highs[len(highs) - 1 - rare], *smooth)
    return (min(low, 0.0) if from_zero else low), high


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers around a range."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def short(value: float) -> str:
    """A number in few characters: 0.0123, 1,250, 6.1e-05."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"
