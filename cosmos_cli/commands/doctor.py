"""`cosmos doctor`: whether this machine can run the models, and what to do where it cannot."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from cosmos_cli import output, registry
from cosmos_cli.catalogues import catalogues
from cosmos_cli.checkpoints.catalogue import DEFAULT_ROOT, download_command
from cosmos_cli.commands.options import CheckpointDir
from cosmos_cli.flags import JsonFlag
from cosmos_cli.health import CHECKS, Check, Finding
from cosmos_cli.registered import Extension

app = typer.Typer(invoke_without_command=True, subcommand_metavar="")


@app.callback()
def doctor(checkpoint_dir: CheckpointDir = DEFAULT_ROOT, json: JsonFlag = False) -> None:
    """Check this machine; the exit code is 1 if something fails. Example: cosmos doctor"""
    findings = {name: _run(check, checkpoint_dir) for name, check in {**CHECKS, "checkpoints": _checkpoints}.items()}
    for name, extension in sorted(registry.current().extensions.get("doctor_checks", {}).items()):
        findings[f"{extension.plugin}:{name}"] = _run(partial(_registered, extension), checkpoint_dir)
    lines: list[tuple[str, str, str]] = []
    for name, finding in findings.items():
        lines.append((finding.state, name, finding.what))
        if finding.fix:
            lines.append(("", "", finding.fix))
    failed = [name for name, finding in findings.items() if finding.state == "failure"]
    checks = [{"name": name, "state": f.state, "what": f.what, "fix": f.fix} for name, f in findings.items()]
    output.result(
        output.table(("STATE", "CHECK", "FINDING"), lines),
        {"status": "failed" if failed else "ok", "checks": checks},
    )
    if failed:
        raise typer.Exit(1)


def _registered(extension: Extension, checkpoint_dir: Path) -> Finding:
    finding: Finding = extension.resolve()(checkpoint_dir)
    return finding


def _run(check: Check, checkpoint_dir: Path) -> Finding:
    try:
        return check(checkpoint_dir)
    # a check that breaks tells about the machine too, and must not hide the others
    except (Exception, SystemExit) as error:
        return Finding("failure", f"the check broke ({type(error).__name__}: {error})")


def _checkpoints(checkpoint_dir: Path) -> Finding:
    """Which models are complete, and what was begun and not ended."""
    complete, begun = [], []
    for family, catalogue in catalogues().items():
        for model, repositories in catalogue.items():
            # others share the text encoder, so a model has begun with its own first repository
            missing = [bool(repository.missing(checkpoint_dir)) for repository in repositories]
            if not any(missing):
                complete.append(f"{family}/{model}")
            elif repositories[0].has_any(checkpoint_dir):
                begun.append(f"{family}/{model}")
    parts = sorted(checkpoint_dir.glob("*/*/**/.*.part"))
    if parts:
        size = sum(path.stat().st_size for path in parts) / 1e9
        what = f"{len(parts)} files ({size:.1f} GB) are partly fetched"
        return Finding("warning", what, "Run the same `cosmos download` again: it goes on where it stopped.")
    if complete or begun:
        text = [f"complete: {', '.join(complete)}"] if complete else []
        text += [f"in part: {', '.join(begun)}"] if begun else []
        return Finding("ok", "; ".join(text))
    fix = f"See `cosmos models`, then for example: {download_command(['FAMILY'], checkpoint_dir)}"
    return Finding("warning", f"no model in {checkpoint_dir}; only --model tiny works", fix)
