"""Post-training of Predict1 for one camera: recipes with the numbers of the originals, and files that load back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.generation.networks import build_dit
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.experiments import experiments
from cosmos_plugins.predict1_multiview.single_view.recipes import RECIPES, SingleViewRecipe, network_of, workload
from tests.clips import encode, moving_gradient


def test_every_experiment_of_the_original_has_its_numbers() -> None:
    assert dict(experiments("predict1")) == RECIPES
    for name, recipe in RECIPES.items():
        if "7b_example" in name:
            assert np.log2(recipe.optimizer.lr) == pytest.approx(-14.3)
            assert (recipe.trainer.max_iter, recipe.schedule.warm_up_steps) == (2000, (2500,))
    large = RECIPES["video2world_14b_example_cosmos_nemo_assets"]
    adamw = large.optimizer
    assert (adamw.lr, adamw.weight_decay, adamw.eps, large.loss.scale) == (2**-16, 0.2, 1e-11, 10.0)
    assert (large.parallel.shard, large.parallel.cp, large.schedule.cycle_lengths) == (64, 8, (90_000,))
    assert workload(large).trained.num_heads % large.parallel.cp == 0
    lora = RECIPES["text2world_7b_lora_example_cosmos_nemo_assets"]
    assert lora.lora is not None
    assert (lora.lora.rank, lora.lora.alpha, lora.optimizer.lr, lora.trainer.max_iter) == (8, 8, 1e-4, 5000)
    bridge = RECIPES["video2world_instruction_bridge_57frames"]
    assert (bridge.data.num_frames, bridge.data.height, bridge.data.width) == (57, 256, 320)
    small = RECIPES["text2world_7b_example_cosmos_nemo_assets_8gpu_40gb"]
    assert (small.data.num_frames, small.ema.enabled, small.checkpoint.asynchronous) == (33, False, False)


def test_slips_of_the_original_are_corrected() -> None:
    recipe = RECIPES["video2world_7b_example_hdvila"]
    assert isinstance(recipe, SingleViewRecipe)
    assert recipe.optimizer.lr > 0
    assert recipe.draws.sigma_multiplier == 4.0
    assert "by slips" in recipe.help
    with torch.device("meta"):
        dit = build_dit(network_of(recipe))
    assert isinstance(dit, GeneralDiT)
    assert any("extra_pos_embedder" in name for name, _ in dit.named_parameters())


@pytest.mark.parametrize("kind", ["text2world", "video2world"])
def test_exported_files_load_back(kind: str) -> None:
    line = ("predict1", "post-train", "--experiment", f"tiny_{kind}", "--device", "cpu", "--", "trainer.max_iter=3")
    trained = run_cosmos(*line)
    assert trained.exit_code == 0, trained.stderr
    folder = Path("checkpoints/posttraining", f"diffusion_{kind}", f"tiny_{kind}")
    weights = torch.load(folder / "checkpoints" / "iter_000000003_reg_model.pt", weights_only=True)
    assert {name.partition(".")[0] for name in weights} == {"net", "logvar"}
    encode(Path("in.mp4"), moving_gradient(9, 48, 80))
    given = ["--input-image-or-video-path", "in.mp4", "--num-input-frames", 1] if kind == "video2world" else []
    made = run_cosmos(
        "predict1",
        kind,
        *("--model", "tiny", "--diffusion-transformer-dir", folder, "--prompt", "On it goes.", "--num-steps", 1),
        *given,
    )
    assert made.exit_code == 0, made.stderr
    assert Path("outputs/output.mp4").stat().st_size
