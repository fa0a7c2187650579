import numpy as np

from cosmos_cli.media.preview import contact_sheet
from tests.clips import moving_gradient


def test_first_and_last_frame_of_every_row_are_on_the_sheet() -> None:
    frames = moving_gradient(20, 48, 64)
    frames[0], frames[-1] = (250, 0, 0), (0, 0, 250)
    sheet = contact_sheet("a prompt", [("input", frames[:1]), ("output", frames)], columns=4, cell_width=64)
    assert sheet.dtype == np.uint8
    assert (sheet == (250, 0, 0)).all(-1).sum() == 2 * 48 * 64
    assert (sheet == (0, 0, 250)).all(-1).sum() == 48 * 64


def test_the_title_is_never_wider_than_the_sheet() -> None:
    row = [("x", moving_gradient(2, 16, 16))]
    short = contact_sheet("harbour", row)
    assert contact_sheet("harbour " * 200 + "ü 港", row).shape == short.shape
