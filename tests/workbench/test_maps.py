"""What is painted on the page is what a weight map says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.workbench.maps import read_painting, render, write_map
from cosmos_plugins.transfer1.weight_maps import read_weight_map

CLIP = {"num_frames": 9, "height": 64, "width": 128}
LEFT = {"kind": "rectangle", "value": 1.0, "first": 0, "last": 8, "points": [[0, 0], [0.5, 1]]}


def painted(*shapes: dict[str, Any], **more: Any) -> np.ndarray:
    return render(read_painting({**CLIP, "shapes": list(shapes), **more}))


def test_a_rectangle_of_all_frames_is_one_picture_over_its_ground() -> None:
    map_HW = painted(LEFT, ground=0.25)
    assert map_HW.shape == (64, 128)
    assert (map_HW[:, :64] == 1).all() and (map_HW[:, 64:] == 0.25).all()


def test_a_rectangle_that_moves_is_at_its_corners_in_the_first_and_the_last_frame() -> None:
    map_FHW = painted({**LEFT, "end": [[0.5, 0], [1, 1]], "first": 2})
    assert map_FHW.shape == (9, 64, 128)
    assert not map_FHW[:2].any()
    assert (map_FHW[2, :, :64] == 1).all() and not map_FHW[2, :, 64:].any()
    assert (map_FHW[8, :, 64:] == 1).all() and not map_FHW[8, :, :64].any()
    assert (map_FHW[5, :, 32:96] == 1).all()  # half of the way


def test_a_stroke_covers_its_way_as_wide_as_the_brush_and_the_topmost_counts() -> None:
    stroke = {"kind": "brush", "value": 0.5, "first": 0, "last": 8, "points": [[0.25, 0.5], [0.75, 0.5]], "radius": 0.1}
    map_HW = painted(LEFT, stroke)
    assert map_HW[32, 64] == 0.5 and map_HW[32 - 10, 80] == 0.5
    assert map_HW[0, 0] == 1 and map_HW[0, 100] == 0


def test_the_file_is_read_back_as_the_command_reads_weight_maps() -> None:
    painting = read_painting({**CLIP, "shapes": [{**LEFT, "value": 0.5, "last": 3}]})
    path = write_map(painting, Path("maps"))
    assert np.array_equal(read_weight_map(path, where="edge"), render(painting).astype(np.float32))
    before = path.stat().st_mtime_ns
    assert write_map(painting, Path("maps")) == path and path.stat().st_mtime_ns == before


def test_a_large_clip_has_a_small_map() -> None:
    assert painted(LEFT, height=704, width=1280).shape == (176, 320)
    assert painted({**LEFT, "last": 4}, height=2160, width=3840, num_frames=20_000).size <= 42_000_000


@pytest.mark.parametrize(
    "changes", [{"value": 2}, {"points": [[0, 0]]}, {"points": [[0, 0], [9, 9]]}, {"kind": "star"}, {"first": -1}]
)
def test_a_shape_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        painted({**LEFT, **changes})
