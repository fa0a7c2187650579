"""A batch file for Slurm: an array of tasks that share the rows of a batch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from cosmos_cli.settings import Spreading

DEFAULT_TASKS = 8
_NOTICE_S = 120
"""The signal comes so many seconds before the time limit."""
_OF_THE_ARRAY = {"--slurm": 0, "--no-slurm": 0, "--num-workers": 1, "--time-limit": 1, "--share": 1}
"""Options that the tasks are not given, and how many words follow each."""


def array_file(arguments: Sequence[str], device: str, num_gpus: int, spreading: Spreading) -> str:
    """What `sbatch` is given: every task makes its share, and is put back into the queue if it is stopped.

    Args:
        arguments: of the command that asks for it.
    """
    num_tasks = spreading.num_workers or DEFAULT_TASKS
    gpus = [] if device == "cpu" else [f"#SBATCH --gpus-per-node={num_gpus}"]
    words = list(_without_array(arguments))
    name = "-".join(word for word in words[:2] if re.fullmatch(r"[A-Za-z0-9][\w-]*", word))
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name=cosmos-{name}",
            f"#SBATCH --array=1-{num_tasks}",
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            *gpus,
            f"#SBATCH --time={spreading.time_limit}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"#SBATCH --signal=B:USR1@{_NOTICE_S}",
            "#SBATCH --output=slurm-%x-%A-%a.log",
            "",
            "# before the time limit a task goes back into the queue, and then on with what is missing of its share",
            "trap 'scontrol requeue \"$SLURM_JOB_ID\"' USR1",
            "# since Slurm 22.05 srun does not take over by itself what sbatch was told of cores",
            '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
            f'srun cosmos {shlex.join(words)} --share "$SLURM_ARRAY_TASK_ID/{num_tasks}" &',
            "wait $!",
        ]
    )


def _without_array(arguments: Sequence[str]) -> Iterator[str]:
    num_passed = 0
    for word in arguments:
        name, _, value = word.partition("=")
        name = name.replace("_", "-") if word.startswith("--") else word
        if num_passed:
            num_passed -= 1
        elif name in _OF_THE_ARRAY:
            num_passed = 0 if value else _OF_THE_ARRAY[name]
        else:
            yield word
