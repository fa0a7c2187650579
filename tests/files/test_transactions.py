from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cosmos_cli.files.identity import Identity
from cosmos_cli.files.transactions import (
    finish_all_interrupted,
    finish_interrupted,
    pending,
    remove_together,
    transaction,
)
from cosmos_cli.files.writing import Transaction, write_json

OUTPUTS = [Path("a.json"), Path("b.json")]


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def write_two() -> None:
    write_json(Path("a.json"), 1)
    write_json(Path("b.json"), 2)
    remove_together(Path("old.json"))


def test_files_appear_together_and_those_of_others_at_once() -> None:
    Path("old.json").touch()
    with transaction(OUTPUTS):
        write_two()
        write_json(Path("cache.json"), 3)
        assert [name for name in names() if not name.startswith(".")] == ["cache.json", "old.json"]
        assert json.loads(pending(Path("b.json")).read_text()) == 2
    assert names() == ["a.json", "b.json", "cache.json"]
    assert pending(Path("b.json")) == Path("b.json")


def test_of_a_file_that_is_written_twice_the_later_counts() -> None:
    with transaction(OUTPUTS):
        write_json(Path("a.json"), 1)
        write_two()
        write_json(Path("a.json"), 3)
    assert names() == ["a.json", "b.json"]
    assert json.loads(Path("a.json").read_text()) == 3


def test_none_appears_if_the_block_fails() -> None:
    Path("old.json").touch()
    with contextlib.suppress(RuntimeError), transaction(OUTPUTS):
        write_two()
        raise RuntimeError
    assert names() == ["old.json"]


def test_who_is_told_before_they_appear_can_still_refuse() -> None:
    told: list[dict[str, int]] = []

    def refuse(files: Mapping[Path, Identity]) -> None:
        told.append({path.name: identity.num_bytes for path, identity in files.items()})
        raise RuntimeError

    with contextlib.suppress(RuntimeError), transaction(OUTPUTS, refuse):
        write_two()
    assert told == [{"a.json": 2, "b.json": 2}]
    assert names() == []


class Dead(BaseException):
    pass


@pytest.mark.parametrize("finish", [lambda: finish_interrupted(Path("a.json")), lambda: finish_all_interrupted(Path())])
@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_what_a_death_left_undone_is_done_later(
    num_done: int, finish: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Transaction) -> None:
        for source, target in self.moves[:num_done]:
            source.replace(target)
        raise Dead

    Path("old.json").touch()
    with monkeypatch.context() as patched, contextlib.suppress(Dead), transaction(OUTPUTS):
        write_two()
        patched.setattr(Transaction, "apply", die)
    finish()
    assert [json.loads(path.read_text()) for path in OUTPUTS] == [1, 2]
    assert names() == ["a.json", "b.json"]


def die_before_the_names(monkeypatch: pytest.MonkeyPatch, done: Callable[[Transaction], object] = lambda _: 0) -> None:
    """Die where a transaction about a.json and b.json, which removes old.json, has written its journal."""

    def die(self: Transaction) -> None:
        done(self)
        raise Dead

    with monkeypatch.context() as patched, contextlib.suppress(Dead), transaction(OUTPUTS):
        write_two()
        patched.setattr(Transaction, "apply", die)


@pytest.mark.parametrize("name", ["a.json", "b.json", "old.json"])
@pytest.mark.parametrize("was_there", [False, True])
def test_what_was_changed_since_a_death_is_kept(name: str, was_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if was_there:
        Path(name).write_text("old")
    die_before_the_names(monkeypatch)
    Path(name).write_text("precious")
    finish_all_interrupted(Path())
    assert Path(name).read_text() == "precious"
    assert names() == [name]


def test_what_was_made_in_place_of_a_file_that_has_its_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    die_before_the_names(monkeypatch, lambda together: together.moves[1][0].replace("b.json"))
    Path("b.json").write_text("precious")
    finish_all_interrupted(Path())
    assert Path("b.json").read_text() == "precious"
    assert names() == ["a.json", "b.json"]


def test_what_was_removed_since_a_death_is_no_reason_to_drop_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.json", "b.json", "old.json"):
        Path(name).write_text("old")
    die_before_the_names(monkeypatch)
    Path("a.json").unlink()
    Path("old.json").unlink()
    finish_all_interrupted(Path())
    assert [json.loads(path.read_text()) for path in OUTPUTS] == [1, 2]
    assert names() == ["a.json", "b.json"]


def test_a_file_that_is_called_as_a_password_gets_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "street")

    def die(self: Transaction) -> None:
        raise Dead

    with monkeypatch.context() as patched, contextlib.suppress(Dead), transaction([Path("street.json")]):
        write_json(Path("street.json"), 1)
        patched.setattr(Transaction, "apply", die)
    finish_interrupted(Path("street.json"))
    assert names() == ["street.json"]


def test_a_journal_of_somebody_else_moves_nothing_of_other_folders() -> None:
    Path("deep").mkdir()
    with contextlib.suppress(RuntimeError), transaction([Path("deep/a.json")]):
        write_json(Path("deep/a.json"), 1)
        raise RuntimeError
    Path("mine.json").touch()
    hostile = ([["../mine.json", "a.json"]], [["a.json", "../mine.json"]], "nonsense", [[1, 2]], [["/etc/passwd", "x"]])
    for moves in hostile:
        journal = Path("deep/.cosmos-0123-journal.json")
        journal.write_text(json.dumps({"moves": moves, "removals": ["../mine.json"]}))
        finish_all_interrupted(Path("deep"))
        assert not journal.exists()
        assert Path("mine.json").exists()
