"""Text and JSON of others: what is read, what is refused with which words, and at which cost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_cli.errors import CheckpointError, CosmosError, InputError
from cosmos_cli.files.documents import MAX_DEPTH, MAX_DIGITS, json_lines, parse_json, read_json, read_text
from cosmos_cli.files.writing import json_bytes, write_json

DIGITS = "9" * 5000

REFUSED = {
    "deep": ("[" * 100_000, "nested more than 64 levels", ""),
    "deeper than anything of ours": ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more than 64 levels", ""),
    "deep in an object": ('{"a":' * 900 + "1" + "}" * 900, "nested more than 64 levels", ""),
    "digits": (f'{{"a": "{DIGITS}",\n "b": {DIGITS}}}', "a number of 5,000 digits", "line 2 column 7"),
    "a negative one": (f"[-{DIGITS}]", "a number of 5,001 digits", "line 1 column 2"),
    "beyond floats": ('["1e999", 1e999]', "the number 1e999, which is too large", "line 1 column 11"),
    "nan": ('{"NaN": "a NaN \\" NaN",\n"b": NaN}', "NaN is not a number there", "line 2 column 6"),
    "infinity": ("[1, -Infinity]", "-Infinity is not a number there", "line 1 column 5"),
    "twice": ('{"a": {"seed": 1, "seed": 2}}', "the key 'seed' twice", ""),
    "half a character": ('{"a": "\\ud83d\\ude00 \\\\ud800 \\ud800"}', "half a character, \\ud800", "line 1 column 29"),
    "the other half": ('["\\ude00"]', "half a character, \\ude00", "line 1 column 3"),
    "halves the wrong way round": ('["\\ude00\\ud83d"]', "half a character", "line 1 column 3"),
    "cut": ('{"a": [1,', "is not JSON: Expecting value", "line 1 column 10"),
    "two": ("{}\n{}", "is not JSON: Extra data", "line 2 column 1"),
    "empty": (" \n", "is not JSON: it is empty", ""),
    "HTML": ("<html>", "is not JSON: Expecting value", "line 1 column 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_json_that_nobody_should_have_to_bear_is_refused_with_its_place(case: str) -> None:
    content, what, place = REFUSED[case]
    Path("a.json").write_text(content)
    with pytest.raises(InputError) as raised:
        read_json(Path("a.json"))
    [problem] = raised.value.problems
    assert what in problem.what
    assert (problem.where or "").startswith(f"a.json {place}".strip())
    with pytest.raises(CheckpointError, match="Download it again"):
        read_json(Path("a.json"), kind=CheckpointError, fix="Download it again.")
    with pytest.raises(InputError):
        parse_json(content.encode(), where="a server")


@pytest.mark.parametrize(
    "content",
    [
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        "9" * MAX_DIGITS,
        '{"a": {"b": 1}, "b": 1}',
        '"\\ud83d\\ude00"',
        '"\\\\ud800"',
        "0.5",
    ],
)
def test_what_is_unusual_but_sound_is_read(content: str) -> None:
    assert parse_json(content, where="it") == json.loads(content)


def test_a_byte_order_mark_is_as_good_as_none() -> None:
    Path("a.json").write_text('{"a": "ü"}', encoding="utf-8-sig")
    assert read_json(Path("a.json")) == {"a": "ü"}
    assert read_text(Path("a.json")) == '{"a": "ü"}'
    assert parse_json(Path("a.json").read_bytes(), where="a server") == {"a": "ü"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_other_encodings_are_named(encoding: str) -> None:
    Path("a.json").write_bytes('{"a": 1}'.encode(encoding))
    with pytest.raises(InputError, match=f"is .*{encoding[:6].upper()}.* text, not UTF-8"):
        read_json(Path("a.json"))


def test_a_byte_that_is_no_utf_8_is_named_with_its_place() -> None:
    Path("a.json").write_bytes('{"a":\n "café"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json line 2 column 6: is not UTF-8 text: there is a byte 0xe9"):
        read_json(Path("a.json"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gone.json", "No such file"), (".", "Is a directory"), ("a\0b", "null byte"), ("x" * 300, "name too long")],
)
def test_a_file_that_cannot_be_read_is_said_to_be_so(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"cannot be read: .*{reason}"):
        read_text(Path(name))


def test_a_pipe_is_read_only_where_a_user_may_have_named_it() -> None:
    os.mkfifo("pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_text(Path("pipe"))
    writer = threading.Thread(target=Path("pipe").write_text, args=('{"a": 1}',))
    writer.start()
    assert read_json(Path("pipe"), from_pipes=True) == {"a": 1}
    writer.join()


def test_the_limit_is_exact_and_named() -> None:
    Path("a.txt").write_text("x" * 100)
    assert len(read_text(Path("a.txt"), limit=100)) == 100
    with pytest.raises(InputError, match=r"a\.txt: is larger than 99 bytes"):
        read_text(Path("a.txt"), limit=99)


def test_endless_and_huge_files_cost_no_more_memory_than_the_limit() -> None:
    with Path("sparse.json").open("wb") as file:
        file.truncate(1 << 40)
    code = """
        import resource
        from pathlib import Path
        from cosmos_cli.errors import InputError
        from cosmos_cli.files.documents import read_json
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
        for name in ("/dev/zero", "sparse.json"):
            try:
                read_json(Path(name), from_pipes=True)
            except InputError as error:
                assert "larger than 32 MiB" in str(error), error
            else:
                raise AssertionError(name)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_lines_of_a_program_that_are_none_cost_themselves_only() -> None:
    bad = [
        b"[" * 100_000,
        f'{{"a": {DIGITS}}}'.encode(),
        b"\xff\xfe",
        b'{"torn": ',
        b'"' + b"x" * (3 << 20) + b'"',
        b"",
    ]
    lines = b'{"n": 0}\n' + b"".join(line + b"\n" + b'{"n": %d}\n' % n for n, line in enumerate(bad, start=1))
    assert [line["n"] for line in json_lines(io.BytesIO(lines))] == list(range(len(bad) + 1))
    assert list(json_lines(io.BytesIO(b'{"n": 1}'))) == [{"n": 1}]


def test_a_line_without_end_costs_no_more_memory_than_a_line_may_have() -> None:
    code = """
        import resource
        from pathlib import Path
        from cosmos_cli.files.documents import json_lines
        with Path("ledger").open("wb") as file:
            file.write(b'{"n": 1}\\n'); file.truncate(1 << 30); file.seek(0, 2); file.write(b'\\n{"n": 2}\\n')
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        with Path("ledger").open("rb") as file:
            assert list(json_lines(file)) == [{"n": 1}, {"n": 2}]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_names_that_are_not_utf_8_survive_being_written_and_read() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_json(Path("a.json"), {"path": name, "text": "ü"})
    assert read_json(Path("a.json")) == {"path": name, "text": "ü"}
    assert b'"caf\\udce9.png"' in Path("a.json").read_bytes()
    assert "ü".encode() in Path("a.json").read_bytes()
    with pytest.raises(InputError, match="half a character"):  # a server has no files to name
        parse_json(json_bytes([name]), where="a server")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary() | st.text().map(str.encode) | json_values.map(json.dumps).map(str.encode))
def test_whatever_comes_is_read_as_json_has_it_or_refused(content: bytes) -> None:
    try:
        document = parse_json(content, where="it", has_names=True)
    except CosmosError as error:
        assert error.problems[0].where
        return
    assert document == json.loads(content)
    assert parse_json(json_bytes(document), where="it", has_names=True) == document
