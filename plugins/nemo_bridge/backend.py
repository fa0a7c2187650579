"""`--backend nemo`: the original recipes, started by their own scripts, where NeMo is installed with these models."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from cosmos_cli import output
from cosmos_cli.errors import InputError, Problem
from cosmos_cli.runtime.workers.rank import find_rank
from cosmos_plugins.nemo_bridge.recipes import NOT_HERE, RECIPES
from cosmos_plugins.nemo_bridge.training_requests import NemoPostTraining, NemoTrainingSettings

SCRIPTS = Path("cosmos1/models/diffusion/nemo/post_training")
_PLACES = (Path(), Path("/workspace/Cosmos"), Path("/opt/Cosmos"))
"""Where the guides of NeMo keep the repository."""

NEEDED: Sequence[tuple[str, str]] = (
    ("nemo.collections.diffusion.train", "videofolder_datamodule"),
    ("nemo.collections.diffusion.models.model", "{config}"),
)
"""Modules and what they must have: no public release of NeMo does, only the branches `vfm` and `physicalai`."""

_ENVIRONMENT = {
    "NVTE_FUSED_ATTN": "0",
    "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}
_TIMEOUT_S = 300
_LOOK = """
import importlib, sys
for module, name in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        found = hasattr(importlib.import_module(module), name)
    except BaseException as error:
        sys.exit(f"{module} cannot be imported ({type(error).__name__}: {error})")
    if not found:
        sys.exit(f"{module} has no {name}")
"""


class Original(NamedTuple):
    """A factory of NeMo: its script, and the configuration class of its network."""

    script: str
    config: str


def launch(factory: str, overrides: Sequence[str], training: NemoPostTraining, settings: NemoTrainingSettings) -> None:
    """Start NeMo's script with what the user wrote, or show the command that would.

    Raises:
        InputError: NeMo, its models or its scripts are not here; says all that was looked for.
        typer.Exit: the script has ended, with its exit code.
    """
    if training.slurm or find_rank() is not None:
        raise InputError(
            "NeMo's script is started by torchrun, which this command does itself.",
            where="--backend",
            fix="Start the command without torchrun, Slurm and --slurm, with --num-gpus.",
        )
    original = original_of(factory)
    line = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={settings.num_gpus}"),
        str(_script(original, training.nemo_repo)),
        *("--yes", "--factory", factory, *overrides),
    ]
    environment = _environment()
    if training.dry_run:
        said = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(line)])
        output.result(said, {"status": "ok", "command": line, "environment": environment})
        return
    code = subprocess.run(line, env={**os.environ, **environment}).returncode
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)


def original_of(factory: str) -> Original:
    """The script and the network of one of NeMo's factories. Raises InputError: it is none."""
    if factory.startswith("tiny") or factory not in {*RECIPES, *NOT_HERE}:
        raise InputError(f"{factory} is no factory of NeMo.", where="--factory", fix="Leave --backend nemo out.")
    if "multicamera" in factory:
        return Original("multicamera.py", "DiTConfig")
    size = "14B" if "_14b_" in factory else "7B"
    kind = "" if "text2world" in factory else "CameraCtrl" if "cameractrl" in factory else "Video2World"
    suffix = "Action" if "action" in factory else ""
    return Original("video2world.py" if kind else "general.py", f"DiT{size}{kind}{suffix}Config")


def _environment() -> dict[str, str]:
    """What NeMo's guide sets, unless the user has; and the name that its logger reads for the one that it does not."""
    environment = {name: os.environ.get(name, value) for name, value in _ENVIRONMENT.items()}
    project = os.environ.get("WANDB_PROJECT_NAME")
    if project and not os.environ.get("WANDB_PROJECT"):
        environment["WANDB_PROJECT"] = project
    return environment


def _script(original: Original, repo: Path | None) -> Path:
    """Where NeMo's script lies, on a machine that can run it.

    Raises:
        InputError: says all that was looked for, and what of it is not there.
    """
    places = (repo,) if repo is not None else _PLACES
    paths = [place / SCRIPTS / original.script for place in places]
    script = next((path for path in paths if path.is_file()), None)
    problems = []
    if missing := _missing(original.config):
        problems.append(
            Problem(
                f"{missing}. It takes NeMo's branch vfm or physicalai with its branch of Megatron-LM, as in the "
                "container nvcr.io/nvidia/nemo:cosmos.1.0.1; no release of NeMo has these models.",
                "--backend",
                "Leave --backend nemo out: the native engine trains on the same data.",
            )
        )
    if script is None:
        problems.append(
            Problem(
                f"there is no {SCRIPTS / original.script} in {', '.join(str(place.absolute()) for place in places)}.",
                "--nemo-repo",
                "Pass --nemo-repo FOLDER, a clone of NVIDIA's Cosmos 1.0 repository.",
            )
        )
    if problems:
        raise InputError.from_problems(problems)
    assert script is not None
    return script


def _missing(config: str) -> str | None:
    """What is missing of an installation of NeMo with a network; None if nothing is. Another process imports it."""
    needed = [part.format(config=config) for pair in NEEDED for part in pair]
    try:
        looked = subprocess.run(
            [sys.executable, "-c", _LOOK, *needed], capture_output=True, text=True, timeout=_TIMEOUT_S, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return f"{needed[0]} was not imported within {_TIMEOUT_S} s"
    if not looked.returncode:
        return None
    said = looked.stderr.strip().splitlines() or [f"{needed[0]} cannot be imported"]
    return re.sub(r"[.\s]*$", "", said[-1])[:300]
