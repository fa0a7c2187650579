"""What `cosmos nemo download` can fetch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_cli.testing import CommandResult
from cosmos_plugins.nemo_bridge.checkpoints import CATALOGUE

Cosmos = Callable[..., CommandResult]
MODELS = [f"Cosmos-1.0-Diffusion-{size}-{kind}2World" for size in ("7B", "14B") for kind in ("Text", "Video")]


def files_of(cosmos: Cosmos, *names: str) -> list[str]:
    result = cosmos("nemo", "download", *names, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    return [file["path"] for file in result.json["files"] if file["state"] == "missing"]


def test_every_model_is_there_in_both_forms_and_so_are_the_clips() -> None:
    assert set(CATALOGUE) == {*MODELS, *(f"{model}-nemo" for model in MODELS), "example-data"}


@pytest.mark.parametrize("model", MODELS)
def test_only_what_a_chosen_model_needs_is_fetched(cosmos: Cosmos, model: str) -> None:
    for name, network in ((model, f"nvidia/{model}/model.pt"), (f"{model}-nemo", f"nvidia/{model}/nemo/")):
        files = files_of(cosmos, name)
        assert network in files
        assert "nvidia/Cosmos-1.0-Tokenizer-CV8x8x8/mean_std.pt" in files and "google-t5/t5-11b/text_encoder/" in files
        assert not [file for file in files if "Cosmos-1.0-Diffusion" in file and file != network]


def test_the_clips_are_a_data_set_of_their_own(cosmos: Cosmos) -> None:
    assert files_of(cosmos, "example-data") == ["nvidia/Cosmos-NeMo-Assets/nemo_diffusion_example_data/"]


def test_either_form_is_enough_to_run(cosmos: Cosmos) -> None:
    store = Path("checkpoints/nvidia/Cosmos-1.0-Diffusion-7B-Text2World/nemo")
    store.mkdir(parents=True)
    (store / "metadata.json").write_text("{}")
    assert not [file for file in files_of(cosmos, MODELS[0]) if "Diffusion" in file]
