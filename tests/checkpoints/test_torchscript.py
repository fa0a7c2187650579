"""Weights out of TorchScript archives, without running what is in them."""

from __future__ import annotations

import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cosmos_cli.checkpoints.torchscript import TorchScriptCheckpoint, is_torchscript
from cosmos_cli.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")

Save = Callable[[nn.Module, Path], Path]


class Conv(nn.Module):
    """Attributes of every kind that the published modules have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(2, 3, (1, 3, 3))
        self.register_buffer("wavelets", torch.tensor([0.5, 0.5]))
        self.padding = [1, 2]
        self.ratios = [0.5, 0.25]
        self.flags = [True, False]
        self.label = "conv"
        self.pair = (1, None)
        self.sizes = {"a": 1}

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x) * self.wavelets[0]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(Conv(), nn.Identity())
        self.quant_conv = nn.Conv3d(3, 3, 1, bias=False).bfloat16()
        self.quant_conv.weight.data = self.quant_conv.weight.data.transpose(0, 1)
        self.register_buffer("_arange", torch.arange(2))
        self.register_buffer("patch_size_buffer", torch.tensor(4, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(x).to(torch.bfloat16))


def save_traced(network: nn.Module, path: Path) -> Path:
    torch.jit.trace(network, torch.ones(1, 2, 1, 4, 4)).save(path)
    return path


def save_scripted(network: nn.Module, path: Path) -> Path:
    torch.jit.script(network).save(path)
    return path


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Network().eval()


@pytest.mark.parametrize("save", [save_traced, save_scripted])
def test_the_tensors_are_those_of_the_modules_state_dict(save: Save, network: nn.Module, tmp_path: Path) -> None:
    path = save(network, tmp_path / "autoencoder.jit")
    assert is_torchscript(path)
    weights = network.state_dict()
    with TorchScriptCheckpoint(path, path) as checkpoint:
        assert set(checkpoint) == set(weights)
        for key, tensor in weights.items():
            assert (checkpoint.shape(key), checkpoint.dtype(key)) == (tensor.shape, tensor.dtype)
            assert torch.equal(checkpoint.tensor(key), tensor)


def test_two_archives_make_one_checkpoint_unless_they_overlap(network: nn.Module, tmp_path: Path) -> None:
    encoder = save_scripted(network.encoder, tmp_path / "encoder.jit")
    other = save_scripted(nn.Sequential(nn.Identity(), nn.Linear(2, 2)), tmp_path / "decoder.jit")
    assert {"0.conv3d.weight", "1.bias"} <= set(TorchScriptCheckpoint(tmp_path, encoder, other))
    with pytest.raises(CheckpointError, match="both hold"):
        TorchScriptCheckpoint(tmp_path, encoder, encoder)


def test_other_files_are_no_torchscript(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "model.pt")
    (tmp_path / "text.jit").write_text("version https://git-lfs.github.com/spec/v1")
    for path in tmp_path.iterdir():
        assert not is_torchscript(path)
        with pytest.raises(CheckpointError, match=path.name):
            TorchScriptCheckpoint(path, path)
    with pytest.raises(CheckpointError, match="does not exist"):
        TorchScriptCheckpoint(tmp_path, tmp_path / "encoder.jit")


def test_frozen_weights_have_no_names_and_are_called_so(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "frozen.jit"
    torch.jit.freeze(torch.jit.script(network.encoder)).save(path)
    with pytest.raises(CheckpointError, match="frozen"):
        TorchScriptCheckpoint(path, path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)


def rewritten(source: Path, target: Path, **members: bytes) -> Path:
    """A copy of an archive with other contents for the members that end in these names, dots as underscores."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = members.get(name.partition("/")[2].replace(".", "_"))
            new.writestr(name, old.read(name) if content is None else content)
    return target


def test_a_hostile_archive_is_refused_and_nothing_is_run(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = save_scripted(network, tmp_path / "autoencoder.jit")
    evil = rewritten(source, tmp_path / "evil.jit", data_pkl=pickle.dumps(Evil(), protocol=2))
    with pytest.raises(CheckpointError, match=r"nothing in it was run"):
        TorchScriptCheckpoint(evil, evil)
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"\x80\x02K\x01.", b"\x80\x02(]."])
def test_a_pickle_that_describes_no_module_is_refused(content: bytes, network: nn.Module, tmp_path: Path) -> None:
    source = save_scripted(network, tmp_path / "autoencoder.jit")
    bad = rewritten(source, tmp_path / "bad.jit", data_pkl=content)
    with pytest.raises(CheckpointError, match="damaged"):
        TorchScriptCheckpoint(bad, bad)


def test_a_module_that_contains_itself_is_refused(network: nn.Module, tmp_path: Path) -> None:
    source = save_scripted(network, tmp_path / "autoencoder.jit")
    # an object whose only attribute `a` is itself
    cyclic = b"\x80\x02c__torch__\nM\nq\x00)\x81q\x01}(X\x01\x00\x00\x00ah\x01ub."
    bad = rewritten(source, tmp_path / "bad.jit", data_pkl=cyclic)
    with pytest.raises(CheckpointError, match="damaged"):
        TorchScriptCheckpoint(bad, bad)


def test_random_damage_never_ends_in_anything_but_a_checkpoint_error(network: nn.Module, tmp_path: Path) -> None:
    source = save_scripted(network, tmp_path / "autoencoder.jit")
    with zipfile.ZipFile(source) as archive:
        (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        intact = archive.read(listing)
    whole = source.read_bytes()
    rng = random.Random(0)
    path = tmp_path / "damaged.jit"
    for number in range(200):
        damaged = bytearray(whole if number % 2 else intact)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        if number % 2:
            path.write_bytes(damaged[: len(damaged) if number % 3 else rng.randrange(len(damaged))])
        else:
            rewritten(source, path, data_pkl=bytes(damaged))
        try:
            with TorchScriptCheckpoint(path, path) as checkpoint:
                for key in checkpoint:
                    checkpoint.tensor(key)
        except CheckpointError:
            pass


def test_a_tensor_cannot_reach_outside_of_its_storage(network: nn.Module, tmp_path: Path) -> None:
    source = save_scripted(network, tmp_path / "autoencoder.jit")
    with zipfile.ZipFile(source) as archive:
        (listing,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        intact = archive.read(listing)
    # `wavelets` has two elements: size (2,) and stride (1,) follow its offset 0
    box = b"K\x00(K\x02t(K\x01t"
    assert box in intact
    bad = rewritten(source, tmp_path / "bad.jit", data_pkl=intact.replace(box, b"K\x01(K\x02t(K\x01t"))
    with pytest.raises(CheckpointError, match="reaches outside"):
        TorchScriptCheckpoint(bad, bad)
