"""The recipes of the tiny models, from clips to files that inference reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import run_cosmos
from cosmos_cli.worlds.shipping import ship_network
from cosmos_plugins.transfer1.checkpoints import base_file
from cosmos_plugins.transfer1.networks import load_base
from cosmos_plugins.transfer1.variants import VARIANTS

STEP = ("trainer.max_iter=1", "data.batch_size=1", "data.num_mock_clips=2")


def trained(root: Path, family: str, name: str, *changes: str) -> Path:
    """The weights after one step."""
    line = (family, "post-train", "--experiment", name, "--device", "cpu", "--output-root", str(root))
    result = run_cosmos(*line, "--", *STEP, "schedule.warm_up_steps=[0]", *changes)
    assert result.exit_code == 0, result.stderr
    return root / "posttraining/tiny" / name / "checkpoints/iter_000000001_reg_model.pt"


def test_branches_begin_on_the_base_that_was_trained(tmp_path: Path) -> None:
    variant = VARIANTS["tiny"]
    base = tmp_path / base_file(variant, driving=False)
    ship_network(trained(tmp_path, "transfer", "tiny_worlds_base", "log.sample_iter=1"), base, "base_model.")
    options = {"driving": False, "distilled": False, "attention": "sdpa"}
    network = load_base(base, variant, **options, dtype=torch.float32, device=torch.device("cpu"))  # type: ignore[arg-type]
    shipped = load_base(
        TINY_ROOT / base_file(variant, driving=False),
        variant,
        **options,
        dtype=torch.float32,
        device=torch.device("cpu"),  # type: ignore[arg-type]
    )
    name = "blocks.block0.blocks.0.block.attn.to_q.0.weight"
    assert not torch.equal(network.state_dict()[name], shipped.state_dict()[name])
    # a branch that begins on it has its first layers, which one step with a warm rate hardly moves
    branch = trained(tmp_path, "transfer", "tiny_worlds_seg", f"model.base_path={base}", "optimizer.lr=0")
    weights = torch.load(branch, weights_only=True)
    torch.testing.assert_close(weights[f"net.{name}"].float(), network.state_dict()[name])


@pytest.mark.parametrize(
    ("family", "name"), [("predict2", "tiny_worlds"), ("predict1-multiview", "tiny_worlds_multiview")]
)
def test_networks_learn_from_chance(family: str, name: str, tmp_path: Path) -> None:
    group = "tiny" if family == "predict2" else "diffusion_video2world"
    trained(tmp_path, family, name)
    [export] = tmp_path.glob(f"posttraining/{group}/{name}/checkpoints/*_reg_model.pt")
    assert all(tensor.isfinite().all() for tensor in torch.load(export, weights_only=True).values())
