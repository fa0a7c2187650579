"""Defaults in files: what goes before what, on every kind of command, and what a wrong file says."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.configuration import KEYS, user_file
from cosmos_cli.testing import CommandResult

Cosmos = Callable[..., CommandResult]

SOURCES = ("flag", "variable", "project", "user")
"""What goes before comes before."""


def _give(source: str, monkeypatch: pytest.MonkeyPatch, cosmos: Cosmos) -> list[str]:
    folder = Path(source).absolute()
    if source == "flag":
        return ["--checkpoint-dir", str(folder)]
    if source == "variable":
        monkeypatch.setenv("COSMOS_CHECKPOINT_DIR", str(folder))
    else:
        where = ["--project"] if source == "project" else []
        assert cosmos("config", "set", "checkpoint-dir", source, *where).exit_code == 0
    return []


@pytest.mark.parametrize("given", [some for n in range(5) for some in itertools.combinations(SOURCES, n)], ids=str)
def test_the_nearest_default_counts(given: tuple[str, ...], cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [flag for source in SOURCES if source in given for flag in _give(source, monkeypatch, cosmos)]
    first = next((source for source in SOURCES if source in given), "checkpoints")

    of_core = cosmos("models", "--json", *flags).json["checkpoint_dir"]
    assert Path(of_core).absolute() == Path(first).absolute()

    fails = cosmos("predict2", "text2world", "--prompt", "A street.", *flags)
    assert fails.exit_code == 4
    assert str(Path(first)) in fails.stderr.replace("\n", "")

    shown = {each["key"]: each for each in cosmos("config", "show", "--json").json["settings"]}["checkpoint_dir"]
    in_show = next((source for source in SOURCES[1:] if source in given), "default")
    assert shown["from"] == {
        "variable": "variable COSMOS_CHECKPOINT_DIR",
        "project": "cosmos.toml",
        "user": str(user_file()),
        "default": "default",
    }[in_show].replace(str(Path.cwd()) + "/", "")


def test_a_request_file_goes_before_default_files(cosmos: Cosmos) -> None:
    Path("cosmos.toml").write_text('device = "cuda:7"\n')
    Path("request.json").write_text('{"device": "cpu", "prompt": "A street."}')
    command = ("predict2", "text2world", "--model", "tiny", "--plan")
    assert cosmos(*command, "--from-file", "request.json").exit_code == 0
    failed = cosmos(*command, "--prompt", "A street.")
    assert failed.exit_code == 2
    assert "cosmos.toml, device" in failed.stderr


def test_a_path_starts_from_the_file_that_names_it(cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("deep/er").mkdir(parents=True)
    here = Path.cwd()
    monkeypatch.chdir("deep")
    assert cosmos("config", "set", "checkpoint-dir", "../weights", "--project").exit_code == 0
    monkeypatch.chdir("er")
    assert Path("../cosmos.toml").read_text() == 'checkpoint_dir = "../weights"\n'
    found = cosmos("models", "--json").json["checkpoint_dir"]
    assert Path(found).resolve() == here / "weights"


def test_comments_stay(cosmos: Cosmos) -> None:
    Path("cosmos.toml").write_text('# of the laboratory\ndevice = "cpu"  # the old card is broken\nmax_memory = 12\n')
    assert cosmos("config", "set", "attention", "sdpa-math", "--project").exit_code == 0
    assert cosmos("config", "unset", "max_memory", "--project").exit_code == 0
    text = Path("cosmos.toml").read_text()
    assert "# of the laboratory" in text and "# the old card is broken" in text and "max_memory" not in text
    settings = {each["key"]: each["value"] for each in cosmos("config", "show", "--json").json["settings"]}
    assert (settings["device"], settings["attention"]) == ("cpu", "sdpa-math")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("device = ", ("cosmos.toml", "is no TOML")),
        ('devise = "cpu"', ("cosmos.toml, devise", "Did you mean 'device'?")),
        ("device = true", ("cosmos.toml, device", "must be text or a number")),
        ("[device]\nname = 1", ("cosmos.toml, device", "must be text or a number")),
        ('attention = "flsh"', ("cosmos.toml, attention", "flash-attention")),
        ('max_memory = "12 bananas"', ("cosmos.toml, max_memory",)),
        ('checkpoint_dir = "a\\u0000b"', ("cosmos.toml, checkpoint_dir", "NUL")),
        ('device = "cpu"\ndevice = "cpu"', ("cosmos.toml", "is no TOML")),
    ],
)
def test_a_wrong_file_is_named(content: str, said: tuple[str, ...], cosmos: Cosmos) -> None:
    Path("cosmos.toml").write_text(content)
    failed = cosmos("predict2", "text2world", "--model", "tiny", "--prompt", "A street.", "--plan")
    assert failed.exit_code == 2
    for words in said:
        assert words in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "devise", "cpu"), "Did you mean 'device'?"),
        (("set", "attention", "flsh"), "flash-attention"),
        (("set", "max-memory", "12 bananas"), "max_memory"),
        (("set", "device", "gpu9"), "'gpu9' is not a device"),
        (("set", "device", ""), "cosmos config unset device"),
        (("set", "engine", "spark"), "no engine named 'spark'"),
        (("set", "checkpoint-dir", "caf\udce9"), "is no text"),
        (("unset", "device"), "holds no device"),
    ],
)
def test_a_wrong_default_is_not_written(arguments: tuple[str, ...], said: str, cosmos: Cosmos) -> None:
    failed = cosmos("config", *arguments)
    assert failed.exit_code == 2
    assert said in failed.stderr
    assert not user_file().exists()


def test_what_is_set_says_what_goes_before_it(cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_DEVICE", "cpu")
    told = cosmos("config", "set", "device", "cuda:1").stdout
    assert "device is cpu here, from variable COSMOS_DEVICE, which goes before" in " ".join(told.split())


def test_every_key_has_an_option_that_reads_its_variable(cosmos: Cosmos) -> None:
    help = cosmos("predict2", "batch", "--help-all").stdout
    for name, key in KEYS.items():
        assert f"--{name.replace('_', '-')}" in help and key.variable in help
