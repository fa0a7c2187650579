"""Which pixels of a segmented clip are the robot, and the weight maps that follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from cosmos_cli import output
from cosmos_cli.errors import InputError
from cosmos_cli.files.documents import read_json
from cosmos_cli.files.writing import replacing, write_json
from cosmos_cli.media.image import read_image, write_png
from cosmos_cli.media.preview import Row, contact_sheet
from cosmos_cli.media.resize import stretch
from cosmos_cli.media.video import read_video
from cosmos_cli.requests import shortened
from cosmos_plugins.transfer1.robot_examples import Example, Strengths

# F frames, H and W pixel height and width, C = 3 colours; f, h and w of a thumbnail
# K colours of the table, P pixels

MAX_COLOURS = 4096
"""Each pixel's colour is compared with all of them."""

_THUMBNAIL_WIDTH = 240
_UNKNOWN, _OTHER, _ROBOT = 0, 1, 2
_COLOURS_AT_ONCE = 4096


@dataclass(frozen=True)
class Segmentation:
    """A segmented clip.

    is_robot_FHW: (F, H, W) bool.
    thumbnails_FhwC: the segmented frames, small.
    """

    is_robot_FHW: np.ndarray
    thumbnails_FhwC: np.ndarray


class RobotColours:
    """Tells robot pixels by their colour: each has the class of the nearest colour in the table, by RGB distance.

    Of two equally near colours the first in the table counts.

    Args:
        is_robot: colour to whether its class is part of the robot; not empty.
    Source: cosmos-transfer1, auxiliary/robot_augmentation (behaviour).
    """

    def __init__(self, is_robot: Mapping[tuple[int, int, int], bool]) -> None:
        self._colours_KC = np.array(list(is_robot), np.int32)
        self._is_robot_K = np.array(list(is_robot.values()))
        # one answer for each of the 256 ** 3 colours, found when it first occurs: clips repeat theirs
        self._answers = np.full(1 << 24, _UNKNOWN, np.uint8)

    def __call__(self, image_HWC: np.ndarray) -> np.ndarray:
        """Whether each pixel of an RGB image is the robot, (H, W) bool."""
        red, green, blue = np.moveaxis(image_HWC.astype(np.int32), -1, 0)
        codes_HW = red << 16 | green << 8 | blue
        new_P = np.unique(codes_HW[self._answers[codes_HW] == _UNKNOWN])
        for first in range(0, len(new_P), _COLOURS_AT_ONCE):
            part_P = new_P[first : first + _COLOURS_AT_ONCE]
            colours_PC = np.stack([part_P >> 16, part_P >> 8 & 255, part_P & 255], axis=-1)
            distance_PK = ((colours_PC[:, None] - self._colours_KC) ** 2).sum(axis=-1)
            self._answers[part_P] = np.where(self._is_robot_K[distance_PK.argmin(axis=1)], _ROBOT, _OTHER)
        return self._answers[codes_HW] == _ROBOT


def read_segmentation(example: Example, robot_keywords: Sequence[str]) -> Segmentation:
    """Find the robot in an example: in its pictures that have labels or, without pictures, in its video.

    Raises:
        InputError: files cannot be read or do not go together, or no class is part of the robot.
    """
    labels = _numbered(example.labels, ".json")
    if not labels:
        raise InputError("holds no <name>_<number>.json.", where=str(example.labels))
    colours = RobotColours(read_colours(list(labels.values()), robot_keywords))
    masks: list[np.ndarray] = []
    thumbnails: list[np.ndarray] = []
    for image_HWC in _segmented_frames(example, labels):
        if masks and image_HWC.shape[:2] != masks[0].shape:
            raise InputError("holds pictures of different sizes.", where=str(example.pictures))
        masks.append(colours(image_HWC))
        thumbnails.append(_thumbnail(image_HWC, cv2.INTER_NEAREST))
    return Segmentation(np.stack(masks), np.stack(thumbnails))


def read_colours(paths: Sequence[Path], robot_keywords: Sequence[str]) -> dict[tuple[int, int, int], bool]:
    """Colour to whether its class is part of the robot; later files win.

    Args:
        paths: JSON objects, each colour as text "(r, g, b, a)" to {"class": name}.
    Raises:
        InputError: a file holds something else, or no class is part of the robot.
    """
    classes: dict[tuple[int, int, int], str] = {}
    for path in paths:
        document = read_json(path)
        if not isinstance(document, dict):
            raise InputError("must hold one JSON object.", where=str(path))
        for key, value in document.items():
            numbers = [int(number[:4]) for number in re.findall(r"\d+", key)]
            name = value.get("class") if isinstance(value, dict) else None
            if len(numbers) < 3 or max(numbers) > 255 or not isinstance(name, str):
                raise InputError(
                    f"has the entry {shortened(repr(key))}: {shortened(repr(value))}.",
                    where=str(path),
                    fix='An entry reads "(r, g, b, a)": {"class": name}, each number from 0 to 255.',
                )
            classes[numbers[0], numbers[1], numbers[2]] = name
        if len(classes) > MAX_COLOURS:
            raise InputError(
                f"has more than {MAX_COLOURS:,} colours with those before it.",
                where=str(path),
                fix="Give each class one colour, the same in all files.",
            )
    is_robot = {colour: any(word in name for word in robot_keywords) for colour, name in classes.items()}
    if not any(is_robot.values()):
        names = ", ".join(sorted(set(classes.values()))[:20])
        raise InputError(
            f"no class holds one of the words {', '.join(robot_keywords)}; there are: {names or 'none at all'}.",
            where=str(paths[0].parent),
            fix="Give the words of the robot's classes as --robot-keywords.",
        )
    return is_robot


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """Files named <name>_<number><suffix>, by number."""
    found = {}
    for path in sorted(folder.glob(f"*{suffix}")):
        if match := re.search(r"_(\d+)$", path.stem):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def _segmented_frames(example: Example, labels: Mapping[int, Path]) -> Iterator[np.ndarray]:
    pictures = _numbered(example.pictures, ".png")
    if not pictures:
        # the originals' rule: one label file per frame, what has none is left out
        yield from read_video(example.segmentation).frames_FHWC[: len(labels)]
        return
    both = sorted(pictures.keys() & labels.keys())
    if not both:
        raise InputError("has no picture whose number is that of a label file.", where=str(example.folder))
    if left_out := len(pictures.keys() ^ labels.keys()):
        output.notice(f"{example.folder}: {left_out} pictures or label files lack their counterpart and are left out")
    yield from (read_image(pictures[number]) for number in both)


def write_maps(example: Example, segmentation: Segmentation, strengths: Mapping[str, Strengths]) -> None:
    """Write the weight map of each control, a picture of all, and last the specification that names them.

    Raises:
        InputError: the input video cannot be read.
    """
    is_robot = segmentation.is_robot_FHW
    clip = read_video(example.input_video, lambda image_HWC: _thumbnail(image_HWC, cv2.INTER_AREA))
    if clip.num_source_frames != len(is_robot):
        output.notice(
            f"{example.folder}: the input video has {clip.num_source_frames} frames and the segmentation "
            f"{len(is_robot)}; weight maps are stretched to the video"
        )
    for control, (robot, elsewhere) in strengths.items():
        with replacing(example.weights(control)) as temporary:
            torch.save(torch.from_numpy(np.where(is_robot, np.float16(robot), np.float16(elsewhere))), temporary)
    masks_FhwC = np.stack([_thumbnail(mask[..., None].astype(np.uint8), cv2.INTER_NEAREST) for mask in is_robot])
    rows = [Row("input", clip.frames_FHWC), Row("segmentation", segmentation.thumbnails_FhwC)]
    for control, (robot, elsewhere) in strengths.items():
        picture_Fhw1 = np.where(masks_FhwC, np.uint8(255 * robot), np.uint8(255 * elsewhere))
        rows.append(Row(f"{control}: robot {robot:g}, elsewhere {elsewhere:g}", picture_Fhw1.repeat(3, axis=-1)))
    write_png(example.preview, contact_sheet(f"{example.folder.name}, weights of the controls", rows))
    write_json(example.spec, _spec(example, strengths))


def _thumbnail(image_HWC: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = image_HWC.shape[:2]
    small_width = min(width, _THUMBNAIL_WIDTH)
    small = stretch(image_HWC, max(1, round(height * small_width / width)), small_width, interpolation=interpolation)
    return small if small.ndim == 3 else small[..., None]  # OpenCV drops an axis of one colour


def _spec(example: Example, strengths: Mapping[str, Strengths]) -> dict[str, object]:
    """The control specification; absolute paths, since relative ones count from wherever the command is run."""
    controls: dict[str, dict[str, object]] = {
        # the number 0 has the effect of a map of zeros, and spares loading and computing that control
        control: {"control_weight": str(example.weights(control).absolute()) if any(weights) else 0}
        for control, weights in strengths.items()
    }
    controls["seg"]["input_control"] = str(example.segmentation.absolute())
    return {"input_video_path": str(example.input_video.absolute()), **controls}
