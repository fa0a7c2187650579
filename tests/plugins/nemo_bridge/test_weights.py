"""Weights in every form make the same video, whatever their folder is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.errors import InputError
from cosmos_cli.generation.variants import TINY_ROOT
from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge.convert.keys import UNTOLD, diffusers_name
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from cosmos_plugins.nemo_bridge.model import model_of
from cosmos_plugins.nemo_bridge.networks import load_dit
from cosmos_plugins.nemo_bridge.requests import NemoSettings
from cosmos_plugins.nemo_bridge.variants import VARIANTS
from tests.plugins.nemo_bridge.convert.stores import save_torch_dist, save_zarr, stacked, train_in_nemo
from tests.stand_ins import save, stand_in

Cosmos = Callable[..., CommandResult]
NATIVE = TINY_ROOT / "nvidia" / "Cosmos-Predict1-Tiny-Text2World" / "model.pt"
LINE = ("--model", "tiny", "--prompt", "A robot.", "--num_steps", 1, "--guidance", 0)


def tiny_store() -> dict[str, torch.Tensor]:
    with open_checkpoint(NATIVE) as source:
        weights = {name: source.tensor(name).clone() for name in source}
        return stacked(weights, source.variant)


def as_zarr(folder: Path) -> Path:
    return save_zarr(tiny_store(), folder, tp=2)


def as_saved_by_a_training(folder: Path) -> Path:
    save_zarr(tiny_store(), folder / "epoch=39-step=199" / "weights")
    (folder / "epoch=39-step=199" / "context").mkdir()
    return folder / "epoch=39-step=199"


def as_torch_dist(folder: Path) -> Path:
    return save_torch_dist(tiny_store(), folder)


def as_diffusers(folder: Path) -> Path:
    with open_checkpoint(NATIVE) as source:
        weights = {diffusers_name(name): source.tensor(name).clone() for name in source if name not in UNTOLD}
    from safetensors.torch import save_file

    (folder / "transformer").mkdir(parents=True)
    save_file(weights, folder / "transformer" / "diffusion_pytorch_model.safetensors")
    return folder


def test_a_video_does_not_depend_on_the_form_of_the_weights(cosmos: Cosmos) -> None:
    plain = cosmos("nemo", "run", *LINE, "--video_save_path", "plain.mp4")
    assert plain.exit_code == 0, plain.stderr
    forms: list[Callable[[Path], Path]] = [as_zarr, as_saved_by_a_training, as_torch_dist, as_diffusers]
    for number, form in enumerate(forms):
        path = form(Path(f"my_14b_model_{number}"))
        result = cosmos("nemo", "run", *LINE, "--nemo_checkpoint", path, "--video_save_path", f"{number}.mp4")
        assert result.exit_code == 0, result.stderr
        assert Path(f"{number}.mp4").read_bytes() == Path("plain.mp4").read_bytes(), form.__name__


def test_what_nemo_has_trained_runs_without_loss(cosmos: Cosmos, tmp_path: Path) -> None:
    path = save_zarr(train_in_nemo(tiny_store()), tmp_path / "weights")
    network = load_dit(path)
    assert network.config.adaln_lora_dim == 3 * 8
    settings = NemoSettings(model_size="tiny", nemo_checkpoint=path)
    assert model_of(settings, "text2world").network == network.config
    result = cosmos("nemo", "run", *LINE, "--nemo_checkpoint", path)
    assert result.exit_code == 0, result.stderr


def test_the_weights_say_which_size_they_are_of_and_no_name_does(tmp_path: Path) -> None:
    path = save(stand_in("predict1_14b_text2world", 1.0), tmp_path / "7b" / "model.pt")
    model = model_of(NemoSettings(nemo_checkpoint=path), "text2world")
    assert (model.size, model.network) == ("14B", VARIANTS["14B"].network("text2world"))
    with pytest.raises(InputError, match=r"is a network of 14B\. Leave it out"):
        model_of(NemoSettings(nemo_checkpoint=path, model_size="Cosmos-1.0-Diffusion-7B-Text2World"), "text2world")


def test_the_folder_of_a_training_means_its_newest_weights(cosmos: Cosmos, tmp_path: Path) -> None:
    with open_checkpoint(NATIVE) as source:
        weights = {name: source.tensor(name).clone() for name in source}
    folder = tmp_path / "run" / "checkpoints"
    for iteration in (1, 2):
        save_torch_dist(tiny_store(), folder / f"iter_00000000{iteration}")
        torch.save(weights, folder / f"iter_00000000{iteration}_reg_model.pt")
    for given in (folder.parent, folder):
        settings = NemoSettings(model_size="tiny", nemo_checkpoint=given)
        assert model_of(settings, "text2world").paths.dit == folder / "iter_000000002_reg_model.pt"
    result = cosmos("nemo", "run", *LINE, "--nemo_checkpoint", folder.parent)
    assert result.exit_code == 0
    assert "iter_000000002_reg_model.pt" in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "module.affline_norm.weight" / "0").unlink(), "module.affline_norm.weight"),
        (lambda path: path.with_name("weights-unfinished").touch(), "is half-written"),
        (lambda path: (path / "metadata.json").write_text('{"sharded_backend": "other"}'), "was written as 'other'"),
    ],
)
def test_a_damaged_checkpoint_is_one_panel(
    cosmos: Cosmos, tmp_path: Path, damage: Callable[[Path], Any], words: str
) -> None:
    path = save_zarr(tiny_store(), tmp_path / "weights")
    damage(path)
    result = cosmos("nemo", "run", *LINE, "--nemo_checkpoint", path)
    text = " ".join(result.stderr.replace("│", " ").split())
    assert (result.exit_code, words in text) == (4, True), text
    assert "defect" not in text


def test_a_published_nemo_checkpoint_serves_where_the_other_form_is_not(cosmos: Cosmos) -> None:
    folder = Path("checkpoints/nvidia/Cosmos-1.0-Diffusion-7B-Text2World")
    (folder / "nemo").mkdir(parents=True)
    (folder / "nemo" / "metadata.json").write_text("{}")
    assert model_of(NemoSettings(), "text2world").paths.dit == folder / "nemo"
    result = cosmos("nemo", "run", "--prompt", "A robot.", "--plan", "--json")
    assert result.exit_code == 0, result.stderr
    files = {Path(file["path"]): file["is_present"] for file in result.json["files"]["needed"]}
    assert files[folder / "nemo"] and folder / "model.pt" not in files
