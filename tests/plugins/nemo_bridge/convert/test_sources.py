"""Checkpoints in all layouts, read under native names."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import (
    BytesIOWriteData,
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.errors import CheckpointError
from cosmos_cli.models.general_dit import GeneralDiT
from cosmos_plugins.nemo_bridge.convert.shapes import Variant
from cosmos_plugins.nemo_bridge.convert.sources import Source, open_checkpoint
from tests.plugins.nemo_bridge.convert.stores import (
    TEXT2WORLD,
    VIDEO2WORLD,
    Weights,
    native_weights,
    same,
    save_native,
    save_torch_dist,
    save_zarr,
    stacked,
    train_in_nemo,
)


def content(source: Source) -> Weights:
    return {key: source.tensor(key) for key in source}


@pytest.mark.parametrize("variant", [TEXT2WORLD, VIDEO2WORLD])
@pytest.mark.parametrize("tp", [1, 2])
def test_a_zarr_store_gives_the_native_weights_whoever_wrote_it(tmp_path: Path, variant: Variant, tp: int) -> None:
    weights = native_weights(variant)
    save_zarr(stacked(weights, variant), tmp_path / "any name", tp=tp)
    with open_checkpoint(tmp_path / "any name") as source:
        assert (source.format, source.variant, source.is_dense) == ("nemo-zarr", variant, False)
        assert same(content(source), weights)


@pytest.mark.parametrize("variant", [TEXT2WORLD, VIDEO2WORLD])
def test_a_store_of_torch_gives_the_native_weights_and_passes_the_optimizer_over(
    tmp_path: Path, variant: Variant
) -> None:
    weights = native_weights(variant)
    save_torch_dist(stacked(weights, variant), tmp_path / "store")
    with open_checkpoint(tmp_path / "store") as source:
        assert (source.format, source.variant) == ("nemo-torch-dist", variant)
        assert same(content(source), weights)


def test_pieces_of_several_ranks_are_put_together_a_block_at_a_time(tmp_path: Path) -> None:
    from cosmos_cli.checkpoints.distributed import DistributedCheckpoint
    from cosmos_cli.checkpoints.distributed_writing import writing_pieces

    whole = torch.arange(2 * 4 * 3, dtype=torch.float32).reshape(2, 4, 3)
    folder = tmp_path / "pieces"
    folder.mkdir()
    with writing_pieces(folder) as writer:
        for block in (1, 0):
            for half in (0, 1):
                writer.add(
                    "stack", whole.shape, [block, 2 * half, 0], whole[block : block + 1, 2 * half : 2 * half + 2]
                )
        writer.add("flat", [3], [0], whole[0, :, 0][:3])
    with DistributedCheckpoint(folder) as checkpoint:
        assert torch.equal(checkpoint.part("stack", 1), whole[1])
        assert torch.equal(checkpoint.tensor("stack"), whole)
    back = {"stack": torch.empty(2, 4, 3), "flat": torch.empty(3)}
    dcp.load(back, checkpoint_id=folder, no_dist=True)
    assert torch.equal(back["stack"], whole)
    assert torch.equal(back["flat"], whole[0, :3, 0])


@pytest.mark.parametrize("container", ["plain", "bare", "wrapped", "shells"])
def test_native_files_read_as_everywhere(tmp_path: Path, container: str) -> None:
    weights = native_weights(TEXT2WORLD)
    kinds: dict[str, object] = {
        "plain": weights,
        "bare": {key.removeprefix("net."): tensor for key, tensor in weights.items()},
        "wrapped": {"model": weights, "iteration": 3},
        "shells": {f"module.{key}": tensor for key, tensor in weights.items()},
    }
    torch.save(kinds[container], tmp_path / "model.pt")
    with open_checkpoint(tmp_path / "model.pt") as source:
        assert (source.format, source.variant) == ("native", TEXT2WORLD)
        assert same(content(source), weights)


def forward(network: torch.nn.Module, variant: Variant) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 16, 2, 4, 6, generator=generator)
    text = torch.randn(1, 5, variant.text_width, generator=generator)
    output: Tensor = network(x, torch.tensor([0.3]), text, fps=24.0)
    return output


def test_a_network_that_nemo_has_trained_is_one_of_three_times_the_rank_and_the_same_function(tmp_path: Path) -> None:
    """Against NeMo's own arithmetic of the modulation: one pair of matrices for all three parts of a block."""
    variant = replace(VIDEO2WORLD, frames=8, rows=4, columns=4)
    store = train_in_nemo(stacked(native_weights(variant, dtype=torch.float32), variant))
    save_zarr(store, tmp_path / "store")
    with open_checkpoint(tmp_path / "store") as source:
        assert source.is_dense
        assert source.variant == replace(variant, rank=3 * variant.rank)
        network = load_network(lambda: GeneralDiT(source.variant.config), source, naming=PUBLISHED, dtype=torch.float64)
    start = "decoder.layers.adaLN.adaLN_modulation."
    emb = torch.randn(1, 1, variant.width, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for number, block in enumerate(network.blocks.values()):
        hidden = torch.nn.functional.silu(emb) @ store[f"{start}1.weight"][number].double().T
        want = hidden @ store[f"{start}2.weight"][number].double().T
        parts = [block.get_submodule(f"blocks.{part}.adaLN_modulation")(emb) for part in range(3)]
        torch.testing.assert_close(torch.cat(parts, dim=-1), want, atol=1e-12, rtol=0)
    head = {
        name.partition("adaLN_modulation.")[2]: tensor for name, tensor in store.items() if "final_layer.ada" in name
    }
    want = (torch.nn.functional.silu(emb) @ head["1.weight"].double().T) @ head["2.weight"].double().T
    torch.testing.assert_close(network.final_layer.adaLN_modulation(emb), want, atol=1e-12, rtol=0)
    assert torch.isfinite(forward(network.float(), variant)).all()


def test_a_network_loads_out_of_every_layout_and_is_the_same(tmp_path: Path) -> None:
    weights = native_weights(VIDEO2WORLD, dtype=torch.float32)
    places = [
        save_native(weights, tmp_path / "model.pt"),
        save_zarr(stacked(weights, VIDEO2WORLD), tmp_path / "zarr", tp=3),
        save_torch_dist(stacked(weights, VIDEO2WORLD), tmp_path / "torch"),
    ]
    outputs = []
    for place in places:
        with open_checkpoint(place) as source:
            network = load_network(partial(GeneralDiT, source.variant.config), source, naming=PUBLISHED)
        outputs.append(forward(network, VIDEO2WORLD))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return save_zarr(stacked(native_weights(VIDEO2WORLD), VIDEO2WORLD), tmp_path / "store")


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("snapshot/nemo", "snapshot"),
        ("run/checkpoints/epoch=39-step=199/weights", "run/checkpoints/epoch=39-step=199"),
        ("run/checkpoints/epoch=39-step=199/weights", "run/checkpoints/epoch=39-step=199/weights"),
        ("run/checkpoints/epoch=39-step=199/weights", "run/checkpoints"),
    ],
)
def test_the_folder_the_one_around_it_and_the_one_around_that_are_taken(
    tmp_path: Path, store: Path, place: str, given: str
) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    store.rename(tmp_path / place)
    (tmp_path / place).with_name("context").mkdir()
    with open_checkpoint(tmp_path / given) as source:
        assert source.path == tmp_path / place


def test_the_copy_of_the_last_checkpoint_is_no_second_one_and_several_are_named(tmp_path: Path, store: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for name in ("epoch=0-step=1", "epoch=0-step=1-last"):
        shutil.copytree(store, checkpoints / name / "weights")
    with open_checkpoint(checkpoints) as source:
        assert source.path.parent.name == "epoch=0-step=1"
    shutil.copytree(store, checkpoints / "epoch=0-step=3" / "weights")
    with pytest.raises(CheckpointError, match="3 checkpoints: epoch=0-step=1, epoch=0-step=1-last, epoch=0-step=3"):
        open_checkpoint(checkpoints)


@pytest.mark.parametrize("given", ["run/epoch=0-step=1", "run/epoch=0-step=1/weights"])
def test_what_nemo_is_still_writing_is_refused(tmp_path: Path, store: Path, given: str) -> None:
    (tmp_path / "run/epoch=0-step=1").mkdir(parents=True)
    store.rename(tmp_path / "run/epoch=0-step=1/weights")
    (tmp_path / "run/epoch=0-step=1-unfinished").touch()
    with pytest.raises(CheckpointError, match="half-written: epoch=0-step=1-unfinished"):
        open_checkpoint(tmp_path / given)


def test_all_missing_foreign_and_misshapen_tensors_are_named_together(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    gone = [key for key in weights if key.startswith("net.blocks.block1.")]
    for key in gone:
        del weights[key]
    weights["net.x_embedder.bias"] = torch.zeros(48)
    weights["net.t_embedder.1.linear_1.weight"] = torch.zeros(48, 47, dtype=torch.bfloat16)
    save_native(weights, tmp_path / "model.pt")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(tmp_path / "model.pt")
    text = str(caught.value)
    assert all(key in text for key in gone)
    assert "net.x_embedder.bias" in text or "x_embedder.bias" in text
    assert "[48, 47], should be [48, 48]" in text
    assert caught.value.exit_code == 4


def test_tensors_missing_of_a_store_are_named_and_those_of_other_networks_explained(
    tmp_path: Path, store: Path
) -> None:
    shutil.rmtree(store / "module.decoder.layers.mlp.linear_fc1.weight")
    with pytest.raises(CheckpointError, match="linear_fc1"):
        open_checkpoint(store)


def test_actions_of_robots_have_no_native_network(tmp_path: Path) -> None:
    content = stacked(native_weights(VIDEO2WORLD), VIDEO2WORLD)
    save_zarr(content | {"action_mlp.fc1.weight": torch.zeros(72, 7)}, tmp_path / "store")
    with pytest.raises(CheckpointError, match=r"(?s)action_mlp.fc1.weight.*NeMo's own for actions"):
        open_checkpoint(tmp_path / "store")


def test_a_folder_or_file_of_something_else_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").touch()
    with pytest.raises(CheckpointError, match=r"it holds beach\.jpg"):
        open_checkpoint(tmp_path / "holiday")
    with pytest.raises(CheckpointError, match="does not exist"):
        open_checkpoint(tmp_path / "nowhere")
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"no diffusion network of Cosmos-1.0. It holds: 1 encoder.\*"):
        open_checkpoint(tmp_path / "other.pt")


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    weights["net.affline_norm.weight"] = torch.ones(48, dtype=torch.int32)
    save_native(weights, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"net.affline_norm.weight: int32"):
        open_checkpoint(tmp_path / "model.pt")


def test_a_store_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "metadata.json").write_text(json.dumps({"sharded_backend": "fsdp_dtensor"}))
    with pytest.raises(CheckpointError, match="'fsdp_dtensor', which cannot be read here"):
        open_checkpoint(tmp_path / "store")


class _Owned:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch owned",)


def change_metadata(folder: Path, change: Callable[[Any], object]) -> None:
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(metadata) or metadata))


def lead_out(metadata: Any) -> None:
    for index, info in list(metadata.storage_data.items()):
        metadata.storage_data[index] = dataclasses.replace(info, relative_path="../../secret.distcp")


def grow(metadata: Any) -> None:
    entry = metadata.state_dict_metadata["module.extra_pos_embedder.pos_emb_t"]
    entry.size = torch.Size([1 << 50, entry.size[1]])
    entry.chunks[0] = dataclasses.replace(entry.chunks[0], sizes=entry.size)


@dataclasses.dataclass(frozen=True)
class MCoreSavePlan(SavePlan):
    """As Megatron's."""

    mcore_data: dict[str, object] | None = None


MCoreSavePlan.__module__ = "megatron.core.dist_checkpointing.strategies.torch"


def test_what_megatron_keeps_beside_the_index_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It pickles the plans of all ranks too, with classes of its own."""
    weights = native_weights(VIDEO2WORLD)
    folder = save_torch_dist(stacked(weights, VIDEO2WORLD), tmp_path / "store")
    data = TensorWriteData(
        ChunkStorageMetadata(torch.Size([0]), torch.Size([72])), TensorProperties(torch.bfloat16), torch.Size([72])
    )
    index = MetadataIndex("module.affline_norm.weight")
    items = [
        WriteItem(index, WriteItemType.TENSOR, tensor_data=data),
        WriteItem(index, WriteItemType.BYTE_IO, bytes_io_data=BytesIOWriteData(3)),
    ]

    def add_plans(metadata: Any) -> None:
        metadata.all_local_plans = [MCoreSavePlan(items, mcore_data={}), SavePlan(items)]

    with monkeypatch.context() as patch:
        parts = MCoreSavePlan.__module__.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            module = types.ModuleType(name)
            module.__path__ = []
            patch.setitem(sys.modules, name, module)
        module.MCoreSavePlan = MCoreSavePlan  # type: ignore[attr-defined]
        change_metadata(folder, add_plans)
    with open_checkpoint(folder) as source:
        assert same(content(source), weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: _Owned(), "posix.system"),
        (lead_out, "outside its folder"),
        (grow, "1,125,899,906,842,624 positions"),
    ],
)
def test_a_hostile_index_of_pieces_is_refused_and_nothing_is_run(
    tmp_path: Path, change: Callable[[Any], object], words: str
) -> None:
    folder = save_torch_dist(stacked(native_weights(VIDEO2WORLD), VIDEO2WORLD), tmp_path / "store")
    change_metadata(folder, change)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert words in str(caught.value)
    assert not Path("owned").exists()


def test_weights_of_a_training_are_found_in_its_folder(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    path = save_native(weights, tmp_path / "job" / "checkpoints" / "iter_000000002_reg_model.pt")
    save_native(native_weights(TEXT2WORLD, seed=1), path.with_name("iter_000000001_reg_model.pt"))
    with open_checkpoint(tmp_path / "job") as source:
        assert source.path == path
        assert same(content(source), weights)


def test_the_constant_that_trainings_leave_out_is_there(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    del weights["net.pos_embedder.seq"]
    with open_checkpoint(save_native(weights, tmp_path / "model.pt")) as source:
        assert source.tensor("net.pos_embedder.seq").tolist() == [0, 1, 2, 3, 4, 5, 6]
