"""Episodes that are written: what changes, what stays, and what is there when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.files.writing import replacing
from cosmos_plugins.transfer1.guided.episodes import layout
from cosmos_plugins.transfer1.guided.episodes.episode import Episode, open_episode
from cosmos_plugins.transfer1.guided.episodes.written import create_episode, read_provenance, write_episode
from cosmos_plugins.transfer1.guided.views import VIEWS, Cameras, Seen
from tests.plugins.transfer1.guided.recordings import OBSERVATIONS, edit, record, redefine, seen

ROOT = Path(__file__).parents[4]
RGB = f"{OBSERVATIONS}/rgb_images"


def as_recorders_do(file: h5py.File) -> None:
    """What an episode's file holds beside what is read."""
    file.attrs["recorder"] = "of the root"
    file["data"].attrs["total"] = 6
    file["data/demo_0"].attrs.update(num_samples=6, sim=True)
    file[RGB].attrs["camera"] = "both"
    file["data/demo_0/action"] = np.arange(12.0).reshape(6, 2)
    file["data/demo_0/scale"] = 3.5
    file["data/demo_0/text"] = "a scalar"
    file.create_dataset("data/demo_1/observations/rgb_images", data=np.ones((3, 2, 4, 4, 3), np.uint8), compression=9)
    file["data/demo_0/soft"] = h5py.SoftLink("/data/demo_1")
    file["data/demo_0/reference"] = file["data/demo_1"].ref


def everything(path: Path) -> dict[str, Any]:
    """Values, attributes and creation properties of all objects, by name."""
    found: dict[str, Any] = {}

    def visit(name: str, node: Any) -> None:
        found[f"{name}@"] = {key: value for key, value in node.attrs.items() if key != "cosmos"}
        if isinstance(node, h5py.Dataset):
            found[name] = (node.shape, node.dtype, node.chunks, node.compression, node.compression_opts, node.shuffle)
            if not h5py.check_ref_dtype(node.dtype):
                found[f"{name}="] = np.asarray(node[()]).tolist()

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
        found["soft"] = file["data/demo_0"].get("soft", getlink=True).path
        found["reference"] = file[file["data/demo_0/reference"][()]].name
    return found


def generated(num_frames: int, height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), np.uint8)


def in_pieces(frames: np.ndarray, step: int) -> Iterator[np.ndarray]:
    yield from (frames[first : first + step] for first in range(0, len(frames), step))


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True, "chunks": True}])
@pytest.mark.parametrize("resampling", ["area", "linear"])
def test_only_the_pictures_change(tmp_path: Path, options: dict[str, Any], resampling: Any) -> None:
    path = edit(record(tmp_path / "data_1.hdf5", **options), as_recorders_do)
    room, wrist = generated(6, 30, 40, 1), generated(4, 12, 16, 2)
    told = {"seed": 3, "prompt": "a rõom", "command": ["cosmos", "transfer", "guided"]}
    with replacing(tmp_path / "out" / "data_5.hdf5") as temporary:
        views = {"room": in_pieces(room, 4), "wrist": in_pieces(wrist, 3)}
        write_episode(temporary, open_episode(path, (3,)), views, told, resampling=resampling)
    before, after = everything(path), everything(tmp_path / "out" / "data_5.hdf5")
    before.pop(f"{RGB}="), after.pop(f"{RGB}=")
    assert after == before
    assert read_provenance(tmp_path / "out" / "data_5.hdf5") == told
    assert read_provenance(path) is None
    written = open_episode(tmp_path / "out" / "data_5.hdf5", (3,))
    interpolation = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}[resampling]
    for found, frame in zip(written.rgb("room"), room, strict=True):
        np.testing.assert_array_equal(found, cv2.resize(frame, (16, 12), interpolation=interpolation))
    np.testing.assert_array_equal(written.rgb("wrist")[:4], wrist)
    # where the generated frames end, the episode's own follow
    np.testing.assert_array_equal(written.rgb("wrist")[4:], seen(seed=1).rgb_FHW3[4:])


def test_the_same_pictures_give_the_same_file(tmp_path: Path) -> None:
    source = open_episode(record(tmp_path / "data_1.hdf5", compression="gzip", chunks=True), (3,))
    for name in ("a", "b"):
        write_episode(tmp_path / name, source, {"room": [generated(6, 12, 16, 1)]}, {"seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("chunks", [None, (4, 2, 12, 16, 3), (1, 1, 5, 16, 1)])
def test_long_views_are_written_piece_by_piece(tmp_path: Path, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_PIECE_BYTES", 2 * 12 * 16 * 3)
    path, wrist = record(tmp_path / "data_1.hdf5"), generated(5, 24, 32, 3)
    edit(path, redefine("rgb_images", data=np.zeros((6, 2, 12, 16, 3), np.uint8), chunks=chunks))
    write_episode(tmp_path / "out", open_episode(path, (3,)), {"wrist": in_pieces(wrist, 3)}, {})
    found = open_episode(tmp_path / "out", (3,)).rgb("wrist")
    expected = [cv2.resize(frame, (16, 12), interpolation=cv2.INTER_AREA) for frame in wrist]
    np.testing.assert_array_equal(found, [*expected, np.zeros((12, 16, 3))])


def test_an_episode_that_was_written_can_be_written_again(tmp_path: Path) -> None:
    source = open_episode(record(tmp_path / "data_1.hdf5"), (3,))
    write_episode(tmp_path / "a.hdf5", source, {}, {"prompt": "x" * 100_000})
    write_episode(tmp_path / "b.hdf5", open_episode(tmp_path / "a.hdf5", (3,)), {}, {"seed": 2})
    assert read_provenance(tmp_path / "b.hdf5") == {"seed": 2}


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    path = record(tmp_path / "data_1.hdf5")
    source, target = open_episode(path, (3,)), tmp_path / "out" / "data_2.hdf5"

    def out_of_memory() -> Iterator[np.ndarray]:
        yield generated(2, 12, 16, 1)
        raise RuntimeError("CUDA out of memory")

    def write(frames: Any) -> None:
        with replacing(target) as temporary:
            write_episode(temporary, source, {"wrist": frames}, {})

    with pytest.raises(ValueError, match="more than the 6 frames"):
        write(in_pieces(generated(7, 12, 16, 1), 2))
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        write(out_of_memory())
    record(path, lambda made: made.update(rgb_images=made["rgb_images"][:, :, :6]))
    with pytest.raises(InputError, match="was changed since it was checked"):
        write([])
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        write([])
    assert not list(target.parent.iterdir())


WRITING = """
import resource, sys
from pathlib import Path
import numpy as np
from cosmos_cli.errors import DiskFull
from cosmos_cli.files.writing import replacing
from cosmos_plugins.transfer1.guided.episodes.episode import open_episode
from cosmos_plugins.transfer1.guided.episodes.written import create_episode, write_episode
from tests.plugins.transfer1.guided.recordings import seen
source, target = open_episode(Path(sys.argv[1]), (3,)), Path(sys.argv[2])
num_bytes = source.path.stat().st_size
noise = np.random.default_rng(0).integers(0, 256, (6, 12, 16, 3), np.uint8)

def rewrite(path):
    write_episode(path, source, {"room": [noise], "wrist": [noise]}, {})

def create(path):
    create_episode(path, ((seen(40), seen(40)) for _ in range(20)))

for write, limit in ((rewrite, num_bytes - 5000), (rewrite, num_bytes + 1000), (create, num_bytes)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        with replacing(target) as temporary:
            write(temporary)
    except DiskFull as error:
        print(error.problems[0].where, list(target.parent.iterdir()))
"""


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    def flat(made: dict[str, Any]) -> None:
        made["rgb_images"][:] = 0  # which takes no room, unlike what is written

    path = record(tmp_path / "data_1.hdf5", flat, compression="gzip")
    target = tmp_path / "out" / "data_2.hdf5"
    command = [sys.executable, "-c", WRITING, str(path), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target} []\n" * 3, "")


def test_a_new_episode_is_read_as_it_was_made(tmp_path: Path) -> None:
    room, wrist = seen(7, seed=1), seen(7, seed=2)

    def part(view: Seen, frames: slice) -> Seen:
        return Seen(view.rgb_FHW3[frames], view.depth_FHW[frames], view.labels_FHW[frames], view.cameras[frames])

    cuts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    with replacing(tmp_path / "demo_0.h5") as temporary:
        create_episode(temporary, ((part(room, cut), part(wrist, cut)) for cut in cuts), provenance={"seed": 4})
    episode: Episode = open_episode(tmp_path / "demo_0.h5", (3, 4))
    assert episode.num_frames == 7
    for view, expected in zip(VIEWS, (room, wrist), strict=True):
        found = episode.read(view)
        for name in ("rgb_FHW3", "depth_FHW", "labels_FHW"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        for name in Cameras.__dataclass_fields__:
            np.testing.assert_allclose(getattr(found.cameras, name), getattr(expected.cameras, name), atol=1e-12)
    assert read_provenance(tmp_path / "demo_0.h5") == {"seed": 4}
    with h5py.File(tmp_path / "demo_0.h5") as file:
        assert dict(file["data/demo_0"].attrs.items() - {("cosmos", '{"seed": 4}')}) == {"num_samples": 7, "sim": True}
        assert file["data"].attrs["total"] == 7


def test_a_new_episode_has_frames_of_one_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        create_episode(tmp_path / "a", [])
    with pytest.raises(ValueError, match="does not go with"):
        create_episode(tmp_path / "b", [(seen(), seen()), (seen(height=14), seen(height=14))])
