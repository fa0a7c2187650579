"""The network out of a file: what trainings differ in is read, what is wrong is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cosmos_cli.checkpoints.trained import trained_weights
from cosmos_cli.errors import CheckpointError
from cosmos_cli.generation.networks import build_dit, config_in, load_dit
from cosmos_cli.generation.weights import find_weights
from cosmos_cli.models.configs import GeneralDiTConfig, MultiViewConfig
from cosmos_plugins.predict1_multiview.variants import MULTIVIEW
from tests.stand_ins import save, stand_in, stand_in_of

TINY, PUBLISHED = MULTIVIEW["tiny"].dit, MULTIVIEW["7B"].dit


def written(path: str, config: GeneralDiTConfig, **more: Any) -> Path:
    with torch.device("meta"):
        network = build_dit(config)
    return save({**stand_in_of(network, "net."), **more}, Path(path))


@pytest.mark.parametrize("kind", ["video", "text"])
def test_the_published_shapes_are_found_and_filled(kind: str) -> None:
    content = stand_in(f"predict1_7b_{kind}2world_multiview")
    assert any("_extra_state" in key for key in content)
    path = save(content, Path("model.pt"))
    config = config_in(path, PUBLISHED)
    assert config == replace(PUBLISHED, condition_mask=kind == "video", n_views_emb=6)
    network = load_dit(path, PUBLISHED, dtype=torch.bfloat16)
    # the head of the loss, 384 numbers with its buffers, and the positions are not of the network
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_234_799_664 - 4096 * 4 * (kind == "text")


@pytest.mark.parametrize(
    "trained",
    [
        {"view_condition_dim": 3, "add_repeat_frame_embedding": False},
        {"view_condition_dim": 3, "add_repeat_frame_embedding": False, "condition_mask": False},
        {"n_views": 5, "view_condition_dim": 3},
        {"n_views_emb": 7},
        {"legacy_patch_emb": True, "condition_mask": False},
        {"adaln_lora_dim": 24},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_files_of_trainings_say_what_they_are(trained: dict[str, Any], dtype: torch.dtype) -> None:
    config = replace(TINY, **trained)
    network = build_dit(config).to(dtype)
    content = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    content |= {"net.pos_embedder.seq": torch.arange(128.0), "logvar.1.weight": torch.zeros(1, 128)}
    content["net.blocks.block0.blocks.0.block.attn.attn_op._extra_state"] = io.BytesIO(b"recipe")  # type: ignore[assignment]
    path = Path("trained.pt")
    torch.save(content, path)
    expected = replace(config, n_views_emb=config.num_view_rows)
    assert config_in(path, TINY) == expected
    loaded = load_dit(path, TINY, dtype=torch.bfloat16)
    assert loaded.config == expected
    assert all(parameter.dtype == torch.bfloat16 for parameter in loaded.parameters())


def test_a_network_for_one_view_is_found_too() -> None:
    base = GeneralDiTConfig(model_channels=48, num_blocks=1, num_heads=4)
    trained = replace(base, condition_mask=False, add_augment_sigma_embedding=True)
    assert config_in(written("one.pt", trained), base) == trained


def test_fewer_views_than_asked_for_are_an_error_and_more_are_left_alone() -> None:
    path = written("five.pt", replace(TINY, n_views=5))
    assert config_in(path, TINY).n_views == 5
    assert config_in(path, TINY, 3).n_views == 3
    with pytest.raises(CheckpointError, match=r"five\.pt knows 5 views, and 6 are asked for(.|\n)*--n-views 5"):
        config_in(path, TINY, 6)


def test_what_is_missing_or_misshapen_is_an_error() -> None:
    with torch.device("meta"):
        network = build_dit(TINY)
    content = stand_in_of(network, "net.")
    for key, wrong in (
        ("net.view_embeddings.weight", None),
        ("net.x_embedder.proj.1.weight", torch.zeros(1, dtype=torch.bfloat16).expand(48, 100)),
        ("net.repeat_frame_embedding.bias", None),
        ("net.blocks.block2.blocks.2.block.layer1.weight", None),
    ):
        spoilt = {name: tensor for name, tensor in content.items() if name != key}
        path = save(spoilt | ({} if wrong is None else {key: wrong}), Path("spoilt.pt"))
        with pytest.raises(CheckpointError, match=r"does not fit MultiViewDiT(.|\n)*(1 missing|1 misshapen)"):
            load_dit(path, TINY)


def test_the_newest_averaged_weights_of_a_training_are_taken() -> None:
    folder = Path("training/checkpoints")
    folder.mkdir(parents=True)
    assert trained_weights(folder) is None
    names = {
        "iter_000000400_reg_model.pt": "iter_000000400_reg_model.pt",
        "iter_000000200_ema_model.pt": "iter_000000200_ema_model.pt",
        "iter_000000900_RANK1_ema_model.pt": "iter_000000200_ema_model.pt",
        "iter_000001000_optim.pt": "iter_000000200_ema_model.pt",
        "iter_000000300_ema_model.pt": "iter_000000300_ema_model.pt",
    }
    for name, expected in names.items():
        (folder / name).touch()
        assert trained_weights(folder) == trained_weights(folder.parent) == folder / expected


def test_weights_are_found_under_the_checkpoint_folder_or_by_their_path(tmp_path: Path) -> None:
    root = Path("checkpoints")
    for folder in (root / "named", root / "nvidia" / "theirs", tmp_path / "other"):
        folder.mkdir(parents=True)
        (folder / "model.pt").touch()
    (tmp_path / "file.pt").touch()
    assert find_weights(root, "named") == root / "named" / "model.pt"
    assert find_weights(root, "theirs") == root / "nvidia" / "theirs" / "model.pt"
    assert find_weights(root, str(tmp_path / "other")) == tmp_path / "other" / "model.pt"
    assert find_weights(root, str(tmp_path / "file.pt")) == tmp_path / "file.pt"
    assert find_weights(root, "gone") == root / "gone" / "model.pt"


def test_the_view_table_s_rows_are_no_limit_of_the_published_network() -> None:
    assert isinstance(PUBLISHED, MultiViewConfig)
    assert PUBLISHED.num_view_rows == 6
