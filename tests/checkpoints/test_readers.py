"""Every format that weights are published in, and everything that can lie in their place."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import Tensor

from cosmos_cli.checkpoints.readers import open_checkpoint
from cosmos_cli.checkpoints.torch_files import load_without_code
from cosmos_cli.errors import CheckpointError

Weights = dict[str, Tensor]


@pytest.fixture
def weights() -> Weights:
    generator = torch.Generator().manual_seed(0)
    return {
        "net.a.weight": torch.randn(4, 6, generator=generator),
        "net.b.weight": torch.randn(3, 2, 5, generator=generator).bfloat16(),
        "net.count": torch.tensor(7),
    }


def write_safetensors(weights: Weights, folder: Path) -> Path:
    save_file(weights, folder / "model.safetensors")
    return folder / "model.safetensors"


def write_torch(weights: Weights, folder: Path) -> Path:
    torch.save(weights, folder / "model.pt")
    return folder / "model.pt"


def write_legacy_torch(weights: Weights, folder: Path) -> Path:
    torch.save(weights, folder / "model.bin", _use_new_zipfile_serialization=False)
    return folder / "model.bin"


def write_compressed_torch(weights: Weights, folder: Path) -> Path:
    plain = write_torch(weights, folder)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(folder / "small.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    plain.unlink()
    return folder / "small.pt"


def write_misnamed_safetensors(weights: Weights, folder: Path) -> Path:
    return write_safetensors(weights, folder).rename(folder / "safetensors_inside.pt")


def write_misnamed_torch(weights: Weights, folder: Path) -> Path:
    return write_torch(weights, folder).rename(folder / "torch_inside.safetensors")


def write_shards(weights: Weights, folder: Path, save: Callable[[Weights, Path], None], pattern: str) -> dict[str, str]:
    """Each tensor in a shard of its own; returns which is where."""
    names = {key: pattern.format(i + 1, len(weights)) for i, key in enumerate(weights)}
    for key, name in names.items():
        save({key: weights[key]}, folder / name)
    return names


def write_index(folder: Path, weight_map: object, name: str = "model.safetensors.index.json") -> Path:
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder / name


def write_sharded_safetensors(weights: Weights, folder: Path) -> Path:
    return write_index(folder, write_shards(weights, folder, save_file, "model-{:05d}-of-{:05d}.safetensors"))


def write_sharded_torch(weights: Weights, folder: Path) -> Path:
    files = write_shards(weights, folder, torch.save, "pytorch_model-{:05d}-of-{:05d}.bin")
    return write_index(folder, files, "pytorch_model.bin.index.json")


def write_numbered_set(weights: Weights, folder: Path) -> Path:
    write_shards(weights, folder, save_file, "model-{:05d}-of-{:05d}.safetensors")
    return folder


def write_distributed(weights: Weights, folder: Path) -> Path:
    dcp.save({**weights, "step": 7}, checkpoint_id=folder, no_dist=True)
    return folder


def write_distributed_training(weights: Weights, folder: Path) -> Path:
    state = {"model": weights, "optim": {"net.a.weight": torch.ones(2), "step": 7}}
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def write_training_step(weights: Weights, folder: Path) -> Path:
    write_distributed({"moment": torch.ones(2)}, folder / "optim")
    return write_distributed(weights, folder / "model")


WRITERS = [
    write_safetensors,
    write_torch,
    write_legacy_torch,
    write_compressed_torch,
    write_misnamed_safetensors,
    write_misnamed_torch,
    write_sharded_safetensors,
    write_sharded_torch,
    write_numbered_set,
    write_distributed,
    write_distributed_training,
    write_training_step,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    return folder


def assert_holds(path: Path, weights: Weights) -> None:
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.keys()) == set(checkpoint) == set(weights)
        assert checkpoint.num_bytes == sum(tensor.nbytes for tensor in weights.values())
        for key, tensor in weights.items():
            assert checkpoint.shape(key) == tensor.shape
            assert checkpoint.dtype(key) == tensor.dtype
            assert torch.equal(checkpoint.tensor(key), tensor)
            assert not checkpoint.tensor(key).requires_grad


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_back_the_tensors_that_were_written(
    write: Callable[[Weights, Path], Path], weights: Weights, folder: Path
) -> None:
    path = write(weights, folder)
    assert open_checkpoint(path).path == path
    assert_holds(path, weights)
    assert_holds(folder, weights)


@pytest.mark.parametrize("write", [write_safetensors, write_torch])
def test_tensors_are_views_of_the_file(write: Callable[[Weights, Path], Path], folder: Path) -> None:
    path = write({"a": torch.ones(1 << 16)}, folder)
    tensor = open_checkpoint(path).tensor("a")
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    ranges = [[int(end, 16) for end in line.split(" ")[0].split("-")] for line in mapped]
    assert any(start <= tensor.data_ptr() < end for start, end in ranges)
    tensor.zero_()
    assert open_checkpoint(path).tensor("a").sum() == 1 << 16, "writing to a tensor must not write to the file"


def test_tensors_outlive_the_checkpoint_and_a_closed_one_says_so(weights: Weights, folder: Path) -> None:
    with open_checkpoint(write_torch(weights, folder)) as checkpoint:
        tensor = checkpoint.tensor("net.a.weight")
        with pytest.raises(KeyError):
            checkpoint.tensor("net.c.weight")
    assert torch.equal(tensor, weights["net.a.weight"])
    with pytest.raises(ValueError, match="closed"):
        checkpoint.tensor("net.a.weight")


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", "ema"])
def test_a_training_checkpoint_is_unwrapped_and_its_extras_left_out(
    wrapper: str, weights: Weights, folder: Path
) -> None:
    inner = {**weights, "net.attn._extra_state": io.BytesIO(b"fp8 recipe"), "net.scale": 2.5}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save({wrapper: inner, "optimizer": optimizer, "step": torch.tensor(3), "epoch": 1}, folder / "model.pt")
    assert_holds(folder / "model.pt", weights)


@pytest.mark.parametrize("zipped", [True, False])
def test_counters_and_random_states_of_numpy_are_left_out(zipped: bool, weights: Weights, folder: Path) -> None:
    extras = {
        "iteration": np.int64(7),
        "loss": [np.float32(0.5), np.bool_(True), np.float64("nan")],
        "shape": np.arange(3),
        "random": {"numpy": np.random.RandomState(0).get_state()},
    }
    torch.save(weights | extras, folder / "model.pt", _use_new_zipfile_serialization=zipped)
    assert_holds(folder / "model.pt", weights)


def test_the_wrapper_that_is_preferred_is_opened_and_dashes_in_averaged_names_are_dots(
    weights: Weights, folder: Path
) -> None:
    averaged = {key.replace(".", "-"): tensor + 1 for key, tensor in weights.items()}
    path = folder / "model.pt"
    torch.save({"model": weights, "ema": averaged}, path)
    assert_holds(path, weights)
    checkpoint = open_checkpoint(path, ("ema", "model"))
    assert (checkpoint.wrapper, set(checkpoint)) == ("ema", set(weights))
    assert torch.equal(checkpoint.tensor("net.a.weight"), weights["net.a.weight"] + 1)
    torch.save({"ema": averaged}, path)
    assert set(open_checkpoint(path)) == set(weights)
    torch.save({"my-layer": torch.ones(1)}, path)
    assert set(open_checkpoint(path)) == {"my-layer"}


def test_shards_of_a_training_are_unwrapped_alike(weights: Weights, folder: Path) -> None:
    files = {}
    for number, (key, tensor) in enumerate(weights.items(), 1):
        files[key] = f"pytorch_model-{number:05}-of-00003.bin"
        torch.save({"model": {key: tensor}, "ema": {key.replace(".", "-"): tensor + 1}}, folder / files[key])
    for path in (folder, write_index(folder, files, "pytorch_model.bin.index.json")):
        assert_holds(path, weights)
        checkpoint = open_checkpoint(path, ("ema",))
        assert (checkpoint.wrapper, checkpoint.tensor("net.count")) == ("ema", 8)


def test_one_of_the_wrapper_names_may_also_be_a_plain_tensor(folder: Path) -> None:
    weights = {"model": torch.ones(2), "other": torch.ones(3)}
    assert_holds(write_torch(weights, folder), weights)


def test_parameters_come_out_as_plain_tensors(folder: Path) -> None:
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, folder / "model.pt")
    assert_holds(folder / "model.pt", {"a": torch.ones(2)})


# ---- files that are no checkpoint


def zip_with(folder: Path, *names: str) -> bytes:
    with zipfile.ZipFile(folder / "some.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"?")
    return (folder / "some.zip").read_bytes()


def torchscript(folder: Path) -> bytes:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(folder / "traced"))
    return (folder / "traced").read_bytes()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3912826880\n"

NO_CHECKPOINTS: dict[str, tuple[bytes | Callable[[Path], bytes], str, str]] = {
    "empty": (b"", "is empty", "Download it again"),
    "lfs": (LFS_POINTER, "Git LFS pointer", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html>Sign in</html>", "web page", "logged in"),
    "s3": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page", "logged in"),
    "denied": (b"Access to nvidia/X is restricted.\nLog in.", "'Access to nvidia/X is restricted.'", "follow"),
    "json": (b'{"error": "not found"}', "text file that begins with", "download the checkpoint again"),
    "zeros": (bytes(4096), "file of zeros", "Download it again"),
    "noise": (bytes(range(200, 256)), "in no known format", "safetensors"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "gzip archive", "Unpack"),
    "numpy": (b"\x93NUMPY\x01\x00" + bytes(64), "NumPy array", "original"),
    "torchscript": (torchscript, "TorchScript", "plain weights"),
    "other_zip": (lambda folder: zip_with(folder, "x/y.npy"), "zip archive that torch.save did not write", "Unpack"),
    "tensor": (lambda _: saved(torch.ones(2)), "holds a Tensor", "state dict"),
    "no_tensors": (lambda _: saved({"step": 3, "cfg": {}}), "no named tensors.*'step', 'cfg'", "state dict"),
    "meta": (lambda _: saved({"a": torch.ones(2, device="meta")}), "not plain arrays", "dense"),
    "sparse": (lambda _: saved({"a": torch.eye(3).to_sparse()}), "not plain arrays", "dense"),
}


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_called_by_its_name(name: str, tmp_path: Path) -> None:
    content, what, fix = NO_CHECKPOINTS[name]
    path = tmp_path / "model.pt"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(CheckpointError, match=what) as caught:
        open_checkpoint(path)
    problem = caught.value.problems[0]
    assert problem.where == str(path)
    assert problem.fix is not None
    assert fix in problem.fix


def test_a_missing_file_and_a_special_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_checkpoint(tmp_path / "model.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(tmp_path / "pipe.pt")


@pytest.mark.parametrize("write", [write_safetensors, write_torch, write_legacy_torch])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
def test_a_truncated_file_is_called_truncated(
    write: Callable[[Weights, Path], Path], part: float, weights: Weights, folder: Path
) -> None:
    path = write(weights, folder)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="truncated"):
        open_checkpoint(path)


@pytest.mark.parametrize("write", [write_torch, write_safetensors])
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_random_damage_never_ends_in_anything_but_a_checkpoint_error(
    write: Callable[[Weights, Path], Path], damage: str, weights: Weights, folder: Path
) -> None:
    path = write(weights, folder)
    intact = path.read_bytes()
    rng = random.Random(f"{write.__name__} {damage}")
    for _ in range(40):
        damaged = bytearray(intact)
        if damage == "truncate":
            del damaged[rng.randrange(len(intact)) :]
        else:
            damaged[rng.randrange(len(intact))] ^= 1 << rng.randrange(8)
        path.unlink()
        path.write_bytes(damaged)
        try:
            with open_checkpoint(path) as checkpoint:
                for key in checkpoint:
                    checkpoint.tensor(key).clone()
        except CheckpointError:
            continue
        assert damage == "flip", "a truncated file must not load"


# ---- hostile files


class Evil:
    """Creates the file `executed` in the working folder when it is unpickled without care."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def write_evil_zip(path: Path) -> None:
    torch.save({"net.a": torch.ones(2), "net.b": Evil()}, path)


def write_evil_legacy(path: Path) -> None:
    torch.save({"net.a": torch.ones(2), "net.b": Evil()}, path, _use_new_zipfile_serialization=False)


def write_evil_old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(), protocol=2))


def write_evil_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def write_evil_array(path: Path) -> None:
    torch.save({"net.a": torch.ones(2), "random": np.array([Evil()], dtype=object)}, path)


@pytest.mark.parametrize(
    "write", [write_evil_zip, write_evil_legacy, write_evil_old_pickle, write_evil_pickle, write_evil_array]
)
def test_a_hostile_pickle_is_refused_and_nothing_is_run(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"nothing in it was run") as caught:
        open_checkpoint(tmp_path / "model.pt")
    assert "weights_only=False" not in str(caught.value), "never advise to switch the protection off"
    assert not Path("executed").exists()


def test_numpy_types_are_never_built_from_what_a_file_says(tmp_path: Path) -> None:
    class Pointer:
        """A number of a type that NumPy would take for the address of an object."""

        def __reduce__(self) -> tuple[object, tuple[object, bytes]]:
            return np.float64(0).__reduce__()[0], (np.dtype([("a", "O")]), bytes(8))

    torch.save({"net.a": torch.ones(2), "step": Pointer()}, tmp_path / "model.pt")
    assert set(open_checkpoint(tmp_path / "model.pt")) == {"net.a"}
    content = load_without_code(tmp_path / "model.pt", tmp_path / "model.pt")
    assert not isinstance(content["step"], np.generic | np.ndarray)


def test_hostile_metadata_of_a_distributed_checkpoint_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    for evil in (Evil(), {"planner_data": Evil()}, getattr, torch.load):
        (tmp_path / ".metadata").write_bytes(pickle.dumps(evil))
        with pytest.raises(CheckpointError, match="refused"):
            open_checkpoint(tmp_path)
    assert not Path("executed").exists()


# ---- folders and indices


def test_an_empty_and_an_ambiguous_folder_say_so(weights: Weights, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        open_checkpoint(folder)
    write_torch(weights, folder)
    write_safetensors(weights, folder)
    with pytest.raises(CheckpointError, match=r"more than one checkpoint: model.pt, model.safetensors"):
        open_checkpoint(folder)


def test_all_missing_shards_are_listed_at_once(weights: Weights, folder: Path) -> None:
    index = write_sharded_safetensors(weights, folder)
    for number in (1, 3):
        (folder / f"model-0000{number}-of-00003.safetensors").unlink()
    for path in (index, folder):
        with pytest.raises(CheckpointError, match=r"2 of the 3 .*model-00001-of-.*model-00003-of-"):
            open_checkpoint(path)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"missing: model-00001-of-.*model-00003-of-"):
        open_checkpoint(folder)


def test_an_index_must_agree_with_its_shards(weights: Weights, folder: Path) -> None:
    write_safetensors(weights, folder)
    index = write_index(folder, dict.fromkeys([*weights, "net.absent"], "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"net.absent in model.safetensors"):
        open_checkpoint(index)


@pytest.mark.parametrize("weight_map", [None, [1], {"a": 3}, {"a": "model.safetensors.index.json"}])
def test_a_malformed_index_is_refused(weight_map: object, folder: Path) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(write_index(folder, weight_map))


@pytest.mark.parametrize("name", ["../outside.safetensors", "sub/../../outside.safetensors", "{absolute}", "a\0b"])
def test_an_index_cannot_lead_outside_its_folder(name: str, tmp_path: Path, folder: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    save_file({"a": torch.ones(1)}, outside)
    (folder / "sub").mkdir()
    with pytest.raises(CheckpointError, match="outside its folder"):
        open_checkpoint(write_index(folder, {"a": name.format(absolute=outside)}))


def test_a_hugging_face_cache_is_built_of_symlinks_and_still_opens(weights: Weights, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--nvidia--X" / "snapshots" / "0123abc"
    blobs = tmp_path / "models--nvidia--X" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    write_sharded_safetensors(weights, snapshot)
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    assert_holds(snapshot, weights)


@pytest.mark.parametrize("with_index", [True, False])
def test_shards_may_be_links_to_anywhere(with_index: bool, weights: Weights, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "model", tmp_path / "store" / "blobs"
    folder.mkdir()
    elsewhere.mkdir(parents=True)
    (write_sharded_safetensors if with_index else write_numbered_set)(weights, folder)
    for number, file in enumerate(sorted(folder.glob("*.safetensors"))):
        file.rename(elsewhere / str(number))
        file.symlink_to(Path("..") / "store" / "blobs" / str(number))
    assert_holds(folder, weights)


# ---- torch.distributed.checkpoint


def save_in_pieces(rank: int, rendezvous: Path, folder: Path) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    full = torch.arange(35.0).reshape(5, 7)
    dcp.save({f"dim{dim}": distribute_tensor(full, mesh, [Shard(dim)]) for dim in (0, 1)}, checkpoint_id=folder)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_a_tensor_that_two_processes_wrote_in_uneven_pieces_is_put_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(save_in_pieces, (tmp_path / "rendezvous", tmp_path / "dcp"), nprocs=2)
    full = torch.arange(35.0).reshape(5, 7)
    assert_holds(tmp_path / "dcp", {"dim0": full, "dim1": full})


@pytest.fixture
def distributed(weights: Weights, folder: Path) -> Path:
    with pytest.warns(UserWarning, match="single process"):
        return write_distributed(weights, folder)


def test_a_distributed_checkpoint_can_be_named_by_its_metadata_file(distributed: Path, weights: Weights) -> None:
    assert_holds(distributed / ".metadata", weights)


def test_a_distributed_checkpoint_whose_files_are_missing_or_cut_short_is_refused(distributed: Path) -> None:
    (piece,) = distributed.glob("*.distcp")
    piece.write_bytes(piece.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is truncated"):
        open_checkpoint(distributed)
    piece.unlink()
    with pytest.raises(CheckpointError, match=f"missing: {piece.name}"):
        open_checkpoint(distributed)


def test_hostile_pieces_of_a_distributed_checkpoint_are_refused_and_nothing_is_run(distributed: Path) -> None:
    (piece,) = distributed.glob("*.distcp")
    write_evil_zip(piece)
    metadata = pickle.loads((distributed / ".metadata").read_bytes())
    for info in metadata.storage_data.values():
        info.offset, info.length = 0, piece.stat().st_size
    (distributed / ".metadata").write_bytes(pickle.dumps(metadata))
    checkpoint = open_checkpoint(distributed)
    with pytest.raises(CheckpointError, match=r"nothing in it was run.*system"):
        checkpoint.tensor("net.a.weight")
    assert not Path("executed").exists()


def test_metadata_that_names_files_outside_the_folder_is_refused(distributed: Path) -> None:
    metadata = distributed / ".metadata"
    (piece,) = distributed.glob("*.distcp")
    other = "../" + "x" * (len(piece.name) - 3)
    piece.rename(distributed / other)
    metadata.write_bytes(metadata.read_bytes().replace(piece.name.encode(), other.encode()))
    with pytest.raises(CheckpointError, match="outside its folder"):
        open_checkpoint(distributed)


def test_metadata_that_contradicts_itself_or_the_pieces_is_refused(weights: Weights, distributed: Path) -> None:
    path = distributed / ".metadata"
    original = pickle.loads(path.read_bytes())

    def rewrite(size: list[int], chunk: list[int]) -> None:
        entry = original.state_dict_metadata["net.a.weight"]
        entry.size, entry.chunks[0].sizes = torch.Size(size), torch.Size(chunk)
        path.write_bytes(pickle.dumps(original))

    rewrite([4, 7], [4, 6])
    with pytest.raises(CheckpointError, match="do not cover"):
        open_checkpoint(distributed)
    rewrite([4, 3], [2, 6])
    with pytest.raises(CheckpointError, match="reaches outside"):
        open_checkpoint(distributed)
    rewrite([6, 4], [6, 4])
    checkpoint = open_checkpoint(distributed)
    assert torch.equal(checkpoint.tensor("net.b.weight"), weights["net.b.weight"])
    with pytest.raises(CheckpointError, match=r"does not hold the piece of `net.a.weight`"):
        checkpoint.tensor("net.a.weight")


def test_random_damage_to_metadata_never_ends_in_anything_but_a_checkpoint_error(distributed: Path) -> None:
    path = distributed / ".metadata"
    intact = path.read_bytes()
    rng = random.Random(0)
    for _ in range(100):
        damaged = bytearray(intact)
        damaged[rng.randrange(len(intact))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            with open_checkpoint(distributed) as checkpoint:
                for key in checkpoint:
                    checkpoint.tensor(key)
        except CheckpointError:
            pass
