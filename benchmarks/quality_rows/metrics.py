"""Measures of clips whose world is known: pure functions of pixels."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from cosmos_cli.worlds.bodies import COLOURS
from cosmos_cli.worlds.exact import Chance

# F frames, H and W pixel height and width, C = 3 colours; clips are uint8 RGB

COLOUR_NAMES = tuple(COLOURS)

_LEAST_CHROMA = 55
"""Of a body's pixel, by which its largest colour exceeds its least, of 255; floors and walls stay below 51."""
_LEAST_SATURATION = 0.3
_LEAST_AREA_PX = 6
_LEAST_WAY = 0.06
"""Of the picture's shorter side: half of what captions call a way."""
_LEAST_GROWTH = 1.08
"""Of a body's width where it comes near: half of what captions call so."""
_COLOURED = 1 / 3
"""Least share of a region that has a colour of bodies at all, for the region to have one."""
_MOST_DB = 60.0
"""What equal pictures come to."""
_AXES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise over all pixels of both, in dB, at most 60."""
    error = float(np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2))
    return _MOST_DB if error == 0 else min(_MOST_DB, 10 * float(np.log10(255**2 / error)))


def edge_f1(
    wanted_FHW: np.ndarray, own_FHW: np.ndarray, *, tolerance_px: int = 1, where_HW: np.ndarray | None = None
) -> float:
    """How well a clip's own edges are those wanted, in 0..1.

    The harmonic mean of the share of its own that lie within so many pixels of wanted ones, and the share of those
    wanted that lie so near to its own.

    Args:
        wanted_FHW, own_FHW: bool.
        where_HW: bool, which edges count; what they may lie near to is not confined.
    """
    kernel = np.ones((2 * tolerance_px + 1,) * 2, np.uint8)
    found, right, met, total = 0, 0, 0, 0
    for wanted_HW, own_HW in zip(wanted_FHW, own_FHW, strict=True):
        near_wanted, near_own = (cv2.dilate(edges.astype(np.uint8), kernel) > 0 for edges in (wanted_HW, own_HW))
        counted = np.ones_like(wanted_HW) if where_HW is None else where_HW
        found += int((own_HW & counted).sum())
        right += int((own_HW & counted & near_wanted).sum())
        total += int((wanted_HW & counted).sum())
        met += int((wanted_HW & counted & near_own).sum())
    if not found or not total:
        return float(found == total)
    precision, recall = right / found, met / total
    return 2 * precision * recall / (precision + recall) if right and met else 0.0


def colours_of(frames_FHWC: np.ndarray) -> np.ndarray:
    """Which colour of bodies each pixel has, (F, H, W) int8: its number in `COLOUR_NAMES`, or -1 for none.

    By hue: light and gloss hardly change it.
    """
    rgb = frames_FHWC.astype(np.float32)
    most, least = rgb.max(-1), rgb.min(-1)
    chroma = most - least
    distance = np.stack([np.abs((_hue(rgb) - hue + 180) % 360 - 180) for hue in _HUES], axis=-1)
    nearest = distance.argmin(-1).astype(np.int8)
    is_coloured = (chroma >= _LEAST_CHROMA) & (chroma >= _LEAST_SATURATION * most)
    return np.where(is_coloured, nearest, np.int8(-1))


def _hue(rgb: np.ndarray) -> np.ndarray:
    """Degrees, of float colours on the last axis."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    chroma = np.maximum(rgb.max(-1) - rgb.min(-1), 1e-6)
    by_most = np.stack([(green - blue) / chroma % 6, (blue - red) / chroma + 2, (red - green) / chroma + 4], axis=-1)
    return 60 * np.take_along_axis(by_most, rgb.argmax(-1)[..., None], -1)[..., 0]


_HUES = [float(hue) for hue in _hue(np.array(list(COLOURS.values()), np.float32))]


def track(colours_FHW: np.ndarray, colour: str) -> np.ndarray:
    """Middle x, y and area, in pixels, of the largest connected region of a colour, (F, 3); NaN where there is none."""
    found_F3 = np.full((len(colours_FHW), 3), np.nan)
    for found_3, colours_HW in zip(found_F3, colours_FHW, strict=True):
        is_of_it = (colours_HW == COLOUR_NAMES.index(colour)).astype(np.uint8)
        _, _, statistics, middles = cv2.connectedComponentsWithStats(is_of_it)
        areas = statistics[1:, cv2.CC_STAT_AREA]
        if areas.size and areas.max() >= _LEAST_AREA_PX:
            which = int(areas.argmax())
            found_3[:] = *middles[1 + which], areas[which]
    return found_F3


def moves(track_F3: np.ndarray, way: str, shorter_px: int) -> bool:
    """Whether what was tracked moves that way in the picture, see `cosmos_cli.worlds.words.WAYS`.

    Middles of the first and last quarter of the frames in which it is seen are compared, if that is half of them: they
    have to lie at least half as far apart as captions call a way, along it rather than across. Coming near is
    growing.
    """
    seen = track_F3[~np.isnan(track_F3[:, 0])]
    if len(seen) < max(2, len(track_F3) / 2):
        return False
    quarter = max(1, len(seen) // 4)
    first_3, last_3 = np.median(seen[:quarter], axis=0), np.median(seen[-quarter:], axis=0)
    if way not in _AXES:
        growth = float(np.sqrt(last_3[2] / first_3[2]))
        return growth > _LEAST_GROWTH if way == "towards" else growth < 1 / _LEAST_GROWTH
    x, y = _AXES[way]
    gone_x, gone_y = last_3[:2] - first_3[:2]
    along, across = gone_x * x + gone_y * y, abs(gone_x * y) + abs(gone_y * x)
    return bool(along > _LEAST_WAY * shorter_px and along > across)


def colour_within(colours_FHW: np.ndarray, region_FHW: np.ndarray) -> str | None:
    """The most frequent colour of bodies within a region; None if most of it has none."""
    inside = colours_FHW[region_FHW]
    coloured = inside[inside >= 0]
    if not inside.size or len(coloured) < _COLOURED * inside.size:
        return None
    return COLOUR_NAMES[int(np.bincount(coloured, minlength=len(COLOUR_NAMES)).argmax())]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, over all numbers of both; 0 if either is the same everywhere."""
    a, b = (each.astype(np.float64).ravel() - each.mean() for each in (one, other))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def confidence(differences: np.ndarray, *, share: float = 0.95, num_draws: int = 4000) -> tuple[float, float]:
    """The interval in which the mean of such differences lies, by the bootstrap of percentiles.

    Args:
        differences: one for each clip, so that what is paired stays so.
    """
    count = len(differences)
    which = (Chance(0, count).shares(num_draws, count) * count).astype(np.int64)
    low, high = np.quantile(differences[which].mean(1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def extrapolated(given_FHWC: np.ndarray, num_frames: int) -> np.ndarray:
    """Every pixel goes on as between the last two given frames, (num_frames, H, W, C) uint8."""
    last, step = given_FHWC[-1].astype(np.float32), given_FHWC[-1].astype(np.float32) - given_FHWC[-2]
    ahead = np.arange(1, num_frames + 1, dtype=np.float32)[:, None, None, None]
    return (last + ahead * step).clip(0, 255).round().astype(np.uint8)


def carried_on(given_FHWC: np.ndarray, num_frames: int) -> np.ndarray:
    """Everything goes on moving as between the first and last given frame, (num_frames, H, W, C) uint8.

    By dense optical flow, along which the last frame is warped.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (given_FHWC[-1], given_FHWC[0])]
    flow_HW2 = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 11, 5, 5, 1.1, 0)  # type: ignore[call-overload]
    flow_HW2 = flow_HW2 / (len(given_FHWC) - 1)
    y, x = np.mgrid[: grey[0].shape[0], : grey[0].shape[1]].astype(np.float32)
    return np.stack(
        [
            cv2.remap(
                given_FHWC[-1],
                x + ahead * flow_HW2[..., 0],
                y + ahead * flow_HW2[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for ahead in range(1, num_frames + 1)
        ]
    )
