"""What an installed package declares as a guardrail is there, or nothing is made and the package is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from cosmos_cli import registry
from cosmos_cli.errors import GuardrailBlocked
from cosmos_cli.testing import CommandResult, run_cosmos
from tests.clips import encode, moving_gradient
from tests.third_party import run_script, write_distribution

Install = Callable[..., Path]

HOOK = "from cosmos_cli.hookspecs import hookimpl\n\n@hookimpl\n"
REGISTERS = (
    f"{HOOK}def cosmos_register_guardrails(register):\n"
    "    register(name='watch', help='.', factory='{module}:make')\n"
)
SOUND = """
def make():
    return Watch()

class Watch:
    def check_prompt(self, prompt):
        pass

    def check_video(self, frames_FHWC):
        return frames_FHWC
"""

CANNOT_BRING = {
    "raises": "raise ImportError('liblidar.so.7')",
    "exits with 0": "import sys\nsys.exit(0)",
    "exits with nothing": "raise SystemExit",
    "raises what is no Exception": "raise GeneratorExit",
    "is no Python": "def (",
    "has no hook": "",
    "raises in its hook": f"{HOOK}def cosmos_register_guardrails(register):\n    raise OSError('no licence')",
    "exits in its hook": f"{HOOK}def cosmos_register_guardrails(register):\n    raise SystemExit(0)",
    "breaks after it": REGISTERS + "    raise OSError('no licence')\n" + SOUND,
    "registers nothing": f"{HOOK}def cosmos_register_guardrails(register):\n    pass",
    "returns instead": f"{HOOK}def cosmos_register_guardrails(register):\n    return ['watch']",
    "registers nonsense": f"{HOOK}def cosmos_register_guardrails(register):\n    register(name=1, help=2, factory=3)",
    "registers another": f"{HOOK}def cosmos_register_guardrails(register):\n"
    "    register(name='other', help='.', factory='a:b')",
    "wants more": f"{HOOK}def cosmos_register_guardrails(register, licence):\n    pass",
    "has no factory": REGISTERS,
    "fails in its factory": REGISTERS + "def make():\n    raise RuntimeError('no GPU')",
    "exits in its factory": REGISTERS + "def make():\n    raise SystemExit(0)",
    "makes nothing": REGISTERS + "def make():\n    pass",
    "makes half of one": REGISTERS + "def make():\n    return type('Half', (), {{'check_prompt': print}})()",
}

numbers = count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with one module: `install(source)`, declaring the guardrail "watch" unless told otherwise."""

    def write(source: str, *, declares: bool = True) -> Path:
        module = f"declared_{next(numbers)}"
        name = module.replace("_", "-")
        packages = tmp_path / "packages"
        source = source.replace("{module}", module).replace("{{", "{").replace("}}", "}")
        write_distribution(packages, name, {module: source}, {name: module}, {"watch": module} if declares else {})
        monkeypatch.syspath_prepend(packages)
        registry.current.cache_clear()
        return packages

    return write


def video(*options: object) -> CommandResult:
    encode(Path("clip.mp4"), moving_gradient(5, 48, 64))
    size = ["--model", "tiny", "--num-frames", 5, "--num-steps", 1, "--device", "cpu"]
    given = ["--input-path", "clip.mp4", "--prompt", "A street.", "--save-path", "a.mp4"]
    return run_cosmos("predict2", "video2world", *size, *given, "--json", *options)


@pytest.mark.parametrize("source", CANNOT_BRING.values(), ids=CANNOT_BRING.keys())
def test_a_guardrail_that_is_declared_and_cannot_be_brought_blocks(install: Install, source: str) -> None:
    install(source)
    result = video()
    assert result.exit_code == 3, result.stderr
    assert "declared-" in result.json["problems"][0]["where"] or "watch" in result.json["problems"][0]["where"]
    assert not Path("a.mp4").exists()
    listed = run_cosmos("plugins", "list", "--json")
    assert listed.exit_code == 0


COMMANDS = {
    "image": ("predict2", "text2image", "--model", "tiny", "--prompt", "A street."),
    "world": ("predict2", "text2world", "--model", "tiny", "--prompt", "A street."),
    "batch": ("predict2", "batch", "rows.jsonl", "--model", "tiny"),
    "best of n": ("predict2", "best-of-n", "--model", "tiny", "--input-path", "clip.mp4", "--prompt", "A."),
    "transfer": ("transfer", "run", "--model", "tiny", "--controlnet-specs", "spec.json"),
    "transfer batch": (
        *("transfer", "run", "--model", "tiny", "--controlnet-specs", "spec.json"),
        *("--batch-input-path", "rows.jsonl"),
    ),
    "workers": (
        *("predict2", "video2world", "--model", "tiny", "--input-path", "clip.mp4", "--prompt", "A."),
        *("--num-gpus", 2, "--device", "cpu"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_way_to_make_something_is_blocked_before_anything_is_read(
    install: Install, command: tuple[object, ...]
) -> None:
    encode(Path("clip.mp4"), moving_gradient(5, 48, 64))
    Path("spec.json").write_text(json.dumps({"edge": {}, "input_video_path": "clip.mp4"}))
    Path("rows.jsonl").write_text(json.dumps({"input_path": "clip.mp4", "prompt": "A."}) + "\n")
    before = sorted(Path().rglob("*"))
    install("raise ImportError('liblidar.so.7')")
    result = run_cosmos(*command, "--json")
    assert result.exit_code == 3, result.stderr
    [problem] = result.json["problems"]
    assert "'watch' is not there: cannot be imported (ImportError: liblidar.so.7)" in problem["what"]
    assert problem["where"].startswith("plugin declared-")
    assert sorted(Path().rglob("*")) == before


def test_the_library_is_blocked_too(install: Install) -> None:
    from cosmos_plugins.predict2.text2image.pipeline import Text2ImagePipeline
    from cosmos_plugins.predict2.text2image.requests import Text2ImageSettings

    install("raise SystemExit(0)")
    with pytest.raises(GuardrailBlocked, match=r"plugin declared-.*SystemExit"):
        Text2ImagePipeline.load(Text2ImageSettings(model_size="tiny", device="cpu"))


def test_whoever_disables_guardrails_disables_these_too(install: Install) -> None:
    install("raise ImportError('liblidar.so.7')")
    assert video("--disable-guardrail").exit_code == 0


def test_a_broken_package_that_declares_none_costs_one_warning(install: Install) -> None:
    install("raise ImportError('liblidar.so.7')", declares=False)
    result = video()
    assert result.exit_code == 0
    assert len([line for line in result.stderr.splitlines() if line.startswith("warning: ")]) == 1


@pytest.mark.parametrize("name", ["raises in its hook", "breaks after it", "registers nothing", "wants more"])
def test_a_hook_declares_by_being_there(install: Install, name: str) -> None:
    install(CANNOT_BRING[name], declares=False)
    assert video().exit_code == 3


def test_a_guardrail_that_is_not_declared_runs_and_its_author_is_told(install: Install) -> None:
    install(REGISTERS + SOUND, declares=False)
    result = video()
    assert result.exit_code == 0
    [warning] = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "declares no entry point 'cosmos.guardrails' for 'watch'" in warning
    assert "watch" in json.loads(Path("a.json").read_text())["checked_by"]


def test_a_guardrail_of_a_package_without_a_plugin_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(tmp_path / "packages", "declared-alone", {}, {}, {"watch": "no_such_module"})
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert video().exit_code == 3
    listed = run_cosmos("plugins", "list", "--json").json["plugins"]
    assert [plugin["lost_guardrails"] for plugin in listed if plugin["distribution"] == "declared-alone"] != [[]]


def test_the_list_of_plugins_says_who_blocks_and_other_commands_work(install: Install) -> None:
    packages = install("import sys\nsys.exit(0)")
    listed = run_script("plugins", "list", path=packages)
    assert listed.returncode == 0
    [line] = [line for line in listed.stdout.splitlines() if line.startswith("declared-")]
    assert "blocks all generation: cannot be imported (SystemExit: 0)" in line
    assert run_script("predict2", "video2world", "--schema", path=packages).returncode == 0


CHECKS = {
    "exits": "raise SystemExit(0)",
    "exits with nothing": "raise SystemExit",
    "raises what is no Exception": "raise GeneratorExit",
    "raises": "raise ValueError('odd')",
    "answers no": "return False",
    "answers yes": "return True",
}


@pytest.mark.parametrize("ending", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("of", ["prompt", "video"])
def test_a_check_that_ends_in_any_other_way_blocks(install: Install, of: str, ending: str) -> None:
    statement = {"prompt": "pass\n", "video": "return frames_FHWC\n"}[of]
    install(REGISTERS + SOUND.replace(statement, ending + "\n"))
    result = video()
    assert result.exit_code == 3, result.stderr
    assert result.json["problems"][0]["where"] == "guardrail watch"
    assert not Path("a.mp4").exists()


def test_ctrl_c_in_a_check_is_ctrl_c(install: Install) -> None:
    install(REGISTERS + SOUND.replace("pass\n", "raise KeyboardInterrupt\n"))
    assert video().exit_code == 130


OTHERS = {
    "prompt_refiners": (
        "def make():\n    {make}\n    def refine(prompt, frames):\n        {work}\n    return refine",
        [],
    ),
    "critics": (
        "def make():\n    {make}\n    class C:\n        name = 'c'\n"
        "        def judge(self, *given, **named):\n            {work}\n    return C()",
        ["predict2", "critic", "clip.mp4", "--critic", "odd", "--device", "cpu", "--json"],
    ),
}


@pytest.mark.parametrize("ending", ["raise SystemExit(0)", "raise OSError('lost')", "raise GeneratorExit"])
@pytest.mark.parametrize("where", ["make", "work"])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_extensions_that_exit_or_break_are_errors_that_name_them(
    install: Install, kind: str, where: str, ending: str
) -> None:
    source, command = OTHERS[kind]
    hook = (
        f"{HOOK}def cosmos_register_{kind}(register):\n    register(name='odd', help='.', factory='{{module}}:make')\n"
    )
    endings = {"make": "pass", "work": "pass"} | {where: ending}
    install(hook + source.replace("{make}", endings["make"]).replace("{work}", endings["work"]), declares=False)
    encode(Path("clip.mp4"), np.full((5, 48, 64, 3), 120, np.uint8))
    result = run_cosmos(*command) if command else video()
    assert result.exit_code == 1, result.stderr
    assert "odd" in result.stderr or "critic c" in result.stderr
    assert "defect" not in result.stderr
