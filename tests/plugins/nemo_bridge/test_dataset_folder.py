"""Folders of prepared samples as training reads them, and what may be wrong with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.training.data.loader import Loader
from cosmos_cli.training.recipe import Recipe
from cosmos_plugins.nemo_bridge.dataset.folder import LatentFolder
from tests.training.data.folders import recipe_with

WIDTH = 8


def recipe(folder: Path, **data: Any) -> Recipe:
    """Chunks of 9 frames of 16 x 32: latents of 16 x 2 x 2 x 4."""
    values = {"num_frames": 9, "height": 16, "width": 32, "text_tokens": 512, "text_channels": WIDTH}
    return recipe_with("mock:MockClips", folder, **(values | data))


def sample(folder: Path, name: str, value: float, *, fps: float = 23.976) -> None:
    """The files as the original writes them: named paths, default JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "video_latent": torch.full((16, 2, 2, 4), value),
        "conditioning_latent": torch.full((16, 2, 2, 4), -value),
        "t5_text_embeddings": torch.full((512, WIDTH), value / 2),
        "t5_text_mask": torch.ones(512),
    }
    for kind, tensor in tensors.items():
        torch.save(tensor.bfloat16(), folder / f"{name}.{kind}.pth")
    info = {
        "height": 40,
        "width": 56,
        "fps": fps,
        "num_frames": 9,
        "video_path": "a.mp4",
        "start_frame": 3,
        "caption": "",
    }
    (folder / f"{name}.info.json").write_text(json.dumps(info))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(11):
        sample(tmp_path / "data", str(number), float(number))
    return tmp_path / "data"


def test_samples_stand_in_the_order_of_the_original_with_latents_as_they_are_on_disk(folder: Path) -> None:
    dataset = LatentFolder(recipe(folder))
    dataset.check()
    examples = [dataset.example(index, torch.Generator()) for index in range(len(dataset))]
    assert [example.name for example in examples][:4] == ["sample 0", "sample 1", "sample 10", "sample 2"]
    last = examples[2]
    assert last.extras["video_latent"].dtype == torch.bfloat16
    assert torch.equal(last.extras["video_latent"], torch.full((16, 2, 2, 4), 10.0, dtype=torch.bfloat16))
    assert list(last.extras) == ["video_latent"]
    assert torch.equal(last.text_LC, torch.full((512, WIDTH), 5.0, dtype=torch.bfloat16))
    assert last.fps == 24.0  # bfloat16 has no 23.976


def test_samples_come_shuffled_or_as_they_stand(folder: Path) -> None:
    def names(**data: Any) -> list[str]:
        asked = recipe(folder, **data)
        with Loader(LatentFolder(asked), asked.data, seed=1, global_batch_size=11) as loader:
            return [name for examples, _ in next(iter(loader)) for name in examples.names]

    in_order = [f"sample {number}" for number in sorted(map(str, range(11)))]
    assert names(shuffle=False) == in_order
    assert sorted(names()) == sorted(in_order)
    assert names() != in_order


def test_a_folder_without_conditioning_latents_and_masks_can_be_trained_on(folder: Path) -> None:
    for kind in ("conditioning_latent", "t5_text_mask"):
        for path in folder.glob(f"*.{kind}.pth"):
            path.unlink()
    dataset = LatentFolder(recipe(folder))
    dataset.check()
    assert dataset.example(0, torch.Generator()).extras["video_latent"].isfinite().all()


def problems(asked: Recipe) -> str:
    with pytest.raises(InputError) as error:
        LatentFolder(asked).check()
    return str(error.value)


def test_everything_that_is_wrong_with_a_folder_is_told_at_once(folder: Path) -> None:
    (folder / ".DS_Store").write_text("")
    (folder / "old").mkdir()
    (folder / "2.video_latent.pth").unlink()
    (folder / "2.t5_text_mask.pth").unlink()
    whole = (folder / "3.video_latent.pth").read_bytes()
    (folder / "3.video_latent.pth").write_bytes(whole[: len(whole) // 2])
    torch.save(torch.zeros(16, 2, 2, 4), folder / "4.conditioning_latent.pth")
    torch.save(torch.zeros(512, 9).bfloat16(), folder / "5.t5_text_embeddings.pth")
    (folder / "6.info.json").write_text(json.dumps({"height": 40, "width": 56}))
    (folder / "7.t5_text_mask.pth").write_bytes(pickle.dumps(print))
    said = problems(recipe(folder))
    assert "holds what is no part of a sample: .DS_Store, old." in said
    assert "sample 2 is half-written: 2.video_latent.pth, 2.t5_text_mask.pth missing." in said
    assert "3.video_latent.pth: 3.video_latent.pth is truncated or damaged" in said
    assert "4.conditioning_latent.pth: is float32, not bfloat16." in said
    assert "5.t5_text_embeddings.pth: has the shape 512 x 9, not 512 x 8." in said
    assert "6.info.json: does not say how many frames a second has (fps)." in said
    assert "7.t5_text_mask.pth" in said


def test_latents_of_another_size_than_the_recipe_s_are_told(folder: Path) -> None:
    said = problems(recipe(folder, height=32, width=48))
    assert "0.video_latent.pth: has the shape 16 x 2 x 2 x 4, not 16 x 2 x 4 x 6." in said
    assert "data.height" in said
    assert "more of the kind" in said


def test_numbers_that_are_none_are_found_when_they_are_read(folder: Path) -> None:
    torch.save(torch.full((16, 2, 2, 4), float("nan")).bfloat16(), folder / "0.video_latent.pth")
    dataset = LatentFolder(recipe(folder))
    dataset.check()
    with pytest.raises(InputError, match="not finite"):
        dataset.example(0, torch.Generator())


def test_a_folder_that_is_empty_or_for_other_recipes_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no samples" in problems(recipe(tmp_path / "empty"))
    assert "no such folder" in problems(recipe(tmp_path / "nowhere"))
    assert "data.text_tokens=512" in problems(recipe(folder, text_tokens=16))
    assert "data.num_views=1" in problems(recipe(folder, num_views=2))
