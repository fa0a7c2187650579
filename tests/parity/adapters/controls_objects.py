"""Control videos drawn from what models find: skeletons and objects."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors import safe_open

from cosmos_plugins.transfer1.controls.painting import paint, paint_with, random_colours
from cosmos_plugins.transfer1.controls.skeleton import OPENPOSE, Link, Skeleton, draw, to_openpose
from tests.parity.adapters.base import Adapter, Outputs
from tests.parity.golden import Golden

# The topology that people are annotated in; the product draws them as OpenPose only.
_BLUE, _GREEN, _ORANGE, _WHITE = (51, 153, 255), (0, 255, 0), (255, 128, 0), (255, 255, 255)
_FINGER_COLOURS = (_ORANGE, (255, 153, 255), (102, 178, 255), (255, 51, 51), _GREEN)
_HAND_POINTS = (_WHITE, *[colour for colour in _FINGER_COLOURS for _ in range(4)])
_COCO_BODY_LINKS = (
    *((15, 13, _GREEN), (13, 11, _GREEN), (16, 14, _ORANGE), (14, 12, _ORANGE), (11, 12, _BLUE), (5, 11, _BLUE)),
    *((6, 12, _BLUE), (5, 6, _BLUE), (5, 7, _GREEN), (6, 8, _ORANGE), (7, 9, _GREEN), (8, 10, _ORANGE)),
    *((1, 2, _BLUE), (0, 1, _BLUE), (0, 2, _BLUE), (1, 3, _BLUE), (2, 4, _BLUE), (3, 5, _BLUE), (4, 6, _BLUE)),
    *((15, 17, _GREEN), (15, 18, _GREEN), (15, 19, _GREEN), (16, 20, _ORANGE), (16, 21, _ORANGE), (16, 22, _ORANGE)),
)
_COCO_HAND_LINKS = tuple(
    (root if joint == 0 else root + 4 * finger + joint, root + 4 * finger + joint + 1, colour)
    for root in (91, 112)
    for finger, colour in enumerate(_FINGER_COLOURS)
    for joint in range(4)
)
COCO = Skeleton(
    points=(
        *[_BLUE] * 5,
        *[_GREEN, _ORANGE] * 6,
        *[_ORANGE] * 6,
        *[_WHITE] * 68,
        *_HAND_POINTS,
        *_HAND_POINTS,
    ),
    links=[Link(*link) for link in (*_COCO_BODY_LINKS, *_COCO_HAND_LINKS)],
)


def keypoints(golden: Golden) -> Outputs:
    height, width = golden.config["h"], golden.config["w"]
    frames = [golden.inputs[name].numpy() for name in sorted(golden.inputs)]
    people = [(frame[..., :2] * (width, height), frame[..., 2]) for frame in frames]

    def drawn(points: np.ndarray, scores: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        canvas = np.zeros((height, width, 3), np.uint8)
        draw(canvas, points, scores, skeleton)
        return canvas

    openpose = [drawn(*to_openpose(*each), OPENPOSE) for each in people]
    coco = [drawn(*each, COCO) for each in people]
    points, scores = to_openpose(*people[1])
    return {
        "augmentor.openpose1": torch.from_numpy(np.stack(openpose)).permute(3, 0, 1, 2),
        "augmentor.openpose0": torch.from_numpy(np.stack(coco)).permute(3, 0, 1, 2),
        "coco_to_openpose.xy": torch.from_numpy(points),
        "coco_to_openpose.score": torch.from_numpy(scores),
        "model.openpose": torch.from_numpy(openpose[1]),
    }


def seg_palette(golden: Golden) -> Outputs:
    seed, masks = golden.config["seed"], golden.inputs["masks"].numpy() > 0
    with safe_open(golden.path, "pt") as file:
        counts = json.loads(file.metadata()["rle_counts"])
    decoded = np.stack([_decode(counts[str(i)], masks[0].size).reshape(masks[0].shape) for i in range(len(masks))])
    # the palette is data of the original, not used when it generates; how its colours go onto the masks is checked
    palette = golden.outputs["predefined_palette"]
    permutation = torch.from_numpy(np.random.RandomState(seed).permutation(len(palette)))
    return {
        "random_colors": torch.tensor(random_colours(len(masks), seed), dtype=torch.uint8),
        "painted_random": torch.from_numpy(paint(masks, seed)).permute(3, 0, 1, 2),
        "painted_fixed": torch.from_numpy(paint_with(masks, palette[permutation].numpy())).permute(3, 0, 1, 2),
        "from_rle": torch.from_numpy(paint(decoded, seed)),
        "partial_rle_mask0_frame1": torch.from_numpy(decoded[0, 1].reshape(-1, 1).astype(np.uint8)),
        "predefined_palette": palette,
        "fixed_permutation": permutation,
    }


def _decode(counts: str, size: int) -> np.ndarray:
    """COCO's run lengths, base 32 from the lowest digit; from the fourth on, differences to the one before the last."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in counts):
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    assert len(mask) == size
    return mask


ADAPTERS = {
    "controls/keypoints": Adapter(keypoints, sources=("AddControlInputKeypoint",)),
    "controls/seg_palette": Adapter(seg_palette, sources=("segmentation_color_mask",)),
}
