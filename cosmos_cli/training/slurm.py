"""A batch file for Slurm that starts a post-training, and starts it again until it is done."""

from __future__ import annotations

import re
import shlex

from cosmos_cli.interrupts import ASKED_EXIT_CODE
from cosmos_cli.requests import option_name
from cosmos_cli.training.experiments import experiments
from cosmos_cli.training.job_folder import differences
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.requests import PostTraining, TrainingSettings

_NAMED = {"num_gpus", "checkpoint_dir", "output_root", "device", "attention"}
"""Settings that every batch file names."""
_NOTICE_S = 300
"""The signal comes so many seconds before the time limit: enough for a step and a checkpoint."""


def batch_file(family: str, named: Recipe, recipe: Recipe, training: PostTraining, settings: TrainingSettings) -> str:
    """What `sbatch` is given: one task per GPU; requeued after its time limit, or when a node is lost."""
    # a run may be called otherwise than its recipe
    experiment = next(name for name, each in experiments(family).items() if each == named)
    arguments = ["--num-gpus", str(training.nodes * settings.num_gpus), "--experiment", experiment]
    arguments += ["--checkpoint-dir", str(settings.checkpoint_dir), "--output-root", str(settings.output_root)]
    arguments += ["--device", settings.device, "--attention", settings.attention]
    arguments += _further(settings)
    changes = [f"{name}={_word(value)}" for name, (value, _) in differences(recipe, named).items()]
    if changes:
        arguments += ["--", *changes]
    return "\n".join(
        [
            "#!/bin/bash",
            # Slurm does not read it as the shell does
            f"#SBATCH --job-name={re.sub(r'[^A-Za-z0-9_.-]+', '-', recipe.job.name)}",
            f"#SBATCH --nodes={training.nodes}",
            f"#SBATCH --ntasks-per-node={settings.num_gpus}",
            f"#SBATCH --gpus-per-node={settings.num_gpus}",
            f"#SBATCH --time={training.time_limit}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"#SBATCH --signal=USR1@{_NOTICE_S}",
            # in the folder where sbatch is called: in one that is not there yet Slurm would write nothing and fail
            "#SBATCH --output=slurm-%x-%j.log",
            "",
            "# every task is a rank: they find each other through Slurm; on USR1 they save and leave",
            f"srun --kill-on-bad-exit=1 cosmos {family} post-train {shlex.join(arguments)}",
            "code=$?",
            f'if [ "$code" -eq {ASKED_EXIT_CODE} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
            'exit "$code"',
        ]
    )


def _further(settings: TrainingSettings) -> list[str]:
    """Options of the machine that were given, and that no default stands for."""
    words: list[str] = []
    for name in sorted(settings.model_fields_set - _NAMED):
        value = getattr(settings, name)
        if value is True:
            words.append(option_name(name))
        elif value not in (None, False):
            words += [option_name(name), str(value)]
    return words


def _word(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ",".join(_word(item) for item in value) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
