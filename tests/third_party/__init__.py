"""Installing plugins for tests: real distributions with pip, or a few written lines, and the real `cosmos` script."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

COSMOS = Path(sysconfig.get_path("scripts")) / "cosmos"
HERE = Path(__file__).parent


def pip_install(target: Path, *sources: Path) -> None:
    """Build and install distributions into a folder, without network. The build leaves traces in the sources."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--upgrade", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, *offline, "--target", str(target), *map(str, sources)], check=True, timeout=120)


def run_script(
    *arguments: object, path: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed `cosmos` in a process of its own.

    Args:
        path: folder with further packages, as if they were installed.
        variables: further environment variables.
    """
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {}), **(variables or {})}
    command = [str(COSMOS), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def complete(line: str, path: Path | None = None) -> list[str]:
    """What bash is offered when Tab is pressed at the end of the line."""
    protocol = {"_COSMOS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    result = run_script(path=path, variables=protocol)
    assert result.stderr == ""
    return result.stdout.split()


def write_distribution(
    folder: Path,
    name: str,
    modules: Mapping[str, str],
    plugins: Mapping[str, str],
    guardrails: Mapping[str, str] | None = None,
) -> None:
    """Put a distribution into a folder of `sys.path`, as an installer would leave it there.

    Args:
        modules: module name to source.
        plugins: entry point name to module, in the group `cosmos.plugins`.
        guardrails: the same in the group `cosmos.guardrails`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = {"cosmos.plugins": plugins, "cosmos.guardrails": guardrails or {}}
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))
