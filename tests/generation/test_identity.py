from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.generation.identity import describe_work, work_key
from cosmos_cli.requests import StrictModel


class Asked(StrictModel):
    text: str
    seed: int = 0
    file: Path | None = None
    output: Path = Path("out.mp4")


def key(*, text: str = "a", weights: Path = Path("weights"), file: Path = Path("in.png"), output: str = "x.mp4") -> str:
    document = describe_work(Asked(text=text, file=file, output=Path(output)), without={"output"})
    return work_key(document, [file], {"dit": weights})


@pytest.fixture(autouse=True)
def files() -> None:
    Path("in.png").write_bytes(b"picture")
    Path("weights").mkdir()
    Path("weights/a.safetensors").write_bytes(bytes(3 << 20))


def test_a_key_is_what_changes_the_picture_and_not_where_anything_lies() -> None:
    before = key()
    assert key(output="y.mp4") == before
    Path("weights").rename("moved")
    Path("in.png").rename("other.png")
    assert key(weights=Path("moved"), file=Path("other.png")) == before


def test_other_words_pictures_and_weights_are_other_work() -> None:
    before = key()
    assert key(text="b") != before
    Path("in.png").write_bytes(b"Picture")
    assert key() != before
    Path("in.png").write_bytes(b"picture")
    assert key() == before
    for place in (0, -1):
        content = bytearray(3 << 20)
        content[place] = 1
        Path("weights/a.safetensors").write_bytes(content)
        assert key() != before
    Path("weights/a.safetensors").write_bytes(bytes(3 << 20) + b"0")
    assert key() != before
