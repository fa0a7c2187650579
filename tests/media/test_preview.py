import numpy as np
import pytest
from PIL import features

from cosmos_cli.media import lettering
from cosmos_cli.media.preview import Row, caption, contact_sheet
from tests.clips import moving_gradient


def test_first_and_last_frame_of_every_row_are_on_the_sheet() -> None:
    frames = moving_gradient(20, 48, 64)
    frames[0], frames[-1] = (250, 0, 0), (0, 0, 250)
    sheet = contact_sheet("a prompt", [Row("input", frames[:1]), Row("output", frames)], columns=4, cell_width=64)
    assert sheet.dtype == np.uint8
    assert (sheet == (250, 0, 0)).all(-1).sum() == 2 * 48 * 64
    assert (sheet == (0, 0, 250)).all(-1).sum() == 48 * 64


def test_frames_bear_their_number_in_the_clip_that_they_are_out_of() -> None:
    clip = moving_gradient(9, 48, 64)
    whole = contact_sheet("", [Row("", clip)], columns=9, cell_width=64)
    last = contact_sheet("", [Row("", clip[4:], 4)], columns=9, cell_width=64)
    left, step = 12, 64 + 12
    np.testing.assert_array_equal(last[:, left : left + 5 * step], whole[:, left + 4 * step : left + 9 * step])


def test_the_title_is_never_wider_than_the_sheet() -> None:
    row = [Row("x", moving_gradient(2, 16, 16))]
    short = contact_sheet("harbour", row)
    long = contact_sheet("harbour " * 200 + "ü 港", row)
    assert long.shape == short.shape
    margin = long[:32, -12:]
    assert (margin == margin[0, 0]).all()


@pytest.mark.parametrize(
    "text", ["Ünïß", "Ωγρή", "лиса", "港雨夜车", "ひカゲ", "밤의항구", "بحر", "שקט", "समुद", "ทะเลย"]
)
def test_every_letter_of_a_script_has_a_picture_of_its_own(text: str) -> None:
    pictures = [caption(letter, 64).tobytes() for letter in (*text, "\uffff", " ")]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow was built without Raqm, which shapes text")
def test_arabic_letters_join() -> None:
    def inked(text: str) -> int:
        return int((caption(text, 400) < 200).any(axis=(0, 2)).sum())

    assert inked("بحر") < sum(map(inked, "بحر"))


def test_nothing_in_a_title_reorders_it_or_breaks_its_line() -> None:
    assert lettering.fitted("a\u202eb\nc\x1b[2J", 400) == "a\\u202eb c\\x1b[2J"
