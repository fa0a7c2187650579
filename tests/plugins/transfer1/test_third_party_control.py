"""A control modality of another package: its own name, its own control video, its own weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cosmos_cli.media.video import read_video
from cosmos_plugins.transfer1.checkpoints import TINY_ROOT, control_file
from tests.third_party import run_script, write_distribution

PLUGIN = """
from cosmos_cli.hookspecs import hookimpl

@hookimpl
def cosmos_register_controls(register):
    register(name="grey", help="Brightness alone.", checkpoint="grey/grey_control.pt", compute="grey_control:grey")

def grey(frames_FHWC, job):
    return frames_FHWC.mean(axis=-1, keepdims=True).astype("uint8").repeat(3, axis=-1)
"""


def test_a_modality_of_another_package_controls_a_video(clip: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    write_distribution(packages, "cosmos-grey", {"grey_control": PLUGIN}, {"grey": "grey_control"})
    weights = str(TINY_ROOT / control_file("edge"))
    spec = {"grey": {"control_weight": 1.0, "ckpt_path": weights}, "input_video_path": str(clip)}
    Path("spec.json").write_text(json.dumps(spec))
    line = ("transfer", "run", "--model", "tiny", "--controlnet-specs", "spec.json", "--num-steps", 1, "--json")
    result = run_script(*line, path=packages)
    assert result.returncode == 0, result.stderr
    frames = read_video(Path(json.loads(result.stdout)["controls"]["grey"])).frames_FHWC.astype(int)
    assert np.abs(frames[..., 0] - frames[..., 1]).max() < 8  # grey, but for the video codec

    without = run_script(*line)
    assert without.returncode == 2
    assert "Unknown modality 'grey'" in without.stderr
