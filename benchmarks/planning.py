"""What `--plan` says a run will take beside what it takes, for the tiny models on a CPU, as a user starts them.

`python -m benchmarks.planning` makes one video with each model so that the machine is known, then others with another
number of steps, and prints the planned and the actual seconds and memory of each as ratios planned/actual: 1 is right.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.clips import encode, moving_gradient

NUM_FRAMES, HEIGHT, WIDTH = 121, 480, 640
FIRST_STEPS, STEPS = 10, (20, 35, 35)
PARTS = (("seconds", 1.0, "s"), ("host_peak_bytes", 2.0**30, "GiB"))


def commands(folder: Path) -> dict[str, list[str]]:
    """Model to the command line of a run, but for its steps."""
    clip = encode(folder / "clip.mp4", moving_gradient(NUM_FRAMES, HEIGHT, WIDTH), fps=24)
    spec = folder / "spec.json"
    spec.write_text(json.dumps({"edge": {"control_weight": 0.5}, "vis": {"control_weight": 0.5}}))
    return {
        "transfer": ["transfer", "run", "--controlnet-specs", str(spec), "--input-video-path", str(clip)],
        "video2world": ["predict2", "video2world", "--input-path", str(clip), "--prompt", "It drifts on."],
    }


def planned_and_actual(folder: Path, name: str, command: list[str], num_steps: int) -> tuple[Any, Any]:
    """Both as the sidecar of a run tells them."""
    out = folder / f"{name}-{num_steps}"
    place = ["--video-save-folder", str(out)] if name == "transfer" else ["--save-path", str(out / "output.mp4")]
    cosmos = [sys.executable, "-m", "cosmos_cli", *command, *place, "--num-steps", str(num_steps), "--overwrite"]
    subprocess.run(
        [*cosmos, "--model", "tiny", "--cache-dir", str(folder / "cache")], check=True, stderr=subprocess.DEVNULL
    )
    document = json.loads((out / "output.json").read_text())
    return document["planned"], document["actual"]


def run() -> list[dict[str, Any]]:
    """Rows with `name`, `ours` (planned), `peer` (actual), `ratio` (ours / peer, 1 is right) and `unit`."""
    rows = []
    with tempfile.TemporaryDirectory() as path:
        for name, command in commands(Path(path)).items():
            planned_and_actual(Path(path), name, command, FIRST_STEPS)
            for num_steps in STEPS:
                planned, actual = planned_and_actual(Path(path), name, command, num_steps)
                for key, size, unit in PARTS:
                    ours, peer = (each[key]["total"] if key == "seconds" else each[key] for each in (planned, actual))
                    what = "time" if key == "seconds" else "memory"
                    rows.append(
                        {
                            "name": f"plan of {name}, {num_steps} steps, {what}: planned beside actual",
                            "ours": ours / size,
                            "peer": peer / size,
                            "ratio": ours / peer,
                            "unit": unit,
                        }
                    )
    return rows


def main() -> None:
    for row in run():
        print(f"{row['name']:66} {row['ours']:9.3f} {row['peer']:9.3f} {row['unit']:4} {row['ratio']:6.2f}", flush=True)


if __name__ == "__main__":
    main()
