"""Conversions: all directions, bit by bit; and that nothing half-written or foreign is touched."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from cosmos_cli import output
from cosmos_cli.errors import CheckpointError, CosmosError, DiskFull, InputError
from cosmos_plugins.nemo_bridge.convert import conversion, writers
from cosmos_plugins.nemo_bridge.convert.conversion import Converted, convert
from cosmos_plugins.nemo_bridge.convert.requests import ConversionRequest
from cosmos_plugins.nemo_bridge.convert.sources import open_checkpoint
from tests.plugins.nemo_bridge.convert.stores import (
    TEXT2WORLD,
    VIDEO2WORLD,
    Weights,
    native_weights,
    same,
    save_native,
    save_zarr,
    stacked,
    train_in_nemo,
)

LAYOUTS = ("native", "nemo-zarr", "nemo-torch-dist", "diffusers")


def to(layout: str, source: Path, target: Path, **fields: Any) -> Converted:
    return convert(ConversionRequest(source=source, target=target, to=layout, **fields))  # type: ignore[arg-type]


def read(path: Path) -> Weights:
    with open_checkpoint(path) as source:
        return {key: source.tensor(key).clone() for key in source}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(("first", "second"), product(LAYOUTS, LAYOUTS))
def test_every_layout_comes_of_every_other_and_back_bit_by_bit(tmp_path: Path, first: str, second: str) -> None:
    variant = TEXT2WORLD if first < second else VIDEO2WORLD
    weights = native_weights(variant)
    start = save_native(weights, tmp_path / "start.pt")
    one = to(first, start, tmp_path / "one").path
    two = to(second, one, tmp_path / "two").path
    back = to("native", two, tmp_path / "back.safetensors").path
    assert same(read(one), weights)
    assert same(read(two), weights)
    assert same(read(back), weights)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_nemo_has_trained_goes_through_every_layout_and_comes_back(tmp_path: Path, layout: str) -> None:
    store = train_in_nemo(stacked(native_weights(VIDEO2WORLD), VIDEO2WORLD))
    start = save_zarr(store, tmp_path / "start", tp=3)
    one = to(layout, start, tmp_path / "one").path
    if layout in ("native", "diffusers"):
        assert any("share one modulation of rank 12" in text for text in output.notices())
    back = to("nemo-zarr", one, tmp_path / "back").path
    with open_checkpoint(back) as source:
        assert source.is_dense
    for name, tensor in store.items():
        index = ".".join("0" * tensor.ndim)
        files = sorted(path for path in (back / f"module.{name}").iterdir() if path.name != ".zarray")
        content = b"".join(path.read_bytes() for path in files)
        assert content == tensor.contiguous().view(torch.uint8).numpy().tobytes(), f"{name} {index}"


def test_nemos_store_is_what_its_rules_say_whoever_reads_it(tmp_path: Path) -> None:
    weights = native_weights(VIDEO2WORLD)
    want = stacked(weights, VIDEO2WORLD)
    start = save_native(weights, tmp_path / "model.pt")
    zarr = to("nemo-zarr", start, tmp_path / "zarr").path
    assert {path.name for path in zarr.iterdir()} == {
        "metadata.json",
        "common.pt",
        *(f"module.{name}" for name in want),
    }
    assert json.loads((zarr / "metadata.json").read_text())["sharded_backend"] == "zarr"
    assert torch.load(zarr / "common.pt", weights_only=True) == {}
    header = json.loads((zarr / "module.decoder.layers.mlp.linear_fc1.weight" / ".zarray").read_text())
    assert header == {
        "chunks": [1, 144, 72],
        "compressor": None,
        "dtype": "bfloat16",
        "fill_value": None,
        "filters": None,
        "order": "C",
        "shape": [2, 144, 72],
        "zarr_format": 2,
    }
    folder = to("nemo-torch-dist", start, tmp_path / "torch").path
    content = {f"module.{name}": torch.empty_like(tensor) for name, tensor in want.items()}
    dcp.load(content, checkpoint_id=folder, no_dist=True)
    assert same({name.removeprefix("module."): tensor for name, tensor in content.items()}, want)


def test_the_native_file_is_one_of_torch_save_that_can_be_mapped(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    start = save_zarr(stacked(weights, TEXT2WORLD), tmp_path / "store")
    path = to("native", start, tmp_path / "out").path
    assert path == tmp_path / "out" / "model.pt"
    assert same(torch.load(path, weights_only=True), weights)
    mapped = torch.load(path, weights_only=True, mmap=True)
    assert same(mapped, weights)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in mapped.values())


def test_a_type_may_be_given_and_is_needed_where_one_stack_has_several(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD, dtype=torch.float32)
    weights["net.blocks.block1.blocks.2.block.layer1.weight"] = weights[
        "net.blocks.block1.blocks.2.block.layer1.weight"
    ].bfloat16()
    start = save_native(weights, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"(?s)--dtype bfloat16.*mlp.linear_fc1.weight: bfloat16, float32"):
        to("nemo-zarr", start, tmp_path / "store")
    back = to("native", to("nemo-zarr", start, tmp_path / "store", dtype="bfloat16").path, tmp_path / "back.pt").path
    assert same(read(back), {name: tensor.bfloat16() for name, tensor in weights.items()})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_that_a_type_has_no_room_for_are_refused(tmp_path: Path, layout: str) -> None:
    weights = native_weights(TEXT2WORLD)
    weights["net.affline_norm.weight"][3] = 1e6
    start = save_native(weights, tmp_path / "model.pt")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"float16 ends at 6\.55e\+04, and the source holds 9\.99e\+05"):
        to(layout, start, tmp_path / "out" / "store", dtype="float16")
    assert not list((tmp_path / "out").iterdir())


def test_the_layout_is_told_by_the_name_of_a_file_and_asked_for_else(tmp_path: Path) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    done = convert(ConversionRequest(source=start, target=tmp_path / "copy.safetensors"))
    assert (done.to, done.path) == ("native", tmp_path / "copy.safetensors")
    with pytest.raises(InputError, match="--to native, nemo-zarr"):
        convert(ConversionRequest(source=start, target=tmp_path / "folder"))


def test_what_diffusers_has_no_place_for_stands_beside_and_a_folder_without_it_is_told_of(tmp_path: Path) -> None:
    weights = native_weights(TEXT2WORLD)
    folder = to("diffusers", save_native(weights, tmp_path / "model.pt"), tmp_path / "folder").path
    assert names(folder) == {
        "cosmos",
        "cosmos/native.safetensors",
        "transformer",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    }
    shutil.rmtree(folder / "cosmos")
    found = read(to("native", folder / "transformer", tmp_path / "back.pt").path)
    assert any("no head of the training loss" in text for text in output.notices())
    left = {name: tensor for name, tensor in weights.items() if not name.startswith("logvar.")}
    assert same(found, left)


def test_a_network_of_many_bytes_is_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_SHARD_BYTES", 60_000)
    weights = native_weights(TEXT2WORLD)
    folder = to("diffusers", save_native(weights, tmp_path / "model.pt"), tmp_path / "folder").path / "transformer"
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 3
    assert all((folder / file).stat().st_size < 70_000 for file in files)
    assert same(read(folder), weights)


def test_nothing_stays_of_a_conversion_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    (tmp_path / "out").mkdir()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for layout in LAYOUTS:
        with monkeypatch.context() as patch:
            for name in ("cosmos_cli.checkpoints.tensor_files.write_numbers", "torch.save"):
                patch.setattr(name, fail)
            patch.setattr(writers, "write_numbers", fail)
            with pytest.raises(DiskFull):
                to(layout, start, tmp_path / "out" / layout)
        assert names(tmp_path / "out") - {"native"} == set(), layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_gives_back_other_numbers_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    write, save, count = writers.write_numbers, torch.save, [0]

    def flipped(tensor: Tensor) -> Tensor:
        count[0] += 1
        if count[0] != 9:
            return tensor
        other = tensor.clone()
        other.view(torch.int16).flatten()[-1] ^= 1
        return other

    monkeypatch.setattr(writers, "write_numbers", lambda file, tensor: write(file, flipped(tensor)))
    monkeypatch.setattr(
        "cosmos_cli.checkpoints.tensor_files.write_numbers", lambda file, tensor: write(file, flipped(tensor))
    )
    monkeypatch.setattr(torch, "save", lambda content, file: save(flipped(content) if len(content) else content, file))
    with pytest.raises(CosmosError, match="not what was written"):
        to(layout, start, tmp_path / "out")
    assert count[0] >= 9
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_disk_is_asked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    monkeypatch.setattr(conversion, "free_bytes", lambda folder: 1_000_000)
    with pytest.raises(InputError, match=r"needs 0\.0 GB, but its disk has 0\.0 GB free"):
        to("nemo-zarr", start, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_there_is_replaced_only_when_asked_and_when_the_new_one_is_whole(tmp_path: Path, layout: str) -> None:
    first, second = native_weights(TEXT2WORLD, seed=0), native_weights(TEXT2WORLD, seed=1)
    target = tmp_path / "out"
    path = to(layout, save_native(first, tmp_path / "a.pt"), target).path
    other = save_native(second, tmp_path / "b.pt")
    with pytest.raises(InputError, match="exists already"):
        to(layout, other, target)
    bad = save_native({"net.affline_norm.weight": torch.ones(48)}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError):
        to(layout, bad, target, overwrite=True)
    assert same(read(path), first)
    assert to(layout, other, target, overwrite=True).path == path
    assert same(read(path), second)
    assert {entry.name for entry in tmp_path.iterdir()} - {"here", "cache"} == {"a.pt", "b.pt", "bad.pt", "out"}


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"other things than a checkpoint.*thesis\.tex"):
        to("nemo-zarr", start, home, overwrite=True)
    assert (home / "thesis.tex").read_text() == "years"
    with pytest.raises(InputError, match="no folder"):
        to("nemo-zarr", start, home / "thesis.tex")


@pytest.mark.parametrize("name", ["transformer", "cosmos"])
def test_folders_of_others_with_names_that_diffusers_have_are_never_replaced(tmp_path: Path, name: str) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    target = to("diffusers", start, tmp_path / "sources").path
    (target / name / "train.py").write_text("years")
    with pytest.raises(InputError, match=rf"other things than a checkpoint.*{name}/train\.py"):
        to("diffusers", start, target, overwrite=True)
    (target / name / "train.py").unlink()
    assert to("diffusers", start, target, overwrite=True).path == target


@pytest.mark.parametrize("target", ["store", "store/inside", "."])
def test_source_and_target_do_not_lie_in_each_other(tmp_path: Path, target: str) -> None:
    store = save_zarr(stacked(native_weights(TEXT2WORLD), TEXT2WORLD), tmp_path / "store")
    with pytest.raises(InputError, match="lie in each other"):
        to("diffusers", store, tmp_path / target, overwrite=True)
    assert (store / "metadata.json").is_file()


def test_what_a_killed_conversion_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    left = tmp_path / ".out.0123abcd.partial"
    left.mkdir()
    (left / "metadata.json").touch()
    other = tmp_path / ".other.0123abcd.partial"
    other.mkdir()
    to("nemo-zarr", start, tmp_path / "out")
    assert not left.exists()
    assert other.exists()


def test_nemos_scripts_want_the_size_in_the_path(tmp_path: Path) -> None:
    conversion._tell_name("7b", tmp_path / "cosmos")
    assert any("put 7b into it" in text for text in output.notices())
    output.configure(speaking=False)
    conversion._tell_name("7b", Path("/data/my-7B-run"))
    assert not output.notices()


def test_a_camera_network_converts_to_nemo_but_not_to_diffusers(tmp_path: Path) -> None:
    from dataclasses import replace

    variant = replace(VIDEO2WORLD, columns_in=96)
    weights = native_weights(variant)
    start = save_native(weights, tmp_path / "model.pt")
    store = to("nemo-zarr", start, tmp_path / "store").path
    assert same(read(store), weights)
    with pytest.raises(CheckpointError, match="as only NeMo's own for cameras are"):
        to("diffusers", start, tmp_path / "folder")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    start = save_native(native_weights(TEXT2WORLD), tmp_path / "model.pt")
    (tmp_path / "out").mkdir()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "_verify", stop)  # all of it is written by then
    with pytest.raises(KeyboardInterrupt):
        to(layout, start, tmp_path / "out" / "store")
    assert not list((tmp_path / "out").rglob("*"))


def test_the_nearest_network_of_the_published_rank_is_the_best_one_and_its_distance_is_told(tmp_path: Path) -> None:
    untrained = native_weights(VIDEO2WORLD, dtype=torch.float32)
    store = train_in_nemo(stacked(untrained, VIDEO2WORLD))
    start = save_zarr(store, tmp_path / "store")
    done = to("native", start, tmp_path / "near.pt", lossy=True)
    near, exact = read(done.path), read(start)
    assert done.rank == VIDEO2WORLD.rank
    assert {name: tensor.shape for name, tensor in near.items()} == {n: t.shape for n, t in untrained.items()}
    for block in range(VIDEO2WORLD.num_blocks):
        worst = 0.0
        for part in range(3):
            name = f"net.blocks.block{block}.blocks.{part}.adaLN_modulation."
            want = exact[f"{name}2.weight"] @ exact[f"{name}1.weight"]
            found = near[f"{name}2.weight"] @ near[f"{name}1.weight"]
            dropped = untrained[f"{name}2.weight"] @ untrained[f"{name}1.weight"]
            assert (found - want).norm() < (dropped - want).norm()
            worst = max(worst, float((found - want).norm() / want.norm()))
        assert done.errors[block] == pytest.approx(worst, rel=1e-3)
    others = [name for name in near if "adaLN_modulation" not in name]
    assert same({name: near[name] for name in others}, {name: exact[name] for name in others})
    assert "off by" in output.notices()[0]


def test_a_network_of_the_published_rank_is_the_same_when_it_need_not_be(tmp_path: Path) -> None:
    weights = native_weights(VIDEO2WORLD)
    start = save_zarr(stacked(weights, VIDEO2WORLD), tmp_path / "store")
    assert same(read(to("native", start, tmp_path / "same.pt", lossy=True).path), weights)
