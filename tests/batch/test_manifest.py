"""Batch files: every good row is found, and every bad one is named with its place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cosmos_cli.batch.manifest import MAX_ROWS, Fault, Row, beside, check_kept, folder_of, ledger_name, read_rows
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


def values(path: Path) -> list[dict[str, object]]:
    rows = read_rows(path)
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.values for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x7f"])
def test_rows_end_at_line_feeds_only(separator: str) -> None:
    prompt = f"A.{separator}B."
    path = manifest(f'{{"prompt": "{prompt}"}}', '{"prompt": "C."}')
    assert values(path) == [{"prompt": prompt}, {"prompt": "C."}]


@pytest.mark.parametrize("separator", ["\v", "\f", "\x1c"])
def test_a_control_character_in_a_string_is_no_json_and_costs_its_row_only(separator: str) -> None:
    rows = read_rows(manifest(f'{{"prompt": "A.{separator}B."}}', '{"prompt": "C."}'))
    assert [type(row) for row in rows] == [Fault, Row]
    [problem] = rows[0].problems if isinstance(rows[0], Fault) else []
    assert str(problem) == "jobs/all.jsonl line 1 column 15: is not JSON: Invalid control character."


def test_windows_ends_of_lines_and_a_mark_at_the_beginning_are_fine() -> None:
    path = manifest()
    path.write_bytes('\ufeff{"prompt": "A."}\r\n\r\n{"prompt": "B."}\r\n'.encode())
    assert values(path) == [{"prompt": "A."}, {"prompt": "B."}]


def test_one_object_may_stretch_over_lines() -> None:
    assert values(manifest("{", '  "prompt": "A.",', '  "seed": 1', "}")) == [{"prompt": "A.", "seed": 1}]


def test_several_objects_over_several_lines_are_one_error_that_says_so() -> None:
    with pytest.raises(InputError, match="stretch over several lines") as raised:
        read_rows(manifest("{", '  "prompt": "A."', "}", "{", '  "prompt": "B."', "}"))
    assert len(raised.value.problems) == 1
    assert "jq -c" in (raised.value.problems[0].fix or "")


def test_a_pretty_printed_object_that_is_broken_is_one_error_with_its_place() -> None:
    with pytest.raises(InputError) as raised:
        rows = read_rows(manifest("{", '  "prompt": "A.",', '  "seed": ,', '  "guidance": 2', "}"))
        assert len(rows) == 1
    assert [problem.where for problem in raised.value.problems] == ["jobs/all.jsonl line 3 column 11"]


def test_a_first_row_that_is_cut_does_not_take_the_others_along() -> None:
    rows = read_rows(manifest('{"prompt": "A.', '{"prompt": "B."}', '{"prompt": "C."}'))
    assert [type(row) for row in rows] == [Fault, Row, Row]


def test_hostile_rows_cost_themselves_only() -> None:
    bad = [
        "[" * 100_000,
        '{"seed": ' + "9" * 5000 + "}",
        '{"guidance": NaN}',
        '{"prompt": "\\ud800"}',
        '{"a": 1, "a": 2}',
    ]
    rows = read_rows(manifest('{"prompt": "A."}', *bad, '{"prompt": "B."}'))
    assert [type(row) for row in rows] == [Row, *[Fault] * len(bad), Row]
    for number, row in enumerate(rows[1:-1], start=2):
        assert isinstance(row, Fault)
        assert (row.problems[0].where or "").startswith(f"jobs/all.jsonl line {number}")


def test_more_rows_than_anybody_makes_are_refused() -> None:
    with pytest.raises(InputError, match="has 100,001 rows"):
        read_rows(manifest(*["{}"] * (MAX_ROWS + 1)))
    with pytest.raises(InputError, match="has 100,001 rows"):
        read_rows(manifest(f"[{','.join(['{}'] * (MAX_ROWS + 1))}]"))


@pytest.mark.parametrize("content", ['{"prompt": "A."}\n{"prompt": "B."}\n', '[{"prompt": "A."}, {"prompt": "B."}]'])
def test_a_pipe_is_read_once_and_lies_nowhere(content: str) -> None:
    Path("jobs").mkdir()
    pipe = Path("jobs/63")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    assert values(pipe) == [{"prompt": "A."}, {"prompt": "B."}]
    writer.join()
    assert (folder_of(pipe), ledger_name(pipe)) == (Path(), "pipe.ledger.jsonl")
    with pytest.raises(InputError, match="a pipe, which only one of several workers could read"):
        check_kept(pipe)


def test_a_file_has_its_own_ledger_and_its_folder_counts() -> None:
    path = manifest("{}")
    assert (folder_of(path), ledger_name(path)) == (Path("jobs"), "all.ledger.jsonl")
    check_kept(path)
