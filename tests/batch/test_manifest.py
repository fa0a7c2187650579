"""Batch files: every good row is found, and every bad one is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_cli.batch.manifest import Fault, Row, beside, read_rows
from cosmos_cli.errors import InputError


def manifest(*lines: str) -> Path:
    path = Path("jobs/all.jsonl")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))
    return path


def test_lines_and_an_array_are_read_alike() -> None:
    lines = read_rows(manifest('{"prompt": "A."}', "", '{"prompt": "B.", "seed": 3}'))
    array = read_rows(manifest('[{"prompt": "A."},', ' {"prompt": "B.", "seed": 3}]'))
    assert [row.values for row in lines if isinstance(row, Row)] == [{"prompt": "A."}, {"prompt": "B.", "seed": 3}]
    assert [row.values for row in array if isinstance(row, Row)] == [{"prompt": "A."}, {"prompt": "B.", "seed": 3}]
    assert [row.place for row in lines] == ["jobs/all.jsonl line 1", "jobs/all.jsonl line 3"]
    assert [row.place for row in array] == ["jobs/all.jsonl entry 1", "jobs/all.jsonl entry 2"]


def test_a_row_that_is_none_is_a_fault_with_its_line_and_the_others_stay() -> None:
    rows = read_rows(manifest('{"prompt": "A."}', '{"prompt": }', "[]", '{"prompt": "B."}'))
    assert [type(row) for row in rows] == [Row, Fault, Fault, Row]
    assert [str(row.problems[0]) for row in rows if isinstance(row, Fault)] == [
        "jobs/all.jsonl line 2 column 12: is not JSON: Expecting value.",
        "jobs/all.jsonl line 3: is not a JSON object.",
    ]


@pytest.mark.parametrize("content", ["", " \n\n", "[]"])
def test_an_empty_file_is_an_error(content: str) -> None:
    with pytest.raises(InputError, match="has no rows"):
        read_rows(manifest(content))


def test_a_broken_array_and_a_missing_file_are_errors() -> None:
    with pytest.raises(InputError, match="is not JSON"):
        read_rows(manifest('[{"prompt": "A."},'))
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(Path("gone.jsonl"))


def test_paths_are_looked_up_in_the_working_folder_and_then_beside_the_file() -> None:
    Path("jobs").mkdir()
    Path("jobs/a.mp4").touch()
    assert beside(Path("jobs"), Path("a.mp4")) == Path("jobs/a.mp4")
    Path("a.mp4").touch()
    assert beside(Path("jobs"), Path("a.mp4")) == Path("a.mp4")
    assert beside(Path("jobs"), Path("gone.mp4")) == Path("gone.mp4")
