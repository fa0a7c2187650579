"""`cosmos nemo convert` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from tests.plugins.nemo_bridge.convert.stores import (
    TEXT2WORLD,
    VIDEO2WORLD,
    native_weights,
    same,
    save_native,
    save_zarr,
    stacked,
    train_in_nemo,
)

Cosmos = Callable[..., CommandResult]


def test_a_checkpoint_that_nemo_has_trained_becomes_a_native_file_and_a_user_is_told_why(cosmos: Cosmos) -> None:
    store = train_in_nemo(stacked(native_weights(VIDEO2WORLD), VIDEO2WORLD))
    Path("epoch=0-step=999").mkdir()
    save_zarr(store, Path("epoch=0-step=999/weights"), tp=3)
    result = cosmos("nemo", "convert", "epoch=0-step=999", "trained.pt", "--json")
    assert result.exit_code == 0, result.stderr
    document = result.json
    assert {key: document[key] for key in ("status", "from", "to", "model_size", "kind", "adaln_lora_dim")} == {
        "status": "ok",
        "from": "nemo-zarr",
        "to": "native",
        "model_size": "72x2",
        "kind": "video2world",
        "adaln_lora_dim": 12,
    }
    assert "no network of rank 4 is the same" in document["notices"][0]
    assert len(torch.load("trained.pt", weights_only=True)) == document["tensors"]


def test_there_and_back(cosmos: Cosmos) -> None:
    weights = native_weights(TEXT2WORLD)
    save_native(weights, Path("model.pt"))
    there = cosmos("nemo", "convert", "model.pt", "store", "--to", "nemo-torch-dist")
    assert there.exit_code == 0, there.stderr
    assert "store: 48x3 text2world as nemo-torch-dist, 27 tensors" in there.stdout
    assert cosmos("nemo", "convert", "store", "back.safetensors").exit_code == 0
    with open_checkpoint("back.safetensors") as source:
        assert same({key: source.tensor(key) for key in source}, weights)


def test_each_kind_of_bad_input_is_one_panel_with_its_exit_code(cosmos: Cosmos) -> None:
    save_native(native_weights(TEXT2WORLD), Path("model.pt"))
    save_native({"net.affline_norm.weight": torch.ones(48)}, Path("half.pt"))
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    cases = [
        (("model.pt", "out"), 2, "Pass --to"),
        (("model.pt", "out", "--to", "onnx"), 2, "native"),
        (("model.pt", "model.pt"), 2, "lie in each other"),
        (("model.pt", "full", "--to", "diffusers", "--overwrite"), 2, "notes.txt"),
        (("model.pt", "out.pt", "--to", "nemo-zarr"), 2, "named like a file"),
        (("missing.pt", "out.pt"), 4, "does not exist"),
        (("model.pt/inside", "out.pt"), 4, "does not exist"),
        (("half.pt", "out.pt"), 4, "net.x_embedder.proj.1.weight"),
        (("full", "out.pt"), 4, "holds no checkpoint"),
    ]
    for arguments, exit_code, words in cases:
        result = cosmos("nemo", "convert", *arguments)
        assert result.exit_code == exit_code, result.stderr
        assert words in " ".join(result.stderr.replace("│", " ").split()), result.stderr
        assert result.stderr.count("╭") == 1
        assert not Path("out").exists()
        assert not Path("out.pt").exists()
