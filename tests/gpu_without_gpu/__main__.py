"""Print what every kind takes on a GPU that is not there beside what is planned.

`python -m tests.gpu_without_gpu [KIND...]`, where a kind is a name such as "transfer, upscale".
"""

from __future__ import annotations

import sys

from cosmos_cli.generation.settings import DIT
from tests.gpu_without_gpu.kinds import KINDS, measure

GIB = 2**30

print(
    f"{'kind':27}{'stage':23}{'planned':>8}{'peak':>8} GiB {'planned/peak':>13}{'copies and reads, of later steps':>34}"
)
for name in sys.argv[1:] or KINDS:
    measured = measure(KINDS[name]())
    for stage, peak in sorted(measured.peak.items()):
        planned, count = measured.planned[stage], str(measured.events[stage].total())
        if stage == DIT:
            count += f", {sum(step.total() for step in measured.steps[1:])}"
        print(f"{name:27}{stage:23}{planned / GIB:8.2f}{peak / GIB:8.2f}     {planned / peak:13.3f}{count:>34}")
