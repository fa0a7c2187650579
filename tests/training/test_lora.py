"""Adapters in place of a network's own training: what learns, what is written, and that it is read again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.lora import merge_lora
from cosmos_cli.errors import InputError
from cosmos_cli.generation.networks import load_dit
from cosmos_cli.models.configs import MinimalDiTConfig
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.checks import check_run
from cosmos_cli.training.data.examples import collate
from cosmos_cli.training.data.mock import MockClips
from cosmos_cli.training.draws import draw
from cosmos_cli.training.export import adapter_path, export_adapter
from cosmos_cli.training.lora import adapt
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import LoRARecipe, OptimizerRecipe
from cosmos_cli.training.requests import TrainingSettings
from cosmos_cli.training.task import Where
from cosmos_cli.training.trainer import Trainer
from cosmos_plugins.predict1_multiview.recipes import RECIPES
from cosmos_plugins.predict1_multiview.task import multiview, weights_of
from tests.plugins.predict1_multiview.conftest import six_views

pytest.importorskip("peft")
CPU = torch.device("cpu")
LORA = LoRARecipe(rank=2, alpha=6)
RECIPE = RECIPES["tiny_video2world_multiview"].model_copy(
    update={"lora": LORA, "optimizer": OptimizerRecipe(lr=1e-2, weight_decay=0.0)}
)


def trained(precision: str, num_steps: int) -> tuple[Trainer, LoRARecipe, dict[str, Tensor]]:
    """The tiny model after some steps, its adapters as it spells them, and its weights before."""
    where = Where(CPU, getattr(torch, precision), Path("nowhere"))
    task = multiview(RECIPE, where)
    spelt = adapt(task.networks, LORA, seed=0)
    start = {name: tensor.float().clone() for name, tensor in task.networks.state_dict().items()}
    parallel = Parallel.form(RECIPE.parallel, CPU, precision)
    parallel.wrap(task)
    trainer = Trainer(RECIPE, task, parallel)
    with torch.no_grad():
        batch = task.encode(collate([MockClips(RECIPE).example(0, torch.Generator())]))
    for step in range(num_steps):
        trainer.step([(batch, draw(RECIPE.draws, batch.latents_BCTHW.shape[1:], seed=0, step=step, places=(0,)))])
    return trainer, spelt, start


def forward(net: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 12, 4, 6, generator=generator)
    text = torch.randn(1, 6 * 16, 128, generator=generator)
    mask = torch.zeros(1, 1, 12, 4, 6)
    with torch.no_grad():
        out: Tensor = net(x, torch.tensor([0.3]), text, condition_mask_B1THW=mask, fps=24.0)
    return out


def test_adapters_alone_learn_and_what_is_exported_merges_to_the_network_that_learnt(tmp_path: Path) -> None:
    trainer, spelt, start = trained("float32", 3)
    weights: dict[str, Any] = trainer.task.networks.state_dict()
    changed = {name for name, tensor in weights.items() if not torch.equal(tensor, start[name])}
    assert changed == set(trainer.parameters) and all(".lora_" in name for name in changed)
    assert len(changed) == 2 * 4 * 10  # A and B of ten layers in each of four blocks
    assert trainer.ema is not None
    export_adapter(tmp_path, 3, trainer.task.networks, spelt, trainer.ema.averages)
    tiny = weights_of(RECIPE, Where(CPU, torch.float32, Path("nowhere")))
    for kind in ("reg", "ema"):
        merged: GeneralDiT = load_dit(tiny, trainer.task.networks["net"].config).float()
        before = forward(merged)
        assert merge_lora(merged, adapter_path(tmp_path, 3, kind)) == 40
        with trainer.ema.in_place() if kind == "ema" else torch.no_grad():
            adapted = forward(trainer.task.networks["net"])
        torch.testing.assert_close(forward(merged), adapted, rtol=1e-5, atol=1e-5)
        assert float((adapted - before).abs().max()) > 1e-3, kind


def test_a_lora_is_trained_by_a_command_and_used_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = ("experiment=tiny_video2world_multiview", "lora.rank=2", "optimizer.lr=0.3", "trainer.max_iter=2")
    trained = run_cosmos("predict1-multiview", "post-train", "--device", "cpu", "--", *changes)
    assert trained.exit_code == 0, trained.stderr
    folder = "checkpoints/posttraining/diffusion_video2world/tiny_video2world_multiview/checkpoints"
    assert f"{folder}/iter_000000002_ema_lora" in trained.stdout
    line = ["predict1-multiview", "run", "--model", "tiny", "--num_steps", "1", "--device", "cpu", "--guidance", "0"]
    line += ["--prompt", "A street.", "--input_image_or_video_path", str(six_views("views.mp4", 9))]
    lora, made = ["--lora-path", f"{folder}/iter_000000002_lora"], {}
    for name, chosen in {"plain": [], "lora": lora, "strong": [*lora, "--lora-alpha", "600"]}.items():
        result = run_cosmos(*line, *chosen, "--video_save_name", name)
        assert result.exit_code == 0, result.stderr
        made[name] = Path(f"outputs/{name}.mp4").read_bytes()
    assert len(set(made.values())) == 3
    for wrong, exit_code in (["--lora-alpha", "2"], 2), (["--lora-path", "nowhere"], 4):
        result = run_cosmos(*line, *wrong, "--video_save_name", "wrong")
        assert (result.exit_code, wrong[0] in result.stderr) == (exit_code, True)


def test_adapters_learn_where_the_network_computes_in_bfloat16() -> None:
    trainer, _, _ = trained("bfloat16", 2)
    learnt = {name: parameter.detach().full_tensor() for name, parameter in trainer.parameters.items()}  # type: ignore[attr-defined]
    assert {tensor.dtype for tensor in learnt.values()} == {torch.float32}
    assert all(float(tensor.abs().max()) > 0 for name, tensor in learnt.items() if "lora_B" in name)


def test_adapters_change_nothing_at_first_and_are_the_same_for_every_rank() -> None:
    config = MinimalDiTConfig(model_channels=48, num_blocks=2, num_heads=4)
    first, second = (nn.ModuleDict({"net": MinimalDiT(config)}) for _ in range(2))
    spelt = [adapt(networks, LORA, seed=3) for networks in (first, second)]
    assert spelt == [LORA, LORA]  # the names of Predict2's own recipes
    theirs = dict(second.named_parameters())
    for name, parameter in first.named_parameters():
        if ".lora_" in name:
            assert torch.equal(parameter, theirs[name])
            assert ("lora_B" in name) == (not parameter.any())


def test_a_layer_that_is_not_there_is_told_with_those_that_are() -> None:
    networks = nn.ModuleDict({"net": MinimalDiT(MinimalDiTConfig(model_channels=48, num_blocks=1, num_heads=4))})
    with pytest.raises(InputError) as caught:
        adapt(networks, LoRARecipe(target_modules=("q_prj", "v_proj", "")), seed=0)
    assert [problem.what for problem in caught.value.problems] == [
        "The network has no linear layer whose name ends in 'q_prj'.",
        "The network has no linear layer whose name ends in ''.",
    ]
    assert "q_proj" in str(caught.value.problems[0].fix)
    assert not any(".lora_" in name for name in networks.state_dict())


def test_without_peft_it_is_said_before_anything_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"cosmos-cli\[lora\]"):
        check_run(RECIPE, TrainingSettings())
