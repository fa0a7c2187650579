"""`--backend nemo`: what is looked for, and what is started where it is found, with a NeMo of a few written lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_cli.testing import run_cosmos
from cosmos_plugins.nemo_bridge.backend import SCRIPTS, original_of
from cosmos_plugins.nemo_bridge.recipes import NOT_HERE, RECIPES

FACTORY = "cosmos_diffusion_7b_text2world_finetune"
LINE = ("nemo", "post-train", "--backend", "nemo", "--factory", FACTORY, "data.path=cached data", "trainer.max_steps=3")
TOLD = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "project": os.environ.get("WANDB_PROJECT"),
                  "fused": os.environ["NVTE_FUSED_ATTN"], "ranks": os.environ.get("WORLD_SIZE")}))
sys.exit(int(os.environ.get("ENDS_WITH", "0")))
"""


@pytest.fixture
def nemo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages in which another process finds NeMo, and the repository around the folder that tests work in."""
    modules = {"train": "videofolder_datamodule = None", "models/model": "DiT7BConfig = None"}
    for name, text in modules.items():
        path = tmp_path / "packages/nemo/collections/diffusion" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    SCRIPTS.mkdir(parents=True)
    (SCRIPTS / "general.py").write_text(TOLD)
    return tmp_path / "packages"


def test_the_command_of_the_guide_is_shown(nemo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT_NAME", "mine")
    result = run_cosmos(*LINE, "--dry-run", "--num-gpus", 8, "--json")
    assert result.exit_code == 0, result.stderr
    started = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=8", str(SCRIPTS / "general.py")]
    given = ["--yes", "--factory", FACTORY, "data.path=cached data", "trainer.max_steps=3"]
    assert result.json["command"] == started + given
    assert result.json["environment"] == {
        "NVTE_FUSED_ATTN": "0",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "WANDB_PROJECT": "mine",
    }
    assert "'data.path=cached data'" in run_cosmos(*LINE, "--dry-run").stdout


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 3])
def test_the_script_of_nemo_is_started_and_its_end_is_that_of_the_command(nemo: Path, code: int) -> None:
    line = [sys.executable, "-m", "cosmos_cli", *LINE]
    environment = {**os.environ, "ENDS_WITH": str(code)}
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)
    assert bool(ended.returncode) == bool(code), ended.stderr
    told = json.loads(ended.stdout.splitlines()[0])
    assert told["arguments"] == ["--yes", "--factory", FACTORY, "data.path=cached data", "trainer.max_steps=3"]
    assert (told["fused"], told["ranks"]) == ("0", "1")


@pytest.mark.parametrize(
    ("module", "text", "what"),
    [
        ("train.py", "videofolder = None", "nemo.collections.diffusion.train has no videofolder_datamodule"),
        ("train.py", "import megatron_of_that_time", "cannot be imported (ModuleNotFoundError"),
        ("models/model.py", "DiTConfig = None", "nemo.collections.diffusion.models.model has no DiT7BConfig"),
        ("models/model.py", "raise SystemExit(1)", "nemo.collections.diffusion.models.model cannot be imported"),
    ],
)
def test_an_installation_without_these_models_is_told_from_one_that_has_them(
    nemo: Path, module: str, text: str, what: str
) -> None:
    (nemo / "nemo/collections/diffusion" / module).write_text(text)
    result = run_cosmos(*LINE)
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert what in said and "no release of NeMo has these models" in said


def test_all_that_was_looked_for_is_told_at_once(tmp_path: Path) -> None:
    result = run_cosmos(*LINE, "--nemo-repo", tmp_path)
    said = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2
    assert "nemo.collections.diffusion.train cannot be imported" in said
    assert "there is no cosmos1/models/diffusion/nemo/post_training/general.py" in said


def test_every_factory_of_nemo_has_its_script_and_network() -> None:
    found = {name: original_of(name) for name in (*RECIPES, *NOT_HERE) if not name.startswith("tiny")}
    assert found["cosmos_diffusion_14b_video2world_finetune"] == ("video2world.py", "DiT14BVideo2WorldConfig")
    assert found["cosmos_diffusion_7b_cameractrl_finetune"] == ("video2world.py", "DiT7BCameraCtrlConfig")
    action = found["cosmos_diffusion_14b_video2world_action_ctrl_finetune"]
    assert action == ("video2world.py", "DiT14BVideo2WorldActionConfig")
    assert found["cosmos_multicamera_diffusion_7b_image2world_finetune_w_traj"].script == "multicamera.py"
    assert found[FACTORY] == ("general.py", "DiT7BConfig")
