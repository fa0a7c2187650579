"""Discovery of plugins: what they bring is found, what is wrong with them stays theirs."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cosmos_cli import registry
from cosmos_cli.errors import CheckpointError, CosmosError
from cosmos_cli.hookspecs import RegisterControl
from cosmos_cli.import_strings import resolve
from cosmos_cli.registered import ControlModality, Extension
from cosmos_cli.settings import MachineSettings
from tests.third_party import write_distribution

Install = Callable[..., None]

SETTINGS = MachineSettings(checkpoint_dir=Path("weights"))
RUN: dict[str, Any] = {
    "device": "cuda:1",
    "offload": True,
    "checkpoint_dir": SETTINGS.checkpoint_dir,
    "settings": SETTINGS,
}
"""What a run tells the factories of its extensions."""

HOOK = "from cosmos_cli.hookspecs import hookimpl\n\n@hookimpl\n"


def family(name: str | None) -> str:
    return f"{HOOK}def cosmos_register_families(register):\n    register(name={name!r}, help='.', commands='a:b')\n"


def guardrail(name: str, factory: str) -> str:
    return (
        f"{HOOK}def cosmos_register_guardrails(register):\n    register(name={name!r}, help='.', factory='{factory}')\n"
    )


def control(**fields: object) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{HOOK}def cosmos_register_controls(register):\n    register(help='.', {given})\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution: `install("name", {"module": source}, {"entry": "module"})`."""
    packages = tmp_path / "packages"

    def write(
        name: str,
        modules: Mapping[str, str],
        plugins: Mapping[str, str] | None = None,
        guardrails: Mapping[str, str] | None = None,
    ) -> None:
        write_distribution(packages, name, modules, plugins or {module: module for module in modules}, guardrails)
        monkeypatch.syspath_prepend(packages)

    return write


def test_families_of_all_distributions_are_found(install: Install) -> None:
    install("reg-two", {"reg_two": family("two")})
    install("reg-one", {"reg_one": family("one")})
    found = registry.discover()
    assert list(found.families)[-2:] == ["one", "two"]  # behind those that come with cosmos
    assert found.faults == []


@pytest.mark.parametrize("first, second", [("reg-a", "reg-b"), ("reg-b", "reg-a")])
def test_who_holds_a_contested_name_does_not_depend_on_the_order_of_installation(
    install: Install, first: str, second: str
) -> None:
    for name in (first, second):
        install(name, {name.replace("-", "_"): family("contested")})
    found = registry.discover()
    assert found.families["contested"].plugin == "reg_a"
    assert found.faults == [
        "plugin reg_b (reg-b 1.0): the family name 'contested' is already taken by reg_a (reg-a 1.0)"
    ]


def test_no_plugin_takes_a_name_from_cosmos_even_if_it_sorts_first(install: Install) -> None:
    install("aaa", {"aaa": family("predict2")}, {"aaa": "aaa"})
    found = registry.discover()
    assert found.families["predict2"].plugin == "predict2"
    assert len(found.faults) == 1


def test_one_name_may_be_used_once_per_kind_of_extension(install: Install) -> None:
    install(
        "reg-ext",
        {"reg_ext_a": guardrail("words", "a:b"), "reg_ext_b": guardrail("words", "c:d")},
        None,
        {"words": "reg_ext_a"},
    )
    found = registry.discover()
    assert found.extensions["guardrails"]["words"].factory == "a:b"
    assert found.faults == [
        "plugin reg_ext_b (reg-ext 1.0): the name 'words' among guardrails is already taken by reg_ext_a (reg-ext 1.0)"
    ]


@pytest.mark.parametrize("name", ["Upper", "two words", "", "-x", "a/b", None])
def test_names_that_no_command_line_could_hold_are_refused(install: Install, name: str | None) -> None:
    install("reg-name", {"reg_name": family(name)})
    found = registry.discover()
    assert name not in found.families
    assert "raised in cosmos_register_families" in found.faults[0]


def test_a_wrong_argument_of_register_is_a_fault_of_that_plugin(install: Install) -> None:
    source = f"{HOOK}def cosmos_register_families(register):\n    register(name='a', help='.', comands='a:b')\n"
    install("reg-typo", {"reg_typo": source})
    [fault] = registry.discover().faults
    assert "unexpected keyword argument 'comands'" in fault


def test_extensions_are_built_in_order_of_their_names_with_what_the_run_says(install: Install) -> None:
    factory = "def build(device, offload):\n    return (device, offload)\n"
    install(
        "reg-order",
        {"reg_order_b": guardrail("b", "reg_factory:build"), "reg_order_a": guardrail("a", "reg_factory:build")},
    )
    install("reg-factory", {"reg_factory": factory}, {})
    created = registry.discover().create_extensions("guardrails", **RUN)
    assert list(created.items()) == [("a", ("cuda:1", True)), ("b", ("cuda:1", True))]
    assert registry.discover().create_extensions("prompt_refiners", **RUN) == {}


@pytest.mark.parametrize(
    "module, parameters, given",
    [
        ("reg_no", "", {}),
        ("reg_some", "offload, device", {"offload": True, "device": "cuda:1"}),
        ("reg_keyword", "*, checkpoint_dir, other=1", {"checkpoint_dir": Path("weights"), "other": 1}),
        (
            "reg_all",
            "settings, **rest",
            {"settings": SETTINGS, "rest": {k: v for k, v in RUN.items() if k != "settings"}},
        ),
    ],
)
def test_a_factory_gets_what_it_names(install: Install, module: str, parameters: str, given: dict[str, Any]) -> None:
    source = guardrail("g", f"{module}:build") + f"\ndef build({parameters}):\n    return locals()\n"
    install(module, {module: source})
    assert registry.discover().create("guardrails", "g", **RUN) == given


def test_a_factory_that_wants_more_than_there_is_says_so(install: Install) -> None:
    source = guardrail("g", "reg_more:build") + "\ndef build(device, licence):\n    pass\n"
    install("reg-more", {"reg_more": source})
    with pytest.raises(CosmosError, match=r"guardrails 'g' could not be built: TypeError: .*'licence'"):
        registry.discover().create("guardrails", "g", **RUN)


def test_a_guardrail_that_cannot_be_built_stops_the_run_instead_of_vanishing(install: Install) -> None:
    source = guardrail("g", "reg_fails:build") + "\ndef build(device, offload):\n    raise OSError('no weights')\n"
    install("reg-fails", {"reg_fails": source})
    with pytest.raises(CosmosError, match="guardrails 'g' could not be built: OSError: no weights") as raised:
        registry.discover().create_extensions("guardrails", **RUN)
    assert raised.value.problems[0].where == "plugin reg_fails"


def test_a_factory_may_say_itself_what_the_user_can_do(install: Install) -> None:
    source = guardrail("g", "reg_says:build") + (
        "\nfrom cosmos_cli.errors import CheckpointError\n"
        "def build(device, offload):\n    raise CheckpointError('missing.')\n"
    )
    install("reg-says", {"reg_says": source})
    with pytest.raises(CheckpointError, match="missing"):
        registry.discover().create_extensions("guardrails", **RUN)


def test_a_control_has_the_fields_that_its_hook_names_with_the_same_defaults() -> None:
    hook = inspect.signature(RegisterControl.__call__).parameters
    asked = {name: parameter.default for name, parameter in hook.items() if name not in ("self", "name", "help")}
    assert asked.pop("compute") is None  # the factory of a control
    own = [field for field in dataclasses.fields(ControlModality) if field.name in asked]
    defaults = {f.name: inspect.Parameter.empty if f.default is dataclasses.MISSING else f.default for f in own}
    assert defaults == asked
    general = {field.name for field in dataclasses.fields(Extension)}
    assert {field.name for field in dataclasses.fields(ControlModality)} == general | asked.keys()


def test_a_control_with_a_wrong_field_is_a_fault_of_that_plugin(install: Install) -> None:
    grey = {"name": "grey", "checkpoint": "grey.pt"}
    wrong = [grey | {"interpolation": "cubic"}, grey | {"sorce_frames": True}, {"name": "grey"}]
    modules = {f"reg_control_{number}": control(**fields) for number, fields in enumerate(wrong)}
    install("reg-control", modules)
    found = registry.discover()
    assert "grey" not in found.controls
    for fault, words in zip(found.faults, ("neither 'linear' nor", "'sorce_frames'", "'checkpoint'"), strict=True):
        assert "raised in cosmos_register_controls" in fault
        assert words in fault


def test_import_strings_are_resolved_when_used_not_when_registered(install: Install) -> None:
    install("reg-lazy", {"reg_lazy": guardrail("g", "reg_nowhere:build")}, None, {"g": "reg_lazy"})
    found = registry.discover()
    assert found.faults == []
    with pytest.raises(CosmosError, match="reg_nowhere:build cannot be loaded: ModuleNotFoundError"):
        found.create_extensions("guardrails", **RUN)


def test_a_module_that_ends_the_interpreter_does_not_when_resolved(install: Install) -> None:
    install("reg-exit", {"reg_exit": "raise SystemExit('no licence')"}, {})
    with pytest.raises(CosmosError, match="SystemExit: no licence"):
        resolve("reg_exit:app", needed_by="plugin x")


def test_faults_of_many_lines_become_one(install: Install) -> None:
    install("reg-lines", {"reg_lines": "raise ImportError('first\\n\\n  second')"})
    assert registry.discover().faults == [
        "plugin reg_lines (reg-lines 1.0): cannot be imported (ImportError: first second)"
    ]


def test_what_a_plugin_prints_on_import_stays_out_of_stdout(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("reg-greets", {"reg_greets": "print('Welcome!')\n" + family("greeter")})
    assert "greeter" in registry.discover().families
    assert capsys.readouterr() == ("", "Welcome!\n")


_FUTURE = "from pathlib import Path\nfrom __future__ import annotations\n"


@pytest.mark.parametrize(
    "source, place",
    [(_FUTURE, "broken_commands.py, line 2"), ("import json\n\njson.loads('{')\n", "broken_commands.py, line 3")],
    ids=["cannot be parsed", "raises in a library that it calls"],
)
def test_an_error_in_a_plugins_own_code_is_told_with_file_and_line_and_not_to_reinstall(
    install: Install, source: str, place: str
) -> None:
    install("reg-own", {"reg_own": family("own"), "broken_commands": source}, {"reg_own": "reg_own"})
    with pytest.raises(CosmosError) as raised:
        resolve("broken_commands:app", needed_by="plugin reg_own")
    [problem] = raised.value.problems
    assert place in str(problem.fix)
    assert "install" not in str(problem.fix).partition(", or uninstall")[0]
    sys.modules.pop("broken_commands", None)


def test_a_plugin_that_cannot_be_parsed_is_listed_with_path_line_and_text(install: Install, tmp_path: Path) -> None:
    install("reg-syntax", {"reg_syntax": "def (:\n"})
    [fault] = registry.discover().faults
    assert f"SyntaxError: invalid syntax ({tmp_path / 'packages' / 'reg_syntax.py'}, line 1: def ()" in fault
