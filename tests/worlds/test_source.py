"""Rendered clips as trainings read them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.generation.cameras import CAMERAS
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.models.t5 import T5TextEncoder
from cosmos_cli.testing import run_cosmos
from cosmos_cli.training.data.checking import check_data
from cosmos_cli.training.data.loader import Loader
from cosmos_cli.training.data.order import generator_of
from cosmos_cli.training.data.source import open_dataset
from cosmos_cli.training.experiments import find
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.worlds.pictures import depth_picture
from cosmos_cli.worlds.render import render

ENCODER = TINY_ROOT / "google-t5" / "t5-tiny"


def single(*overrides: str, source: str = "RenderedClips") -> Recipe:
    return find("predict2", "tiny_video2world", [f"data.source=cosmos_cli.worlds.source:{source}", *overrides])


def several(*overrides: str, source: str = "RenderedViews") -> Recipe:
    source = f"data.source=cosmos_cli.worlds.source:{source}"
    return find("predict1-multiview", "tiny_video2world_multiview", [source, *overrides])


def test_an_example_depends_on_its_number_and_the_seed_alone() -> None:
    clips = open_dataset(single())
    examples = {i: clips.example(i, generator_of(0)) for i in (2, 0, 1)}
    again = pickle.loads(pickle.dumps(clips))
    for i in range(3):
        assert torch.equal(again.example(i, generator_of(9)).frames_FHWC, examples[i].frames_FHWC)
    other = open_dataset(single("trainer.seed=1")).example(0, generator_of(0))
    assert not torch.equal(other.frames_FHWC, examples[0].frames_FHWC)
    held_out = [
        open_dataset(single(*seed, source="HeldOutClips")).example(0, generator_of(0)).frames_FHWC
        for seed in ((), ("trainer.seed=1",))
    ]
    assert torch.equal(*held_out)
    assert not torch.equal(held_out[0], examples[0].frames_FHWC)


def test_a_batch_is_its_clips() -> None:
    recipe = single("data.batch_size=2", "data.shuffle=false")
    clips = open_dataset(recipe)
    with Loader(clips, recipe.data, seed=0, global_batch_size=2) as steps:
        batch = next(iter(steps))[0][0]
    for place in range(2):
        assert torch.equal(batch.frames_BFHWC[place], clips.example(place, generator_of(0)).frames_FHWC)


def test_the_text_is_the_captions_embedding() -> None:
    recipe = several(f"data.text_encoder={ENCODER}", "data.text_tokens=48", "data.text_channels=128")
    check_data(recipe)
    clips = open_dataset(recipe)
    text_VLC = clips.example(0, generator_of(0)).text_LC.reshape(6, 48, -1)
    encoder = T5TextEncoder(ENCODER, dtype=torch.float32, device=torch.device("cpu"))
    caption = clips.scene(0).caption()
    for found_LC, text in zip(text_VLC, [caption, *(camera.sentence for camera in CAMERAS[1:])], strict=True):
        assert torch.equal(found_LC, encoder.encode(text)[0][0, :48])
    both = open_dataset(several("data.captions_of_all_views=true")).texts(clips.scene(0))
    assert [text.startswith(camera.sentence) for text, camera in zip(both, CAMERAS, strict=True)] == [True] * 6
    assert open_dataset(several()).example(0, generator_of(0)).text_LC.count_nonzero() == 0


def test_depth_and_masks_are_those_of_the_world_and_edges_those_of_the_picture() -> None:
    depth = open_dataset(single("data.hint=depth"))
    seen = render(depth.scene(1), (48, 80))
    np.testing.assert_array_equal(depth.example(1, generator_of(0)).hints_FHWC["depth"], depth_picture(seen.depth_FHW))
    masks = [open_dataset(single("data.hint=seg")).example(1, generator_of(i)).hints_FHWC["seg"] for i in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])  # colours of chance, which say nothing of the bodies' own
    for mask in masks:
        np.testing.assert_array_equal(mask.any(-1), seen.labels_FHW > 0)
    edges = open_dataset(single("data.hint=edge")).example(1, generator_of(0)).hints_FHWC["edge"]
    assert set(edges.unique().tolist()) == {0, 255}


def test_views_are_those_of_the_rig_in_order() -> None:
    clips = open_dataset(several("data.num_views=3", "data.hint=depth", "data.view_indices=[4,2,0]"))
    example, scene = clips.example(0, generator_of(0)), clips.scene(0)
    assert [view.name for view in scene.views] == ["front", "left", "right"]
    frames_VFHWC = example.frames_FHWC.reshape(3, -1, 32, 48, 3)
    for view in range(3):
        np.testing.assert_array_equal(frames_VFHWC[view], render(scene, (32, 48), view).rgb_FHW3)
    assert example.hints_FHWC["depth"].shape == example.frames_FHWC.shape
    assert example.extras["view_indices"].tolist() == [4, 2, 0]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (lambda: several(source="RenderedClips"), "renders at most 1"),
        (lambda: several("data.num_views=7"), "renders at most 6"),
        (lambda: single(source="RenderedViews"), "at least 2 views"),
        (lambda: single("data.hint=lidar"), "lidar is neither known"),
        (lambda: single(f"data.text_encoder={ENCODER}", "data.text_channels=64"), "128 wide; the model reads 64"),
        (lambda: several("data.height=16", "data.width=4096"), "nothing that moves fits"),
    ],
)
def test_what_a_recipe_cannot_have_is_told(recipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_data(recipe())


@pytest.mark.parametrize(
    ("family", "experiment", "source"),
    [
        ("predict2", "tiny_video2world", "RenderedClips"),
        ("transfer", "tiny_control_input_edge_pretrain", "RenderedClips"),
        ("predict1-multiview", "tiny_video2world_multiview", "RenderedViews"),
    ],
)
def test_the_tiny_models_train_on_them(family: str, experiment: str, source: str) -> None:
    changes = (f"data.source=cosmos_cli.worlds.source:{source}", "trainer.max_iter=1")
    trained = run_cosmos(family, "post-train", "--experiment", experiment, "--device", "cpu", "--", *changes)
    assert trained.exit_code == 0, trained.stderr
    assert list(Path("checkpoints/posttraining").rglob("iter_000000001_reg_model.pt"))
