"""`cosmos transfer prompts`: a chat model writes prompts for two views, on a server or in this process."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli.guardrails.published import LISTS, LLAMA_GUARD
from cosmos_cli.testing import CommandResult
from cosmos_plugins.transfer1.prompts.two_views import read_prompts
from tests.chat_models import ChatServer, build_talker, chat_server, says
from tests.guardrails.stand_ins import write_lists, write_llama_guard
from tests.waiting import PATIENCE_S, until

Cosmos = Callable[..., CommandResult]
Served = dict[str, Any]

ROOMS = ("A white room, a humming scanner.", "A dim clinic at night.", "A tiled laboratory.", "A sunlit ward.")


@pytest.fixture(autouse=True)
def no_proxy_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    path = tmp_path / "rooms.txt"
    path.write_text("\n\n".join(ROOMS) + "\n")
    return path


def asked_room(request: Served) -> str | None:
    text = request["messages"][0]["content"]
    return next((room for room in ROOMS if room in text), None)


def written(room: str, **changes: Any) -> str:
    both = {"top_view_prompt": f"{room} In detail.", "bottom_view_prompt": f"The table. {room}", **changes}
    return json.dumps(both)


def writes_out(request: Served) -> tuple[int, bytes]:
    """A model that does as it is told."""
    text = request["messages"][0]["content"]
    if room := re.search(r"The scene in short:\n\n(.+)\n", text):
        return says(written(room[1]))
    taken = text.count("\n- ")
    number = int(re.search(r"JSON list of (\d+) strings", text)[1])  # type: ignore[index]
    return says(json.dumps([f"Scene {i} of {request['seed'] % 1000}." for i in range(taken, taken + number)]))


def arguments(server: ChatServer, *others: Any) -> list[Any]:
    asked = ["--server-url", server.url, "--server-model", "gemma", "--disable-guardrail", "--save-path", "p.json"]
    return ["transfer", "prompts", *asked, *others]


def files() -> list[str]:
    return [path.name for path in Path().iterdir()]


def entries() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("p.json").read_text())
    return content


def test_each_meta_prompt_of_a_file_is_written_out_for_two_views(cosmos: Cosmos, rooms: Path) -> None:
    with chat_server(writes_out) as server:
        result = cosmos(*arguments(server, "--meta-prompts", rooms, "--seed", 5, "--temperature", 0.3), "--json")
    assert result.exit_code == 0
    assert entries() == {room: json.loads(written(room)) for room in ROOMS}
    assert list(entries()) == list(ROOMS) == list(read_prompts(Path("p.json")))
    assert [each["status"] for each in result.json["meta_prompts"]] == ["ok"] * 4
    assert (result.json["num_prompts"], result.json["path"]) == (4, "p.json")
    assert result.json["notices"] == ["guardrail: disabled, nothing is checked"]
    assert {request["temperature"] for request in server.requests} == {0.3}
    assert len({request["seed"] for request in server.requests}) == 4
    assert files() == ["p.json"]


def test_the_seed_of_a_question_does_not_hang_on_what_else_is_asked(cosmos: Cosmos, rooms: Path) -> None:
    def seeds(*others: Any) -> dict[str | None, int]:
        with chat_server(writes_out) as server:
            assert cosmos(*arguments(server, "--meta-prompts", rooms, "--overwrite", *others)).exit_code == 0
        return {asked_room(request): request["seed"] for request in server.requests}

    all_of_them = seeds()
    assert seeds("--seed", 2) != all_of_them
    rooms.write_text(f"{ROOMS[2]}\n{ROOMS[0]}\n")
    assert seeds("--num-parallel-requests", 1).items() < all_of_them.items()


def test_several_requests_are_in_flight_but_not_more_than_are_allowed(cosmos: Cosmos, rooms: Path) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    two_are_there = threading.Event()

    def slowly(request: Served) -> tuple[int, bytes]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 2:
                two_are_there.set()
        two_are_there.wait(PATIENCE_S)
        time.sleep(0.1)  # for a third to come
        with lock:
            now[0] -= 1
        return writes_out(request)

    with chat_server(slowly) as server:
        assert cosmos(*arguments(server, "--meta-prompts", rooms, "--num-parallel-requests", 2)).exit_code == 0
    assert most == [2]


def test_the_model_thinks_of_scenes_itself_and_is_told_which_are_taken(cosmos: Cosmos) -> None:
    with chat_server(writes_out) as server:
        result = cosmos(*arguments(server, "--num-prompts", 25, "--scene", "a dentist's practice"))
    assert result.exit_code == 0
    first, second = [request["messages"][0]["content"] for request in server.requests[:2]]
    assert "20 different scenes that all show a dentist's practice." in first
    assert "5 different scenes" in second
    assert second.count("\n- Scene") == 20
    assert len(entries()) == 25
    kept = json.loads(Path("p.meta.json").read_text())
    assert kept["meta_prompts"] == list(entries())
    assert (kept["scene"], kept["seed"]) == ("a dentist's practice", 1)


def test_more_scenes_are_added_and_those_that_are_there_are_kept(cosmos: Cosmos) -> None:
    with chat_server(writes_out) as server:
        assert cosmos(*arguments(server, "--num-prompts", 3)).exit_code == 0
        before = entries()
        num_requests = len(server.requests)
        assert cosmos(*arguments(server, "--num-prompts", 3)).exit_code == 0
        assert (entries(), len(server.requests)) == (before, num_requests)
        result = cosmos(*arguments(server, "--num-prompts", 5, "--json"))
        assert len(server.requests) == num_requests + 3
        assert list(entries())[:3] == list(before)
        assert [each["status"] for each in result.json["meta_prompts"]] == ["kept"] * 3 + ["ok"] * 2
        assert cosmos(*arguments(server, "--num-prompts", 1, "--overwrite")).exit_code == 0
        assert len(entries()) == len(json.loads(Path("p.meta.json").read_text())["meta_prompts"]) == 1
        other = cosmos(*arguments(server, "--num-prompts", 5, "--scene", "a kitchen"))
        assert other.exit_code == 2
        assert "--overwrite" in other.stderr


def test_a_model_that_only_repeats_itself_is_not_asked_for_ever(cosmos: Cosmos) -> None:
    with chat_server(says('["One room.", "one  ROOM."]')) as server:
        result = cosmos(*arguments(server, "--num-prompts", 4))
    assert result.exit_code == 1
    assert "thought of 1 scenes" in result.stderr
    assert len(server.requests) == 4


WRONG = {
    "prose": "Here is your JSON: " + written("A room."),
    "HTML": "<html><body>502 Bad Gateway</body></html>",
    "null": "null",
    "list": json.dumps([written("A room.")]),
    "lacking": json.dumps({"top_view_prompt": "A room."}),
    "more": written("A room.", thoughts="I like it."),
    "nested": written("A room.", top_view_prompt={"text": "A room."}),
    "deep": '{"a":' * 5000 + "1" + "}" * 5000,
    "empty": written("A room.", bottom_view_prompt=" \n"),
    "long": written("A room.", bottom_view_prompt="a" * 4950),
    "vast": " " * 300_000 + written("A room."),
    "escape": written("A room.", top_view_prompt="A \x1b[31mred\x1b[0m room."),
    "reordered": written("A room.", top_view_prompt="A \u202eder room."),
    "markup": written("A room.", top_view_prompt="A <b>room</b>."),
    "cut off": written("A room.")[:40],
    "twice": '{"top_view_prompt": "a", "top_view_prompt": "b", "bottom_view_prompt": "c"}',
    "half": '{"top_view_prompt": "\\ud800", "bottom_view_prompt": "c"}',
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_not_as_asked_is_asked_for_again_with_what_was_wrong(
    cosmos: Cosmos, rooms: Path, wrong: str
) -> None:
    rooms.write_text(ROOMS[0])
    good = f"<think>\nHm. {{}}\n</think>\n```json\n{written(ROOMS[0])}\n```\n"
    with chat_server(says(WRONG[wrong]), says(good)) as server:
        result = cosmos(*arguments(server, "--meta-prompts", rooms))
    assert (result.exit_code, entries()) == (0, {ROOMS[0]: json.loads(written(ROOMS[0]))})
    first, second = [request["messages"][0]["content"] for request in server.requests]
    assert second.startswith(first)
    assert "could not be used: it" in second.removeprefix(first)
    assert len(second) < len(first) + 300
    assert server.requests[0]["seed"] != server.requests[1]["seed"]


def test_a_meta_prompt_that_fails_costs_itself_and_is_tried_again_the_next_time(cosmos: Cosmos, rooms: Path) -> None:
    def fails(request: Served) -> tuple[int, bytes]:
        return says("\x1b[2J no.") if asked_room(request) == ROOMS[1] else writes_out(request)

    with chat_server(fails) as server:
        result = cosmos(*arguments(server, "--meta-prompts", rooms))
        assert result.exit_code == 1
        [line] = [line for line in result.stdout.splitlines() if "failed:" in line]
        assert line.startswith(f"{ROOMS[1]}  failed: the chat model gave 3 answers that cannot be used; the last is no")
        assert "\x1b" not in result.stdout + result.stderr
        assert list(entries()) == [ROOMS[0], *ROOMS[2:]]
    with chat_server(writes_out) as server:
        assert cosmos(*arguments(server, "--meta-prompts", rooms)).exit_code == 0
        assert [asked_room(request) for request in server.requests] == [ROOMS[1]]
    assert list(entries()) == list(ROOMS)  # as if nothing had failed


@pytest.mark.parametrize("reply", [(401, b"who are you"), (200, b"<html>"), says(None), (200, b"{" * (17 << 20))])
def test_a_server_that_gives_no_answers_is_not_asked_about_everything(
    cosmos: Cosmos, rooms: Path, reply: tuple[int, bytes]
) -> None:
    rooms.write_text("\n".join(f"Room {i}." for i in range(30)))
    with chat_server(reply) as server:
        result = cosmos(*arguments(server, "--meta-prompts", rooms, "--num-parallel-requests", 2, "--json"))
    assert result.exit_code == 1
    assert 3 <= len(server.requests) <= 3 + 2 * 2
    errors = [each["error"] for each in result.json["meta_prompts"]]
    assert sum("3 times in a row" in error for error in errors) == 27
    assert not Path("p.json").exists()


def test_what_is_asked_twice_is_told_and_written_once(cosmos: Cosmos, rooms: Path) -> None:
    rooms.write_text(f"{ROOMS[0]}\n{ROOMS[1]}\n  {ROOMS[0].upper()}\n")
    with chat_server(writes_out) as server:
        result = cosmos(*arguments(server, "--meta-prompts", rooms, "--json"))
    assert list(entries()) == list(ROOMS[:2])
    assert "again, which are used once" in result.json["notices"][0]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "document", [list(ROOMS), {"meta_prompts": ROOMS}, {room: json.loads(written(room)) for room in ROOMS}]
)
def test_meta_prompts_may_be_json(cosmos: Cosmos, rooms: Path, document: Any) -> None:
    path = rooms.with_suffix(".json")
    path.write_text(json.dumps(document))
    with chat_server(writes_out) as server:
        assert cosmos(*arguments(server, "--meta-prompts", path)).exit_code == 0
    assert list(entries()) == list(ROOMS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "--num-prompts"),
        (["--num-prompts", 3, "--meta-prompts", "m.txt"], "does not go with"),
        (["--meta-prompts", "m.txt", "--scene", "a kitchen"], "no effect with --meta-prompts"),
        (["--meta-prompts", "missing.txt"], "missing.txt"),
        (["--meta-prompts", "empty.txt"], "holds no meta prompts"),
        (["--meta-prompts", "odd.json"], "entry 2"),
        (["--meta-prompts", "escape.txt"], "escape.txt line 1"),
        (["--meta-prompts", "list.json", "--save-path", "list.json", "--overwrite"], "is the file of --meta-prompts"),
        (["--num-prompts", 3, "--save-path", "p.txt"], "does not end in .json"),
        (["--num-prompts", 3, "--save-path", "odd.json"], "pass --overwrite to begin"),
        (["--num-prompts", 0], "must be >= 1"),
        (["--num-prompts", 3, "--model", "m"], "no effect with --server-url"),
        (["--num-prompts", 3, "--server-url", "ftp://x"], "not the address"),
        (["--num-prompts", 3, "--temperature", "nan"], "finite number"),
    ],
)
def test_bad_input_is_told_before_anything_is_asked(cosmos: Cosmos, given: list[Any], words: str) -> None:
    Path("m.txt").write_text("A room.\n")
    Path("empty.txt").write_text(" \n\n")
    Path("odd.json").write_text('["A room.", {"a": 1}, 3]')
    Path("list.json").write_text('["A room."]')
    Path("escape.txt").write_text("A \x1b[31mroom.\n")
    with chat_server(writes_out) as server:
        result = cosmos(*arguments(server, *given))
        assert not server.requests
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert "\x1b" not in result.stderr


def test_guardrails_see_what_goes_in_and_what_comes_out(cosmos: Cosmos, rooms: Path) -> None:
    write_lists(Path("checkpoints") / LISTS)
    write_llama_guard(Path("checkpoints") / LLAMA_GUARD, "safe")
    rooms.write_text("\n".join([*ROOMS, "A grob in a room."]))

    def says_grob(request: Served) -> tuple[int, bytes]:
        return says(written("A grob.")) if asked_room(request) == ROOMS[2] else writes_out(request)

    with chat_server(says_grob) as server:
        given = [each for each in arguments(server, "--meta-prompts", rooms) if each != "--disable-guardrail"]
        result = cosmos(*given, "--json")
        assert len(server.requests) == 4
    assert result.exit_code == 3
    assert [each["status"] for each in result.json["meta_prompts"]] == ["ok", "ok", "blocked", "ok", "blocked"]
    assert "guardrail blocklist" in result.json["meta_prompts"][2]["error"]
    assert list(entries()) == [ROOMS[0], ROOMS[1], ROOMS[3]]


def test_without_the_files_of_model_and_guardrails_both_are_named(cosmos: Cosmos) -> None:
    result = cosmos("transfer", "prompts", "--num-prompts", 3, "--json")
    assert result.exit_code == 4
    where = [problem["where"] for problem in result.json["problems"]]
    assert len(where) == 3
    assert where[2] == "checkpoints/google/gemma-3-27b-it"
    assert result.json["problems"][2]["fix"].startswith(
        "hf download google/gemma-3-27b-it --local-dir checkpoints/google/gemma-3-27b-it\n"
    )
    for model in ("nowhere", "../up/../../x", "a/b/c", "."):
        assert cosmos("transfer", "prompts", "--num-prompts", 3, "--disable-guardrail", "--model", model).exit_code == 4


@pytest.mark.parametrize("place", ["folder", "checkpoints", "cache"])
def test_a_model_in_this_process_writes_the_same_with_the_same_seed(
    cosmos: Cosmos, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder, name = tmp_path / "talker", "some-one/talker"
    if place == "folder":
        name = str(folder)
    elif place == "checkpoints":
        folder = Path("checkpoints") / name
    else:
        cache = tmp_path / "hub"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        folder = cache / "models--some-one--talker" / "snapshots" / "0123abc"
        (folder.parents[1] / "refs").mkdir(parents=True)
        (folder.parents[1] / "refs" / "main").write_text("0123abc")
    build_talker(folder, written("One room."), written("Another room."))
    found = []
    for seed in (1, 1, 2):
        result = cosmos(
            *("transfer", "prompts", "--model", name, "--disable-guardrail", "--device", "cpu", "--overwrite"),
            *("--meta-prompts", rooms, "--save-path", "p.json", "--seed", seed),
        )
        assert result.exit_code == 0, result.stderr
        found.append(entries())
    assert found[0] == found[1] != found[2]
    assert list(found[0]) == list(ROOMS)
    assert {json.dumps(each) for each in found[0].values()} == {written("One room."), written("Another room.")}


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(cosmos: Cosmos, rooms: Path) -> None:
    rooms.write_text("\n".join(f"Room {i}." for i in range(12)))

    is_killed, num_asked = threading.Event(), itertools.count()

    def some(request: Served) -> tuple[int, bytes]:
        if next(num_asked) >= 6:
            is_killed.wait(PATIENCE_S)
        return writes_out(request)

    with chat_server(writes_out) as server:
        assert cosmos(*arguments(server, "--meta-prompts", rooms)).exit_code == 0
    undisturbed = Path("p.json").read_bytes()
    Path("p.json").unlink()
    with chat_server(some) as server:
        line = [str(each) for each in arguments(server, "--meta-prompts", rooms, "--num-parallel-requests", 2)]
        running = subprocess.Popen([sys.executable, "-m", "cosmos_cli", *line], stderr=subprocess.DEVNULL)
        until(Path("p.json").exists)
        running.send_signal(signal.SIGKILL)
        running.wait()
        is_killed.set()
    num_made = len(entries())
    assert 0 < num_made < 12
    with chat_server(writes_out) as server:
        assert cosmos(*arguments(server, "--meta-prompts", rooms)).exit_code == 0
        assert len(server.requests) == 12 - num_made
    assert Path("p.json").read_bytes() == undisturbed
    assert files() == ["p.json"]


def test_ctrl_c_does_not_wait_for_a_server_that_is_silent(rooms: Path) -> None:
    with chat_server(writes_out, silent_s=PATIENCE_S) as server:
        line = [str(each) for each in arguments(server, "--meta-prompts", rooms)]
        running = subprocess.Popen([sys.executable, "-m", "cosmos_cli", *line], stderr=subprocess.DEVNULL)
        until(lambda: len(server.requests) == 4)
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S / 2) == 130
    assert not files()
