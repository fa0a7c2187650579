"""The guides hold what they say: every code block of the plugin guide is used, every hook and flag is described."""

from __future__ import annotations

import ast
import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli.media.image import write_png
from cosmos_cli.testing import run_cosmos
from tests.option_tables import COMMANDS, commands_in, with_tables
from tests.third_party import COSMOS, pip_install

DOCS = Path(__file__).parent.parent / "docs"
README = DOCS.parent / "README.md"
HOOKSPECS = Path(__file__).parent.parent / "cosmos_cli" / "hookspecs.py"

PAGES = sorted(DOCS.glob("*.md"))
_BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?P<verb>Write|Add to|Add below the imports of) `(?P<path>[^`]+)`:$")


@dataclass(frozen=True)
class Block:
    """One code block; `path` is the file that the line before it says to write, if it does."""

    language: str
    text: str
    verb: str
    path: str


def code_blocks(guide: Path) -> list[Block]:
    text = guide.read_text()
    blocks = []
    for match in _BLOCK.finditer(text):
        file = _FILE.search(match["before"])
        verb, path = (file["verb"], file["path"]) if file else ("", "")
        blocks.append(Block(match["language"], match["text"], verb, path))
    assert len(blocks) == text.count("\n```") // 2, "a block has no empty line before it, or no language"
    return blocks


class Reader:
    """Somebody who does what the guide says, in a folder of their own, without network."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self._folder, self._packages, self._exit_code = folder, packages, 0

    def follow(self, block: Block) -> None:
        if block.language == "console":
            for command, expected in sessions(block.text):
                self._run(command, expected)
        else:
            self._write(block)

    def _write(self, block: Block) -> None:
        assert block.path, f"no line says where this goes:\n{block.text}"
        path = self._folder / block.path
        path.parent.mkdir(parents=True, exist_ok=True)
        before = "" if block.verb == "Write" else path.read_text()
        if block.verb == "Add below the imports of":
            end = max(
                node.end_lineno for node in ast.parse(before).body if isinstance(node, ast.Import | ast.ImportFrom)
            )
            lines = before.splitlines(keepends=True)
            path.write_text("".join([*lines[:end], block.text, *lines[end:]]))
        else:
            path.write_text(f"{before}\n\n{block.text}" if before else block.text)

    def _run(self, command: str, expected: str) -> None:
        if command == "pip install -e .":
            # the sources come first on the path: later changes count at once, as with an editable installation
            pip_install(self._packages, self._folder)
            return
        path = os.pathsep.join([str(COSMOS.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        packages = os.pathsep.join([str(self._folder / "src"), str(self._packages)])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
        # `echo $?` shows the exit code of the command before
        script = f"(exit {self._exit_code}); {command}"
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        self._exit_code = result.returncode
        assert doctest.OutputChecker().check_output(expected, result.stdout, doctest.ELLIPSIS), (
            f"$ {command}\n{result.stdout}\ninstead of\n{expected}"
        )


def sessions(text: str) -> list[tuple[str, str]]:
    """Commands of a console block, each with the output that follows it."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts[1:])]


def test_who_follows_the_plugin_guide_has_a_working_plugin(tmp_path: Path) -> None:
    folder = tmp_path / "cosmos-drift"
    folder.mkdir()
    write_png(folder / "street.png", np.full((48, 64, 3), 120, np.uint8))
    reader = Reader(folder, tmp_path / "packages")
    for block in code_blocks(DOCS / "plugins.md"):
        reader.follow(block)


def test_every_hook_is_documented_with_an_example() -> None:
    hooks = [
        node.name
        for node in ast.parse(HOOKSPECS.read_text()).body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "hookspec" for d in node.decorator_list)
    ]
    assert hooks
    guide = (DOCS / "plugins.md").read_text()
    implemented = {
        node.name
        for block in code_blocks(DOCS / "plugins.md")
        if block.language == "python"
        for node in ast.parse(block.text).body
        if isinstance(node, ast.FunctionDef)
    }
    for hook in hooks:
        assert f"`{hook}`" in guide, f"{hook} is not described"
        assert hook in implemented, f"{hook} has no example"


def test_every_command_of_the_tables_is_in_a_guide() -> None:
    assert sorted(command for page in PAGES for command in commands_in(page.read_text())) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_is_described(command: str) -> None:
    [guide] = [page.read_text() for page in PAGES if command in commands_in(page.read_text())]
    # not followed by a dash: a long one may be broken at the end of a line
    flags = set(re.findall(r"--[a-z][a-z0-9-]*(?<!-)(?![a-z0-9-])", run_cosmos(*command.split(), "--help-all").stdout))
    assert not {flag for flag in flags if not re.search(rf"{flag}(?![a-z0-9-])", guide)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_option_tables_are_those_of_the_request_models(page: Path) -> None:
    assert page.read_text() == with_tables(page.read_text()), "run `python -m tests.option_tables`"


def test_the_readme_has_the_two_commands_that_set_everything_up() -> None:
    """`.ci/run` runs them; here, that there are exactly two, one line each, and that what they name exists."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 for block in blocks)
    assert blocks[0].endswith(" && cosmos demo\n")


@pytest.mark.parametrize("page", [README, *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
