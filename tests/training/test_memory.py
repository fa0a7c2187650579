"""What a plan says of memory against the bytes that live while a tiny network is trained."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.generation.networks import build_dit
from cosmos_cli.models.configs import (
    ControlBranchConfig,
    CosmosTokenizerConfig,
    GeneralDiTConfig,
    MinimalDiTConfig,
    MultiViewConfig,
    WanVAEConfig,
)
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_cli.models.minimal_dit import MinimalDiT
from cosmos_cli.training.draws import draw
from cosmos_cli.training.layout import training_layout
from cosmos_cli.training.memory import Workload, latents_THW, lora_parameters, memory_of, plan
from cosmos_cli.training.objectives import LogVariance
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.recipe import (
    Data,
    DrawsRecipe,
    Job,
    LoRARecipe,
    Model,
    ParallelRecipe,
    Recipe,
    TrainerRecipe,
)
from cosmos_cli.training.task import Batch
from cosmos_cli.training.trainer import Trainer
from cosmos_plugins.predict1_multiview.task import Predict1Task
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW
from tests.training.live_bytes import LiveBytes

SEVEN_B: dict[str, Any] = {"model_channels": 4096, "num_blocks": 28, "num_heads": 32}
SIX_VIEWS = Workload(MultiViewConfig(**SEVEN_B), tokenizer=CosmosTokenizerConfig())


def recipe_of(height: int, width: int, **changes: Any) -> Recipe:
    data = {"num_frames": 57, "height": height, "width": width, "num_views": 6} | changes.pop("data", {})
    return Recipe(
        task="", job=Job(group="", name=""), model=Model(size=""), data=Data(**data), **{"trainer": steps()} | changes
    )


def steps(precision: Any = "bfloat16") -> TrainerRecipe:
    return TrainerRecipe(max_iter=2, precision=precision)


@pytest.mark.parametrize("within", ["sub-block", "block", "none"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_plan_is_near_what_a_tiny_training_takes(precision: str, within: Any) -> None:
    variant = MULTIVIEW["tiny"]
    recipe = recipe_of(
        48,
        80,
        data={"text_channels": 128},
        trainer=steps(precision),
        parallel=ParallelRecipe(activation_checkpointing=within),
        draws=DrawsRecipe(given="per-step", augment_mean=-3.0),
    )
    workload = Workload(variant.dit, tokenizer=variant.helpers.tokenizer)
    size_THW = latents_THW(recipe, workload)
    dtype = getattr(torch, precision)
    gc.collect()
    with LiveBytes() as live:
        parallel = Parallel.form(recipe.parallel, torch.device("cpu"), precision)
        task = Predict1Task(recipe.loss, build_dit(variant.dit, "sdpa").float(), LogVariance(), dtype=dtype)
        task.networks.requires_grad_(True)
        parallel.wrap(task)
        trainer = Trainer(recipe, task, parallel)
        for step in range(recipe.trainer.max_iter):
            batch = Batch(torch.randn(1, 16, *size_THW), torch.randn(1, 6 * 512, 128).to(dtype), 24.0)
            trainer.step([(batch, draw(recipe.draws, (16, *size_THW), seed=0, step=step, places=[0]))])
    memory = memory_of(recipe, workload, 1, precision=precision)
    stages = [sum(parts.values()) for stage, parts in memory.stages.items() if stage != "encoding"]
    planned = sum(memory.always.values()) - memory.always["tokenizer"] + max(stages)
    assert planned == pytest.approx(live.peak, rel=0.2)


def test_the_original_example_needs_another_layout_on_eight_gpus_of_80_gb() -> None:
    """704 x 1280 with six views: 84 inputs of parts of blocks alone are 116 GB on every rank."""
    found = plan(recipe_of(704, 1280), SIX_VIEWS, 8, precision="bfloat16", device_bytes=80e9)
    assert found.fits is False
    assert found.memory.stages["backward pass"]["activations"] == pytest.approx(116e9, rel=0.05)
    assert sum(found.memory.always.values()) == pytest.approx(16 * 7.23e9 / 8, rel=0.05)  # four of float32 per number
    changes = {remedy.change: remedy.peak_bytes for remedy in found.remedies}
    assert changes.keys() == {
        "parallel.cp=4",
        "parallel.cp=2 parallel.activation_checkpointing=block",
        "data.height=432 data.width=800",
    }
    assert all(peak < 80e9 for peak in changes.values())
    text = found.text()
    assert "does not fit a device of 80.0 GB" in text and "would fit with parallel.cp=4" in text
    assert found.document()["fits"] is False


def test_a_layout_that_is_recommended_fits() -> None:
    recipe = recipe_of(704, 1280, parallel=ParallelRecipe(cp=4))
    found = plan(recipe, SIX_VIEWS, 8, precision="bfloat16", device_bytes=80e9)
    assert found.fits and not found.remedies and found.memory.layout.dp == 2


def test_ranks_share_what_they_can() -> None:
    def memory(ranks: int, **parallel: Any) -> Any:
        return memory_of(
            recipe_of(480, 848, parallel=ParallelRecipe(**parallel)), SIX_VIEWS, ranks, precision="bfloat16"
        )

    one, eight, copies, layers = memory(1), memory(8), memory(8, shard=4), memory(8, tp=8)
    name = "parameters, float32"
    assert eight.always[name] == one.always[name] / 8
    assert copies.always[name] == one.always[name] / 4
    assert eight.always[name] < layers.always[name] < 1.5 * eight.always[name]  # modulations are whole everywhere
    assert memory(8, cp=8).stages["backward pass"]["activations"] < eight.stages["backward pass"]["activations"] / 7


def test_adapters_leave_moments_small_and_their_numbers_are_those_of_peft() -> None:
    peft = pytest.importorskip("peft")
    small = {"model_channels": 48, "num_blocks": 2, "num_heads": 4}
    for config, build, modules in (
        (GeneralDiTConfig(**small), GeneralDiT, ("to_q.0", "layer1", "adaLN_modulation.2")),
        (MinimalDiTConfig(**small), MinimalDiT, ("q_proj", "output_proj", "mlp.layer2")),
    ):
        network = build(config)
        options = peft.LoraConfig(r=4, target_modules=list(modules))
        peft.inject_adapter_in_model(options, network)
        held = sum(weight.numel() for name, weight in network.named_parameters() if "lora_" in name)
        lora = LoRARecipe(rank=4, target_modules=modules)
        # the final layer's modulation, which no block holds, ends alike
        final = 4 * (2 * 48 + 256) if isinstance(config, GeneralDiTConfig) else 0
        assert lora_parameters(config, lora) == held - final
    lora = LoRARecipe(target_modules=("to_q.0",))
    memory = memory_of(recipe_of(480, 848, lora=lora), SIX_VIEWS, 8, precision="bfloat16")
    assert memory.always["moments of AdamW, float32"] < memory.always["parameters, float32"] / 100


def test_a_branch_is_trained_through_its_base() -> None:
    branch = ControlBranchConfig(**SEVEN_B | {"num_blocks": 3})
    recipe = recipe_of(704, 1280, data={"num_views": 1, "num_frames": 121})
    tokenizer = CosmosTokenizerConfig()
    alone = memory_of(recipe, Workload(branch, tokenizer), 8, precision="bfloat16")
    both = memory_of(recipe, Workload(branch, tokenizer, [GeneralDiTConfig(**SEVEN_B)]), 8, precision="bfloat16")
    more = both.stages["backward pass"]["activations"] - alone.stages["backward pass"]["activations"]
    assert both.always["frozen networks"] == pytest.approx(2 * 7.0e9 / 8, rel=0.1)
    assert more == pytest.approx(27 * 3 * 56_320 * 4096 * 2, rel=0.1)


def test_the_largest_models_of_robots_and_cameras_are_planned_too() -> None:
    config = MinimalDiTConfig(model_channels=5120, num_blocks=36, num_heads=40)
    recipe = recipe_of(704, 1280, data={"num_views": 1, "num_frames": 93})
    found = plan(recipe, Workload(config, WanVAEConfig()), 8, precision="bfloat16", device_bytes=80e9)
    assert found.fits is False and any("parallel.cp" in remedy.change for remedy in found.remedies)


def test_a_layout_divides_its_ranks() -> None:
    layout = training_layout(ParallelRecipe(shard=32, cp=2, tp=2), 48)
    assert (layout.dp_replicate, layout.dp_shard, layout.fsdp, layout.world_size) == (1, 12, 24, 48)
    copies = training_layout(ParallelRecipe(shard=8), 64)
    assert (copies.dp_replicate, copies.dp_shard) == (8, 8)
    with pytest.raises(InputError, match="cp 2 x tp 2 = 4 ranks work on a clip, which does not divide the 6"):
        training_layout(ParallelRecipe(cp=2, tp=2), 6)
