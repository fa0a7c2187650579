"""Post-training of Predict2: recipes with the numbers of the originals, tasks of every kind, files that load back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import CheckpointError, InputError
from cosmos_cli.models.action_dit import ActionDiT
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.data.examples import Examples, collate
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.draws import draw
from cosmos_cli.training.experiments import experiments, find
from cosmos_cli.training.parallel import Parallel
from cosmos_cli.training.task import Where
from cosmos_plugins.predict2.action.training_data import BridgeClips
from cosmos_plugins.predict2.recipes import RECIPES, action_workload, multiview_workload
from cosmos_plugins.predict2.task import Predict2Task, action, multiview, video2world
from tests.clips import encode, moving_gradient

CPU = Where(torch.device("cpu"), torch.float32, Path("checkpoints"))


def test_every_experiment_of_the_original_has_its_numbers() -> None:
    assert dict(experiments("predict2")) == RECIPES
    training = "predict2_video2world_training"
    facts = {
        name: (
            round(float(np.log2(recipe.optimizer.lr)), 3),
            recipe.schedule.f_max[0],
            recipe.schedule.f_min[0],
            recipe.schedule.cycle_lengths[0],
            recipe.optimizer.weight_decay,
            recipe.parallel.cp,
            recipe.parallel.shard,
            recipe.trainer.max_iter,
            recipe.checkpoint.save_iter,
        )
        for name, recipe in RECIPES.items()
    }
    assert facts[f"{training}_2b_cosmos_nemo_assets"] == (-14.5, 0.6, 0.0, 1000, 0.1, 2, 8, 1000, 500)
    assert facts[f"{training}_14b_video2world_data"] == (-14.5, 0.25, 0.0, 1000, 0.2, 8, 32, 1000, 500)
    assert facts[f"{training}_14b_groot_gr1_480"][:7] == (-14.5, 0.2, 0.1, 100_000, 0.1, 4, 32)
    agibot = f"{training}_2b_agibot_head_center_fisheye_color"
    assert facts[f"{agibot}_480p_10fps"] == (-15.5, 0.99, 0.0, 400_000, 0.1, 1, 8, 100_000, 500)
    assert facts[f"{agibot.replace('2b', '14b')}"] == (-15.5, 0.2, 0.0, 50_000, 0.2, 8, 32, 100_000, 500)
    waymo = "predict2_multiview_training_2b_720p_10fps_7views_29frames_waymo5views"
    assert facts[waymo] == (-14.5, 0.25, 0.1, 40_000, 0.1, 8, 8, 100_000, 500)
    assert RECIPES[waymo].data.view_indices == (4, 5, 0, 1, 2)
    assert RECIPES[waymo].draws.sigma_multiplier == pytest.approx(8**0.5)
    assert multiview_workload(RECIPES[waymo]).trained.model_channels == 2048


def test_odd_numbers_are_those_of_the_original_or_said_to_be_corrected() -> None:
    recipe = RECIPES["predict2_video2world_training_2b_cosmos_nemo_assets"]
    assert (recipe.draws.sigma_multiplier, recipe.draws.given, recipe.draws.given_min) == (24**0.5, "per-clip", 1)
    assert recipe.schedule.warm_up_steps == (0,)
    assert recipe.optimizer.clip_norm == 1.0
    assert "clipped" in recipe.help
    groot = RECIPES["predict2_video2world_training_2b_groot_gr1_480"]
    assert not groot.ema.enabled
    assert "model-720p-16fps" in groot.checkpoint.load_path
    agibot = RECIPES["predict2_video2world_training_2b_agibot_head_center_fisheye_color_720p_10fps"]
    assert (agibot.data.num_frames, agibot.draws.given_max, agibot.draws.sigma_multiplier) == (61, 1, 4.0)
    assert "2.0" in agibot.help
    for size, rank in (("2b", 16), ("14b", 32)):
        lora = RECIPES[f"predict2_video2world_lora_training_{size}_cosmos_nemo_assets"].lora
        assert lora is not None
        assert (lora.rank, lora.alpha) == (rank, rank)


def examples_of(name: str) -> Examples:
    dataset = open_dataset(RECIPES[name])
    return collate([dataset.example(index, torch.Generator()) for index in range(2)])


@pytest.mark.parametrize(
    ("name", "build"), [("tiny_video2world", video2world), ("tiny_multiview", multiview), ("tiny_action", action)]
)
def test_every_parameter_learns(name: str, build: type[Predict2Task]) -> None:
    recipe = RECIPES[name]
    task = build(recipe, CPU)
    Parallel.form(recipe.parallel, CPU.device, "float32").wrap(task)
    batch = task.encode(examples_of(name))
    draws = draw(recipe.draws, batch.latents_BCTHW.shape[1:], seed=0, step=0, places=(0, 1))
    loss = task.loss(batch, replace(draws, text_keep_B=torch.ones(2)))
    loss.total.backward()
    without = [n for n, parameter in task.networks.named_parameters() if parameter.grad is None]
    assert not without
    if name == "tiny_action":
        other = replace(batch, extras={"actions": -batch.extras["actions"]})
        assert not torch.equal(task.loss(other, draws).total, task.loss(batch, draws).total)
    if name == "tiny_multiview":
        other = replace(batch, extras={"view_indices": torch.tensor([[4, 5], [4, 5]])})
        assert not torch.equal(task.loss(other, draws).total, task.loss(batch, draws).total)


def test_a_view_does_not_reach_the_latents_of_another() -> None:
    task = multiview(RECIPES["tiny_multiview"], CPU)
    examples = examples_of("tiny_multiview")
    changed = examples.frames_BFHWC.clone()
    changed[:, :5] = 0
    one, two = (task.encode(each).latents_BCTHW for each in (examples, replace(examples, frames_BFHWC=changed)))
    assert not torch.equal(one[:, :, :2], two[:, :, :2])
    assert torch.equal(one[:, :, 2:], two[:, :, 2:])


def test_what_reads_actions_begins_from_chance_where_a_file_has_none(tmp_path: Path) -> None:
    recipe = RECIPES["tiny_action"]
    whole = action(recipe, CPU).networks["net"].state_dict()
    base = {f"net.{name}": tensor for name, tensor in whole.items() if "action_embedder" not in name}
    torch.save(base, tmp_path / "base.pt")
    from_base = find("predict2", "tiny_action", [f"checkpoint.load_path={tmp_path / 'base.pt'}"])
    first, second = (action(from_base, CPU).networks["net"] for _ in range(2))
    assert isinstance(first, ActionDiT)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, whole[name]) != ("action_embedder" in name), name
        assert torch.equal(tensor, second.state_dict()[name])
    assert action_workload(recipe).trained.model_channels == 64


def test_weights_that_are_not_there_are_told_before_anything_loads() -> None:
    recipe = find("predict2", "tiny_video2world", ["checkpoint.load_path=nowhere.pt"])
    with pytest.raises(CheckpointError, match="not there"):
        video2world(recipe, CPU)


def bridge(root: Path, num_actions: int) -> None:
    (root / "annotation" / "train").mkdir(parents=True)
    (root / "videos" / "train" / "7").mkdir(parents=True)
    encode(root / "videos" / "train" / "7" / "rgb.mp4", moving_gradient(num_actions + 1, 48, 64))
    document = {
        "action": [[0.01 * step] * 7 for step in range(num_actions)],
        "continuous_gripper_state": [0.5] * (num_actions + 1),
        "videos": [{"video_path": "videos/train/7/rgb.mp4"}],
    }
    (root / "annotation" / "train" / "7.json").write_text(json.dumps(document))


def test_a_robots_window_has_the_actions_between_its_frames(tmp_path: Path) -> None:
    bridge(tmp_path, 14)
    recipe = find("predict2", "tiny_action", [f"data.dataset_dir={tmp_path}"])
    clips = BridgeClips(recipe)
    clips.check()
    starts = set()
    for seed in range(20):
        example = clips.example(0, torch.Generator().manual_seed(seed))
        assert example.frames_FHWC.shape == (13, 48, 64, 3)
        first = example.extras["actions"][0, 0] / 0.2
        starts.add(round(float(first)))
        torch.testing.assert_close(example.extras["actions"][:, 0], 0.2 * (first + torch.arange(12.0)))
    assert starts == {0, 1, 2}


def test_a_robots_clip_that_is_too_short_is_told(tmp_path: Path) -> None:
    bridge(tmp_path, 5)
    clips = BridgeClips(find("predict2", "tiny_action", [f"data.dataset_dir={tmp_path}"]))
    with pytest.raises(InputError, match="5 actions"):
        clips.check()


@pytest.mark.parametrize("kind", ["video2world", "multiview", "action"])
def test_exported_files_load_back(kind: str) -> None:
    line = ("predict2", "post-train", "--experiment", f"tiny_{kind}", "--device", "cpu", "--", "trainer.max_iter=3")
    trained = run_cosmos(*line)
    assert trained.exit_code == 0, trained.stderr
    folder = Path("checkpoints/posttraining/tiny", f"tiny_{kind}", "checkpoints")
    regular, averaged = (folder / f"iter_000000003_{which}_model.pt" for which in ("reg", "ema"))
    weights = torch.load(regular, weights_only=True)
    assert all(name.startswith("net.") for name in weights)
    encode(Path("in.mp4"), moving_gradient(6, 48, 80))
    arguments: dict[str, list[object]] = {
        "video2world": ["--input-path", "in.mp4", "--prompt", "On it goes.", "--num-frames", 9],
        "multiview": ["--input-path", "in.mp4", "--prompt", "On it goes.", "--n-views", 2],
        "action": ["--input-video", "in.mp4", "--input-annotation", "actions.npy"],
    }
    np.save("actions.npy", np.zeros((12, 7)))
    made = run_cosmos(
        "predict2",
        kind,
        *("--model", "tiny", "--dit-path", averaged, "--num-steps", 1, "--save-path", "out.mp4"),
        *arguments[kind],
    )
    assert made.exit_code == 0, made.stderr
    assert Path("out.mp4").stat().st_size
