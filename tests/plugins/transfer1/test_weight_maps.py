"""Files of weight maps: read as what they plainly mean, and refused in our words otherwise."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cosmos_cli.errors import InputError
from cosmos_plugins.transfer1.weight_maps import read_weight_map
from tests.clips import encode

WHERE = "edge, control_weight"
MASK = np.zeros((24, 32), np.uint8)
MASK[:, :16] = 255
HALF = (MASK > 0).astype(np.float32)


def save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(values), path)
    elif path.suffix == ".safetensors":
        save_file({"mask": torch.from_numpy(values)}, path)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("name", ["m.npy", "m.pt", "m.safetensors"])
@pytest.mark.parametrize(
    "values", [MASK, MASK > 0, (MASK > 0).astype(np.int64), MASK.astype(np.float32), MASK.astype(np.int32), HALF]
)
def test_masks_of_any_type_are_maps_from_0_to_1(tmp_path: Path, name: str, values: np.ndarray) -> None:
    read = read_weight_map(save(tmp_path / name, values), where=WHERE)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, HALF)


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tiff", "M.PNG"])
@pytest.mark.parametrize("values", [MASK, MASK > 0, MASK // 255, np.repeat(MASK[..., None], 3, axis=-1)])
def test_pictures_are_maps(tmp_path: Path, name: str, values: np.ndarray) -> None:
    np.testing.assert_array_equal(read_weight_map(save(tmp_path / name, values), where=WHERE), HALF)


def test_pictures_and_arrays_of_16_bits_are_maps(tmp_path: Path) -> None:
    deep = MASK.astype(np.uint16) * 257
    for name in ("m.png", "m.npy"):
        np.testing.assert_array_equal(read_weight_map(save(tmp_path / name, deep), where=WHERE), HALF)


def test_soft_masks_keep_their_steps(tmp_path: Path) -> None:
    soft = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
    read = read_weight_map(save(tmp_path / "m.png", soft), where=WHERE)
    np.testing.assert_allclose(read, soft / 255, atol=1e-6)
    read = read_weight_map(save(tmp_path / "m.jpg", soft), where=WHERE)
    assert np.abs(read - soft / 255).mean() < 0.02


def test_a_grey_video_is_a_map_over_time_even_where_it_is_black(tmp_path: Path) -> None:
    frames = np.repeat(np.stack([MASK] * 3 + [np.zeros_like(MASK)] * 2)[..., None], 3, axis=-1)
    for name in ("m.mp4", "m.mkv"):
        read = read_weight_map(encode(tmp_path / name, frames), where=WHERE)
        assert read.shape == (5, 24, 32)
        assert np.abs(read[:3] - HALF).mean() < 0.03
        assert read[3:].max() < 0.03


def test_half_precision_and_gradients_are_no_hindrance(tmp_path: Path) -> None:
    for tensor in (
        torch.from_numpy(HALF).bfloat16(),
        torch.from_numpy(HALF).requires_grad_(),
        torch.from_numpy(HALF).to_sparse(),
        torch.from_numpy(HALF).T.contiguous().T,
    ):
        torch.save(tensor, tmp_path / "m.pt")
        np.testing.assert_array_equal(read_weight_map(tmp_path / "m.pt", where=WHERE), HALF)


def test_a_name_without_a_meaning_is_judged_by_its_content(tmp_path: Path) -> None:
    torch.save(torch.from_numpy(HALF), tmp_path / "map.bin")
    np.testing.assert_array_equal(read_weight_map(tmp_path / "map.bin", where=WHERE), HALF)


COLOURED = np.zeros((24, 32, 3), np.uint8)
COLOURED[..., 0] = 255
BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "labels": ("m.npy", lambda p: np.save(p, MASK // 50), "up to 5, and it is not plain"),
    "labels in a picture": ("m.png", lambda p: save(p, MASK // 50), "up to 5, and it is not plain"),
    "weights above 1": ("m.pt", lambda p: torch.save(torch.full((4, 4), 1.5), p), "up to 1.5, and it"),
    "large floats": ("m.pt", lambda p: torch.save(torch.full((4, 4), 200.5), p), "up to 200.5, and it"),
    "colours": ("m.png", lambda p: save(p, COLOURED), "has colours"),
    "coloured video": ("m.mp4", lambda p: encode(p, np.stack([COLOURED] * 3)), "has colours"),
    "complex": ("m.pt", lambda p: torch.save(torch.ones(4, 4, dtype=torch.complex64), p), "complex64, not real"),
    "complex array": ("m.npy", lambda p: np.save(p, np.ones((4, 4), complex)), "complex128, not real"),
    "objects": ("m.npy", lambda p: np.save(p, np.array([[{}]], object), allow_pickle=True), "holds Python objects"),
    "several arrays": ("m.npz", lambda p: np.savez(p, a=MASK, b=MASK), "several arrays"),
    "no values": ("m.pt", lambda p: torch.save(torch.ones(4, 4, device="meta"), p), "without its values"),
    "empty": ("m.npy", lambda p: np.save(p, np.ones((0, 4))), "(0, 4)"),
    "one axis": ("m.npy", lambda p: np.save(p, np.ones(4)), "(4,)"),
    "not finite": ("m.npy", lambda p: np.save(p, np.full((4, 4), np.inf)), "not finite"),
    "a class": ("m.pt", lambda p: torch.save(Image.new("L", (4, 4)), p), "cannot be read as a tensor"),
    "a dict": ("m.pt", lambda p: torch.save({"a": torch.ones(4, 4)}, p), "holds dict"),
    "text": ("m.pt", lambda p: p.write_text("no tensor"), "cannot be read as a tensor"),
    "text as array": ("m.npy", lambda p: p.write_text("no array"), "cannot be read as an array"),
    "text as video": ("m.txt", lambda p: p.write_text("no video"), "cannot be read as a video"),
    "expanded": ("m.pt", lambda p: torch.save(torch.ones(1, 1).expand(2**20, 2**20), p), "at most 1,073,741,824"),
    "a huge sparse one": (
        "m.pt",
        lambda p: torch.save(torch.sparse_coo_tensor([[0], [0]], [1.0], (2**20, 2**20), check_invariants=True), p),
        "at most 1,073,741,824",
    ),
}


def promise(path: Path) -> None:
    """An array file whose header promises 50 TiB."""
    np.save(path, np.zeros((10, 10)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(10, 10), }                ", b"(2621440, 2621440), }      "))


def compressed(path: Path) -> None:
    """A tensor file of 600 MB in one of less than one."""
    torch.save(torch.ones(4, 4), path)
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            with target.open(name, "w", force_zip64=True) as member:
                for _ in range(600 if name.endswith("data/0") else 0):
                    member.write(bytes(1 << 20))
                member.write(content)


NESTED = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
BAD["compressed"] = ("m.pt", compressed, "cannot be read as a tensor")
BAD["nested"] = ("m.pt", lambda p: torch.save(NESTED, p), "holds a nested tensor")
BAD["50 TiB"] = ("m.npy", promise, "cannot be read as an array")


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_map_is_refused_in_our_words(tmp_path: Path, case: str) -> None:
    name, make, words = BAD[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError) as caught:
        read_weight_map(path, where=WHERE)
    assert words in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("case", ["expanded", "a huge sparse one", "compressed", "50 TiB"])
def test_refusing_needs_no_memory(tmp_path: Path, case: str) -> None:
    name, make, _ = BAD[case]
    make(tmp_path / name)
    code = (
        "import resource, sys; from pathlib import Path; from cosmos_cli.errors import InputError\n"
        "from cosmos_plugins.transfer1.weight_maps import read_weight_map\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))\n"
        "try: read_weight_map(Path(sys.argv[1]), where='x')\n"
        "except InputError: print('refused')\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "refused\n", said.stderr
