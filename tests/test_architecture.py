"""The rules of the house that no type checker sees, read from the source and from running processes."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import resource
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FAMILIES = [folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").is_file()]
SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for folder in ("cosmos_cli", "plugins")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "plugin_template" not in path.parts  # a stranger's package, which lies there to be copied
}
CORE = {path: tree for path, tree in SOURCES.items() if path.startswith("cosmos_cli/")}

BOTTOM = {"errors", "durations", "interrupts", "output", "files", "redaction", "page"}
TOOLS = {"media", "checkpoints", "runtime"}
PARTS = {"guardrails", "diffusion", "models"}
GENERATION = {"generation"}
JOBS = {"batch", "training"}
PLUGINS = {"import_strings", "registered", "registry"}
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "interrupts": set(),
    "redaction": set(),
    "page": set(),
    "durations": set(),
    "bars": {"durations"},
    "text_layout": {"errors"},
    "output": {"bars", "durations", "errors", "redaction", "text_layout"},
    "files": {"errors", "interrupts", "output", "redaction"},
    "hookspecs": set(),
    "critics": BOTTOM,
    "help": {"output"},
    "flags": {"output", "help"},
    "requests": BOTTOM,
    "configuration": BOTTOM | {"requests"},
    "request_options": BOTTOM | {"configuration", "flags", "help", "requests"},
    "settings": {"errors", "requests", "runtime"},
    "import_strings": {"errors"},
    "registered": {"errors", "hookspecs", "import_strings"},
    "registry": {"hookspecs", "import_strings", "registered"},
    "own_hooks": {"hookspecs"},
    "catalogues": PLUGINS | {"checkpoints", "errors"},
    "runtime": BOTTOM,
    "media": BOTTOM | {"runtime"},
    "checkpoints": BOTTOM | {"runtime"},
    "health": BOTTOM | TOOLS,
    **dict.fromkeys(PARTS, BOTTOM | TOOLS | PARTS),
    "guardrails": BOTTOM | TOOLS | PARTS | PLUGINS,
    "generation": BOTTOM | TOOLS | PARTS | PLUGINS | {"catalogues", "requests", "settings"},
    **{
        room: BOTTOM
        | TOOLS
        | PARTS
        | GENERATION
        | JOBS
        | PLUGINS
        | {"requests", "request_options", "flags", "settings"}
        for room in JOBS
    },
    "worlds": BOTTOM | TOOLS | PARTS | GENERATION | JOBS | PLUGINS,
    "demo": BOTTOM | TOOLS | PLUGINS | {"worlds"},
    "workbench": BOTTOM | TOOLS | GENERATION | PLUGINS | {"help", "requests", "request_options", "settings"},
    # a demonstration runs other commands
    "commands": BOTTOM
    | TOOLS
    | PARTS
    | JOBS
    | PLUGINS
    | {"catalogues", "configuration", "flags", "health", "help", "requests", "settings"}
    | {"hookspecs", "demo", "main", "workbench", "request_options"},
    "main": BOTTOM | PLUGINS | {"help", "request_options", "runtime"},
    "__main__": {"interrupts", "main"},
    "testing": {"main"},
}
"""Room of cosmos_cli to the rooms that it may import, besides itself."""

HEAVY = {"torch", "transformers", "transformer_engine", "cv2", "imageio", "av", "huggingface_hub", "numpy", "jinja2"}


def for_every(paths: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[str], None]]:
    """A test of each of these files; those of one folder are one case, since there are hundreds of files."""
    rooms: dict[str, list[str]] = {}
    for path in paths:
        rooms.setdefault("/".join(path.split("/")[:2]), []).append(path)

    def divided(check: Callable[[str], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("room", rooms)
        def test(room: str) -> None:
            for path in rooms[room]:
                check(path)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return divided


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Full dotted names of everything that is imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """Room of cosmos_cli that an imported name lies in; None if it lies elsewhere."""
    package, _, rest = name.partition(".")
    first = rest.partition(".")[0]
    return first if package == "cosmos_cli" and not first.startswith("__") else None


@for_every(CORE)
def test_imports_in_the_core_go_one_way(path: str) -> None:
    own = Path(path).relative_to("cosmos_cli").parts[0].removesuffix(".py")
    imported = {found for name in imported_names(SOURCES[path]) if (found := room(name))}
    assert imported - {own} <= MAY_IMPORT[own]


@for_every(CORE)
def test_the_core_imports_no_family(path: str) -> None:
    assert not [name for name in imported_names(SOURCES[path]) if name.startswith(("cosmos_plugins", "plugins"))]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_imports_no_other_family_and_nothing_above_it(family: str) -> None:
    for path, tree in SOURCES.items():
        if path.startswith(f"plugins/{family}/"):
            for name in imported_names(tree):
                if name.startswith("cosmos_plugins."):
                    assert name.split(".")[1] == family, f"{path} imports {name}"
                assert room(name) not in {"main", "commands", "testing"}, f"{path} imports {name}"


def file_of(name: str) -> str | None:
    """The file of this project that a dotted name lies in; import name is not path for plugins."""
    place = name.replace("cosmos_plugins", "plugins", 1).replace(".", "/")
    folder = place.rpartition("/")[0]
    candidates = (f"{place}.py", f"{place}/__init__.py", f"{folder}.py", f"{folder}/__init__.py")
    return next((file for file in candidates if file in SOURCES), None)


def without(tree: ast.AST, *, types: bool = True, functions: bool = False) -> ast.AST:
    """A copy of a module without what only type checkers import, or without what is imported inside functions."""
    copy = ast.parse(ast.unparse(tree))
    for node in ast.walk(copy):
        is_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if (types and is_types) or (functions and isinstance(node, ast.FunctionDef)):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
    return copy


def imported_files(path: str, tree: ast.AST) -> set[str]:
    return {file for name in imported_names(tree) if (file := file_of(name))} - {path}


def test_no_module_imports_one_that_imports_it_not_even_inside_a_function() -> None:
    order = graphlib.TopologicalSorter({path: imported_files(path, without(SOURCES[path])) for path in SOURCES})
    order.prepare()  # raises CycleError, which names the circle


KINDS = {path.rpartition("/")[0] for path in SOURCES if re.fullmatch(r"plugins/\w+/\w+/pipeline\.py", path)}
"""Folders of the kinds of generation that a family has beside its main one."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_kind_of_generation_imports_no_other(kind: str) -> None:
    if kind == "plugins/predict2/text2world":
        return  # it is two others, one after the other
    family = kind.rpartition("/")[0]
    others = {other for other in KINDS if other != kind and other.startswith(family)}
    for path, tree in SOURCES.items():
        if path.startswith(f"{kind}/"):
            for file in imported_files(path, tree):
                assert file.rpartition("/")[0] not in others, f"{path} imports {file}"


@for_every([path for path in CORE if "/training/" in path])
def test_training_imports_no_pipeline_and_no_batch(path: str) -> None:
    for name in imported_names(SOURCES[path]):
        assert not name.startswith(("cosmos_cli.generation.pipeline", "cosmos_cli.batch")), name


def is_light(path: str) -> bool:
    """Whether a command line may reach a module before it makes anything: what it lists, checks and plans with."""
    return (
        path
        in {
            "cosmos_cli/main.py",
            "cosmos_cli/models/configs.py",
            "cosmos_cli/generation/command.py",
            "cosmos_cli/generation/plan.py",
            "cosmos_cli/generation/checks.py",
        }
        or path.startswith("cosmos_cli/models/costs/")
        or (path.startswith("plugins/") and Path(path).stem in {"commands", "inputs", "batch", "spec"})
        or path in {f"plugins/{family}/__init__.py" for family in FAMILIES}
    )


@for_every([path for path in SOURCES if is_light(path)])
def test_what_lists_checks_and_plans_imports_nothing_heavy(path: str) -> None:
    reached: dict[str, str] = {path: path}
    todo = [path]
    while todo:
        file = todo.pop()
        tree = without(SOURCES[file], functions=True)
        heavy = {name.partition(".")[0] for name in imported_names(tree)} & HEAVY
        assert not heavy, f"{reached[file]} imports {', '.join(heavy)}"
        for found in imported_files(file, tree) - reached.keys():
            reached[found] = f"{reached[file]}, which imports {found},"
            todo.append(found)


def docstrings(tree: ast.AST) -> set[ast.expr]:
    """Strings that stand alone as a statement: documentation of modules, functions and attributes."""
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


@for_every(CORE)
def test_the_core_names_no_family_in_code(path: str) -> None:
    tree = SOURCES[path]
    documentation = docstrings(tree)
    names = re.compile(rf"(?<![a-z0-9])({'|'.join(FAMILIES)}|cosmos_plugins)(?![a-z0-9])", re.IGNORECASE)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            assert not names.search(node.value), f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Name | ast.FunctionDef | ast.ClassDef | ast.Attribute | ast.arg):
            identifier = getattr(node, "id", None) or getattr(node, "name", None) or getattr(node, "attr", "")
            assert not names.search(identifier or ""), f"line {node.lineno}: {identifier}"


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call and its function as written, such as "torch.load"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


FORBIDDEN_CALLS = {"eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "os.system"}


@for_every(SOURCES)
def test_nothing_that_is_read_can_run_code(path: str) -> None:
    for function, call in calls(SOURCES[path]):
        place = f"{path} line {call.lineno}: {function}"
        arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert function not in FORBIDDEN_CALLS, place
        assert arguments.get("trust_remote_code", "False") == "False", place
        assert arguments.get("allow_pickle", "False") == "False", place
        assert arguments.get("shell", "False") == "False", place
        if function.endswith("torch.load"):
            assert arguments.get("weights_only") == "True", place


def test_unpicklers_are_subclassed_in_the_checkpoint_reader_only_and_say_what_they_allow() -> None:
    for path, tree in SOURCES.items():
        imports_pickle = [name for name in imported_names(tree) if name.split(".")[0] in {"pickle", "dill", "joblib"}]
        assert not imports_pickle or path.startswith("cosmos_cli/checkpoints/"), path
        assert all(name == "pickle" for name in imports_pickle), f"{path} hides where its names come from"
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "pickle.Unpickler" in map(ast.unparse, node.bases):
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                assert "find_class" in methods, f"{path}: {node.name} allows every class"


@for_every(SOURCES)
def test_only_the_output_module_prints_and_only_main_and_signals_exit(path: str) -> None:
    for function, call in calls(SOURCES[path]):
        place = f"{path} line {call.lineno}: {function}"
        if path != "cosmos_cli/output.py":
            assert function not in {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}, place
        if path not in {"cosmos_cli/main.py", "cosmos_cli/interrupts.py"}:
            assert function not in {"sys.exit", "exit", "os._exit"}, place


RUN = """
import atexit, sys
atexit.register(lambda: print("MODULES", *sys.modules, file=sys.stderr))
from cosmos_cli.main import main
main()
"""


def modules_loaded_by(*arguments: str, exit_code: int = 0, says: str = "", **variables: str) -> set[str]:
    """Top-level packages that one command line imports in a process of its own, which ends so and says so."""
    command = [sys.executable, "-c", RUN, *arguments]
    environment = {**os.environ, **variables}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == exit_code, result.stderr
    assert says in " ".join(result.stderr.replace("│", " ").split())
    line = next(line for line in result.stderr.splitlines() if line.startswith("MODULES "))
    return {module.partition(".")[0] for module in line.split()[1:]}


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "plugins list",
        "plugins info predict2",
        "predict2 --help",
        "predict2 video2world --help",
        "predict2 video2world --schema",
        "predict2 best-of-n --help",
        "predict2 critic --help",
        "transfer --help",
        "transfer batch --help",
        "transfer multiview --help",
    ],
)
def test_what_only_shows_something_imports_nothing_heavy(line: str) -> None:
    assert not modules_loaded_by(*line.split()) & HEAVY


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--attention", "flsh", "no attention backend 'flsh'. Did you mean sdpa-flash or flash-attention?"),
        pytest.param(
            *("--device", "cuda", "cuda does not exist;"),
            marks=pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="torch must say whether it can be used"),
        ),
    ],
)
def test_what_this_machine_or_release_lacks_is_refused_without_waiting_for_torch(
    option: str, value: str, says: str
) -> None:
    line = ("predict2", "video2world", "--model", "tiny", "--input-path", "none.png", "--prompt", "A bus.")
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PATH": str(Path(sys.executable).parent)}
    loaded = modules_loaded_by(*line, option, value, exit_code=2, says=says, **hidden)
    assert not loaded & {"torch", "transformers", "cv2"}


@pytest.mark.parametrize(
    "line", ["cosmos pre", "cosmos predict2 video2world --num", "cosmos predict2 video2world --fps "]
)
def test_completion_imports_nothing_heavy(line: str) -> None:
    protocol = {"_COSMOS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    assert not modules_loaded_by(**protocol) & HEAVY


def test_the_root_help_imports_no_family_and_no_validation() -> None:
    loaded = modules_loaded_by("--help")
    assert not loaded & {"pydantic", "rich"}


def cpu_seconds(*commands: list[str]) -> list[float]:
    """Least CPU time of each of several commands in fifteen turns; whatever else runs can only add to it."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def once(command: list[str]) -> float:
        before = used()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return used() - before

    # the first turn compiles our modules, as with every user's
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    return [min(times) for times in zip(*(map(once, commands) for _ in range(15)), strict=True)]


def test_help_costs_at_most_twice_what_its_library_costs() -> None:
    script = Path(sysconfig.get_path("scripts")) / "cosmos"
    library, own = cpu_seconds([sys.executable, "-c", "import typer"], [sys.executable, str(script), "--help"])
    assert own <= 2 * library


COMMAND = r"((cosmos (demo|models|download|batch|config|doctor|nemo|predict1|predict2|transfer)\b)|(pip|apt) install)"


def texts(tree: ast.AST) -> Iterator[str]:
    """What errors tell to do, with "{}" for what is put in."""
    for node in ast.walk(tree):
        for keyword in getattr(node, "keywords", ()):
            if keyword.arg == "fix":
                yield from _texts(keyword.value)


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


@for_every(SOURCES)
def test_a_command_in_an_error_can_be_copied(path: str) -> None:
    """It stands in backticks, or after a colon to the end of the line, or is all: then no panel breaks it."""
    for text in texts(SOURCES[path]):
        rest = re.sub(r"`[^`]+`", "", text)
        rest = re.sub(rf"(^|: ){COMMAND}.*[^.\n]$", "", rest, flags=re.MULTILINE)
        assert not re.search(COMMAND, rest), text
