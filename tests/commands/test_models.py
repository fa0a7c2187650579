"""`cosmos models`: what is published and what of it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.checkpoints.catalogue import GUARDRAILS, T5_11B, T5_BFLOAT16, TEXT_ENCODER
from cosmos_cli.testing import CommandResult

Cosmos = Callable[..., CommandResult]


def put(path: str, content: bytes = b"weights") -> None:
    file = Path("checkpoints", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def states(cosmos: Cosmos) -> dict[str, str]:
    return {model["name"]: model["state"] for model in cosmos("models", "--json").json["models"]}


def test_a_model_is_missing_then_partial_then_present(cosmos: Cosmos) -> None:
    assert set(states(cosmos).values()) == {"missing"}
    put("nvidia/Cosmos-Transfer1-7B/edge_control_distilled.pt")
    assert states(cosmos)["transfer/7B-edge-distilled"] == "partial"
    for path in ("autoencoder.jit", "mean_std.pt"):
        put(f"nvidia/Cosmos-Tokenize1-CV8x8x8-720p/{path}")
    for repository in (*TEXT_ENCODER, *GUARDRAILS):
        assert states(cosmos)["transfer/7B-edge-distilled"] == "partial"
        for file in repository.files:
            put(f"{repository.belongs_to or repository.name}/{file.path}{'words.txt' if file.is_folder else ''}")
    found = states(cosmos)
    assert found["transfer/7B-edge-distilled"] == "present"
    assert found["transfer/UpsamplePrompt1-12B"] == "missing"
    assert found["predict2/2B"] == "partial"  # it shares the text encoder


def test_the_document_names_what_is_missing_where(cosmos: Cosmos, monkeypatch: pytest.MonkeyPatch) -> None:
    put("google-t5/t5-11b/config.json")
    monkeypatch.setenv("COSMOS_CHECKPOINT_DIR", str(Path("checkpoints").absolute()))
    document = cosmos("models", "--json").json
    assert Path(document["checkpoint_dir"]).is_absolute()
    [action] = [model for model in document["models"] if model["name"] == "predict2/multiview-2B"]
    [text] = [part for part in action["repositories"] if part["repository"] == T5_11B.name]
    assert text["state"] == "partial"
    assert text["missing_files"] == [file.path for file in T5_11B.files if file.path != "config.json"]
    assert text["missing_bytes"] == T5_11B.num_bytes - T5_11B.files[0].num_bytes
    there = action["bytes"] - action["missing_bytes"] - action["optional_missing_bytes"]
    assert there == T5_11B.files[0].num_bytes


def test_data_sets_are_listed_beside_the_models(cosmos: Cosmos) -> None:
    put("nvidia/Cosmos-NeMo-Assets/nemo_diffusion_example_data/robot.mp4")
    [assets] = cosmos("models", "--json").json["data_sets"]
    assert (assets["repository"], assets["state"]) == ("nvidia/Cosmos-NeMo-Assets", "present")
    assert "nvidia/Cosmos-NeMo-Assets " in cosmos("models").stdout


def test_the_list_shows_sizes_and_licences(cosmos: Cosmos) -> None:
    lines = cosmos("models").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "SIZE", "STATE", "MISSING", "OPTIONAL", "LICENCES"]
    [line] = [line for line in lines if line.startswith("transfer/UpsamplePrompt1-12B ")]
    assert line.split()[1:] == ["25.4", "GB", "missing", "25.4", "GB", "-", "NVIDIA", "Open", "Model", "License"]


def test_the_list_says_that_the_text_encoder_is_not_quite_that_of_the_originals(cosmos: Cosmos) -> None:
    [line] = [line for line in cosmos("models").stdout.splitlines() if line.startswith("Note: ")]
    assert "third digit" in line and "--text-encoder fp32" in line
    [text] = [
        part
        for model in cosmos("models", "--json").json["models"]
        for part in model["repositories"]
        if model["name"] == "predict2/2B" and part["note"]
    ]
    assert text["repository"] == T5_BFLOAT16.name and text["note"] in line
    assert text["gated"] is None  # nobody here knows


def test_what_only_some_options_need_does_not_make_a_model_incomplete(cosmos: Cosmos) -> None:
    folder = "nvidia/Cosmos-Predict2-0.6B-Text2Image"
    for path in (f"{folder}/model.pt", f"{folder}/tokenizer/tokenizer.pth"):
        put(path)
    for repository in (*TEXT_ENCODER, *GUARDRAILS):
        for file in repository.files:
            if not file.is_optional:
                put(f"{repository.belongs_to or repository.name}/{file.path}{'words.txt' if file.is_folder else ''}")
    [model] = [m for m in cosmos("models", "--json").json["models"] if m["name"] == "predict2/text2image-0.6B"]
    assert (model["state"], model["missing_bytes"]) == ("present", 0)
    [pinned, newest] = [part for part in model["repositories"] if part["repository"] == folder]
    assert (pinned["state"], newest["state"]) == ("present", "missing")
    assert (newest["revision"], newest["optional_missing_files"]) == ("main", ["model_distilled.pt"])
