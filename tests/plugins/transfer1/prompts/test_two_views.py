"""Prompts for two views: the file of them, and the choice of one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.errors import InputError
from cosmos_plugins.transfer1.prompts.two_views import choose, names_a_file, read_prompt, read_prompts

ROOMS = ("A white room, a humming scanner.", "A dim clinic at night.", "A tiled laboratory.", "A sunlit ward.")


def entry(room: str) -> dict[str, str]:
    return {"top_view_prompt": f"{room} In detail.", "bottom_view_prompt": f"The table. {room}"}


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_seed_chooses_the_entry_that_the_original_chooses(tmp_path: Path) -> None:
    prompts = read_prompt(str(write(tmp_path / "prompts.json", {room: entry(room) for room in ROOMS})))
    chosen = [choose(prompts, seed).meta_prompt for seed in range(12)]
    state = random.getstate()
    for seed, meta_prompt in enumerate(chosen):
        values = list(prompts.items())
        random.seed(seed)
        random.shuffle(values)
        assert values[0][0] == meta_prompt
    random.setstate(state)
    assert [ROOMS.index(meta_prompt) for meta_prompt in chosen] == [2, 3, 1, 3, 2, 0, 3, 3, 0, 0, 3, 0]


def test_both_views_come_from_one_entry_and_the_stacked_one_says_that_it_is_the_same_table(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path / "prompts.json", {room: entry(room) for room in ROOMS}))
    chosen = choose(prompts, 7)
    assert (chosen.room, chosen.wrist) == tuple(entry(chosen.meta_prompt).values())
    suffix = " The bottom video is facing the same table in the top video without reflection."
    assert chosen.stacked == chosen.wrist + suffix


def test_a_text_serves_both_views() -> None:
    chosen = choose(read_prompt("  A quiet ward. "), 3)
    assert (chosen.room, chosen.wrist, chosen.meta_prompt) == ("A quiet ward.", "A quiet ward.", "")
    assert not names_a_file("A file called a.json lies on the table")
    assert names_a_file("rooms.JSON ")


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    good = entry("A room.")
    wrong = {
        "text": "A plain text.",
        "none": None,
        "missing": {"top_view_prompt": "A room."},
        "empty": {**good, "bottom_view_prompt": "  "},
        "long": {**good, "top_view_prompt": "a" * 5001},
        "nested": {**good, "top_view_prompt": {"text": "A room."}},
        "more": {**good, "botom_view_prompt": "A table."},
        "good": good,
    }
    with pytest.raises(InputError) as caught:
        read_prompts(write(tmp_path / "prompts.json", wrong))
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 7
    expected = (
        "is a text",
        "is no object",
        "is required",
        "must not be empty",
        "5,000",
        "must be text",
        "Unknown field",
    )
    for name, words, problem in zip(wrong, expected, told, strict=False):
        assert f"'{name}'" in problem
        assert words in problem


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is not JSON"),
        ([entry("A room.")], "is no object"),
        ({}, "holds no prompts"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"\\udcff": {}}', "no character"),
        ({f"{i}": "" for i in range(3000)}, "and 2980 more"),
    ],
)
def test_a_file_of_another_kind_is_bad_input(tmp_path: Path, document: Any, words: str) -> None:
    path = write(tmp_path / "prompts.json", document)
    with pytest.raises(InputError, match=words) as caught:
        read_prompt(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("prompt", ["", " ", "missing.json", "\0.json", "a" * 5001])
def test_a_prompt_that_is_none_is_bad_input(prompt: str) -> None:
    with pytest.raises(InputError):
        read_prompt(prompt)
