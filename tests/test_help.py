"""Help: options in panels, the usual ones at once and all of them on request, under both spellings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli import registry
from cosmos_cli.help import MAX_SHOWN, PANELS
from cosmos_cli.registered import OWN_DISTRIBUTION
from cosmos_cli.testing import CommandResult
from tests.clips import encode, moving_gradient
from tests.option_tables import COMMANDS
from tests.third_party import complete

Cosmos = Callable[..., CommandResult]


def options_in(text: str) -> list[str]:
    """The options of a help, each by its first long name."""
    return re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", text, re.MULTILINE)


def panels_in(text: str) -> list[str]:
    return [name for name in re.findall(r"^(\S[^:\n]*):$", text, re.MULTILINE) if name in PANELS]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_usual_options_and_help_all_every_one(cosmos: Cosmos, command: str) -> None:
    short, whole = (cosmos(*command.split(), option).stdout for option in ("-h", "--help-all"))
    assert len(options_in(short)) <= MAX_SHOWN + len(("--help-all", "--help"))
    assert set(options_in(short)) <= set(options_in(whole))
    usual = {described.names[0] for described in COMMANDS[command] if described.required}
    assert {name for name in usual if name.startswith("--")} <= set(options_in(short))
    assert panels_in(whole) == [panel for panel in PANELS if panel in panels_in(whole)]
    words = set(re.findall(r"--?[a-z][a-z0-9-]*", whole))
    assert {name for described in COMMANDS[command] for name in described.names if name.startswith("-")} <= words
    if len(options_in(short)) < len(options_in(whole)):
        assert f"more options: cosmos {command} --help-all" in short


def test_help_of_a_transfer_fits_two_screens(cosmos: Cosmos) -> None:
    text = cosmos("transfer", "run", "--help").stdout
    assert len(text.splitlines()) <= 80
    assert max(map(len, text.splitlines())) <= 80
    assert panels_in(text)[:4] == ["Input", "Controls", "Generation", "Output"]


def test_help_of_annotate_shows_what_it_uses_and_the_rest_is_taken(cosmos: Cosmos) -> None:
    text = cosmos("transfer", "annotate", "--help-all").stdout
    assert {"--canny-threshold", "--edge", "--video-save-folder"} <= set(options_in(text))
    assert not {"--num-steps", "--guidance", "--sigma-max", "--parallel", "--num-gpus"} & set(options_in(text))
    encode(Path("clip.mp4"), moving_gradient(9, 72, 96), fps=30)
    line = ("--model", "tiny", "--edge", "--input-video-path", "clip.mp4", "--num-steps", 4, "--json")
    result = cosmos("transfer", "annotate", *line)
    assert result.exit_code == 0, result.stderr
    assert result.json["files"].keys() == {"control:edge"}


def test_old_names_stand_apart_and_work(cosmos: Cosmos) -> None:
    text = cosmos("predict2", "video2world", "--help-all").stdout
    old = text.partition("\nOld names:\n")[2].partition("\n\n")[0]
    assert {"--batch-input-json", "--use-cuda-graphs"} <= set(options_in(old))
    assert "The same as --batch." in old
    assert "--batch-input-json" not in text.partition("\nOld names:\n")[0]


@pytest.mark.parametrize("line", ["download", "transfer download", "models", "doctor", "plugins list"])
def test_only_the_root_speaks_of_completion(cosmos: Cosmos, line: str) -> None:
    result = cosmos(*line.split(), "-h")
    assert result.exit_code == 0
    assert result.stdout == cosmos(*line.split(), "--help").stdout
    assert "completion" not in result.stdout
    assert "completion" in cosmos("-h").stdout


def test_the_examples_of_the_root_run(cosmos: Cosmos) -> None:
    text = cosmos("--help").stdout
    assert text.count("nderscores") == 1
    assert "docs/" in text
    examples = re.findall(r"^ +cosmos (.+)$", text, re.MULTILINE)
    assert len(examples) == 2
    encode(Path("street.mp4"), moving_gradient(9, 72, 96), fps=30)
    for example in examples:
        result = cosmos(*shlex.split(example), "--plan")
        assert result.exit_code == 0, result.stderr


def test_what_the_root_says_of_the_families_is_true_of_each(cosmos: Cosmos) -> None:
    assert "Run, batch and post-train" in cosmos("--help").stdout
    own = {plugin.name for plugin in registry.current().plugins if plugin.distribution == OWN_DISTRIBUTION}
    for name, family in registry.current().families.items():
        if family.plugin in own:
            commands = re.findall(r"^  ([a-z0-9-]+)  ", cosmos(name, "--help").stdout, re.MULTILINE)
            assert "post-train" in commands
            helps = [cosmos(name, command, "--help-all").stdout for command in commands]
            assert "batch" in commands or any("--batch-input-path" in options_in(text) for text in helps)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("cosmos download predict1-multiview/7B-T", "predict1-multiview/7B-Text2World-Sample-AV-Multiview"),
        ("cosmos download transfer/7B-edge", "transfer/7B-edge-distilled"),
        ("cosmos transfer download 7B-edge", "7B-edge-distilled"),
        ("cosmos download transfer --controls edge,dep", "edge,depth"),
        ("cosmos predict2 critic clip.mp4 --critic meas", "measured"),
        ("cosmos transfer run --blur-strength very_h", "very_high"),
        ("cosmos transfer post-train --experiment tiny_worlds_e", "tiny_worlds_edge"),
        ("cosmos transfer run --seg-o", "--seg-objects"),
    ],
)
def test_tab_completes_names(line: str, offered: str) -> None:
    assert complete(line) == [offered]
