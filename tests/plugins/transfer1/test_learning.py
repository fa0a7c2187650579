"""Training the tiny annotators, and what those that ship see of worlds that no training saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.data.examples import collate
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.experiments import find
from cosmos_cli.training.task import Where
from cosmos_cli.worlds.cast import draw
from cosmos_cli.worlds.render import render
from cosmos_plugins.transfer1.controls import tiny_annotators
from cosmos_plugins.transfer1.controls.depth import DepthEstimator
from cosmos_plugins.transfer1.learning.depth import DepthTask, correlation, depth

CPU, FLOAT = torch.device("cpu"), torch.float32
FOLDER = Path("posttraining/tiny")


def post_train(root: Path, name: str, num_steps: int) -> Path:
    """The averaged weights after so many steps of small batches, gone on with where there were some."""
    line = ("transfer", "post-train", "--experiment", name, "--device", "cpu", "--output-root", str(root))
    changes = ("data.global_batch_size=1", "data.num_frames=2", "schedule.warm_up_steps=[1]", "checkpoint.save_iter=2")
    result = run_cosmos(*line, "--", f"trainer.max_iter={num_steps}", *changes)
    assert result.exit_code == 0, result.stderr
    return root / FOLDER / name / f"checkpoints/iter_{num_steps:09}_ema_model.pt"


def test_pictures_of_several_shapes_have_the_depth_and_the_labels_of_their_own_pixels() -> None:
    clips = open_dataset(find("transfer", "tiny_depth"))
    shapes = set()
    for index in range(16):
        example = clips.example(index, torch.Generator())
        shape = tuple(example.frames_FHWC.shape[:3])
        shapes.add(shape[1:])
        scene = draw(index, shape[1:], shape[0])
        seen = render(scene, shape[1:])
        assert torch.equal(example.frames_FHWC, torch.from_numpy(seen.rgb_FHW3))
        assert torch.equal(example.extras["depth"], torch.from_numpy(seen.depth_FHW))
        assert torch.equal(example.extras["labels"], torch.from_numpy(seen.labels_FHW))
    assert shapes == {(64, 112), (88, 112), (112, 112), (112, 88), (112, 64)}


def test_a_depth_training_that_was_stopped_goes_on_as_if_it_had_not_been_and_its_export_ships(tmp_path: Path) -> None:
    whole = post_train(tmp_path / "whole", "tiny_depth", 4)
    for num_steps in (2, 4):
        parts = post_train(tmp_path / "parts", "tiny_depth", num_steps)
    weights, same = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert weights.keys() == same.keys()
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights.items())

    tiny_annotators.ship_depth(whole, tmp_path)
    estimator = DepthEstimator(tmp_path / tiny_annotators.DEPTH, device=CPU, dtype=FLOAT)
    task = depth(find("transfer", "tiny_depth", [f"checkpoint.load_path={whole}"]), Where(CPU, FLOAT, Path()))
    example = open_dataset(find("transfer", "tiny_depth")).example(0, torch.Generator())
    batch = task.encode(collate([example]))
    with torch.no_grad():
        expected = task.networks["net"].eval()(batch.extras["pixels"][0]).predicted_depth
    # pictures of the network's own size are not resized, and weights are rounded to bfloat16
    found = estimator._inverse_depth(example.frames_FHWC.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=0.02)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"net.other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="other weights than DepthAnythingForDepthEstimation"):
        tiny_annotators.ship_depth(tmp_path / "other.pt", tmp_path)
    assert not (tmp_path / tiny_annotators.DEPTH).exists()


def test_depth_learns() -> None:
    recipe = find("transfer", "tiny_depth")
    task: DepthTask = depth(recipe, Where(CPU, FLOAT, Path()))
    batch = task.encode(collate([open_dataset(recipe).example(0, torch.Generator())]))
    optimizer = torch.optim.Adam(task.networks.parameters(), lr=5e-4)
    losses = []
    for _ in range(30):
        loss = task.loss(batch, None)  # type: ignore[arg-type]  # nothing is left to chance
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
    assert losses[-1].total < 0.85 * losses[0].total
    assert losses[-1].parts["correlation"] > losses[0].parts["correlation"] + 0.2
    [sample] = task.sample(batch, seed=0, num_steps=1)
    assert sample.shape == (3, 64, 224, 3)


@pytest.mark.parametrize("size", [(64, 112), (112, 64)])
def test_the_depth_that_ships_is_that_of_worlds_that_no_training_saw(size: tuple[int, int]) -> None:
    estimator = DepthEstimator(TINY_ROOT / tiny_annotators.DEPTH, device=CPU, dtype=FLOAT)
    found = []
    for index in range(5):
        clip = render(draw(index, size, 9, split="held-out"), size)
        near = torch.from_numpy(estimator.estimate(clip.rgb_FHW3)[..., 0]).float()
        found.append(float(correlation(near, 1 / torch.from_numpy(clip.depth_FHW))))
    assert float(np.median(found)) > 0.96
    assert min(found) > 0.88
