"""Reading episodes: what is found in them, and everything that a file can have wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cosmos_cli.errors import InputError
from cosmos_plugins.transfer1.guided.episodes import checks, layout
from cosmos_plugins.transfer1.guided.episodes.checks import FAR_M
from cosmos_plugins.transfer1.guided.episodes.episode import Episode, number_of, open_episode, problems_of
from cosmos_plugins.transfer1.guided.episodes.labels import COLOURS, colours_of, labels_of
from cosmos_plugins.transfer1.guided.views import VIEWS
from tests.plugins.transfer1.guided.recordings import OBSERVATIONS, arrays, edit, record, redefine, seen

FOREGROUND = (3, 4)
STORED: list[dict[str, Any]] = [{}, {"compression": "gzip", "chunks": True}]


@pytest.mark.parametrize("options", STORED)
def test_an_episode_gives_what_was_recorded(tmp_path: Path, options: dict[str, Any]) -> None:
    episode = open_episode(record(tmp_path / "data_7.hdf5", **options), FOREGROUND)
    assert (episode.num_frames, episode.height, episode.width, episode.number) == (6, 12, 16, 7)
    for seed, view in enumerate(VIEWS):
        expected, found = seen(seed=seed), episode.read(view)
        np.testing.assert_array_equal(found.rgb_FHW3, expected.rgb_FHW3)
        np.testing.assert_array_equal(found.depth_FHW, expected.depth_FHW)
        np.testing.assert_array_equal(found.labels_FHW, expected.labels_FHW)
        np.testing.assert_allclose(found.cameras.quaternions_F4, expected.cameras.quaternions_F4, atol=1e-12)
        np.testing.assert_array_equal(found.cameras.positions_F3, expected.cameras.positions_F3)
        np.testing.assert_array_equal(found.cameras.intrinsics_F33, expected.cameras.intrinsics_F33)
        assert episode.depth_ranges[seed] == (expected.depth_FHW.min(), expected.depth_FHW.max())


@pytest.mark.parametrize(
    "frames", [slice(2, 5), slice(None, None, 3), [0, 1, 4, 5, 5, 5], [5, 0, 3], [-1], [], [2], np.int64([1, 1, 0])]
)
def test_any_frames_are_read_in_any_order(tmp_path: Path, frames: Any) -> None:
    episode = pickle.loads(pickle.dumps(open_episode(record(tmp_path / "data_1.h5"), FOREGROUND)))
    frames = frames if isinstance(frames, slice) else np.array(frames, np.int64)
    expected = seen(seed=1)
    np.testing.assert_array_equal(episode.rgb("wrist", frames), expected.rgb_FHW3[frames])
    np.testing.assert_array_equal(episode.depth("wrist", frames), expected.depth_FHW[frames])
    np.testing.assert_array_equal(episode.labels("wrist", frames), expected.labels_FHW[frames])
    np.testing.assert_array_equal(episode.cameras("wrist", frames).positions_F3, expected.cameras.positions_F3[frames])


def test_frames_out_of_range_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    episode = open_episode(record(tmp_path / "data_1.h5"), FOREGROUND)
    for place in (6, -7):
        with pytest.raises(IndexError):
            episode.rgb("room", np.array([place]))


def test_colours_are_labels_exactly() -> None:
    assert labels_of(np.array(list(COLOURS.values()), np.uint8)).tolist() == list(COLOURS)
    near = np.array([[254, 0, 0], [0, 255, 1], [255, 255, 255], [0, 255, 255], [1, 0, 0]], np.uint8)
    assert labels_of(near).tolist() == [0] * 5
    labels = np.random.default_rng(0).integers(0, 5, (3, 4, 5), np.uint8)
    np.testing.assert_array_equal(labels_of(colours_of(labels)), labels)


@pytest.mark.parametrize(
    ("name", "number"), [("data_12.hdf5", 12), ("a_b_003.h5", 3), ("data.hdf5", None), ("data_1a.hdf5", None)]
)
def test_the_number_of_an_episode_is_what_its_name_ends_in(name: str, number: int | None) -> None:
    assert number_of(Path(name)) == number


def test_where_nothing_was_hit_it_is_far(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["depth_images"][0, 0, 0, :3, 0] = (0, np.inf, 1e6)

    episode = open_episode(record(tmp_path / "data_1.h5", change), FOREGROUND)
    assert episode.depth("room")[0, 0, :3].tolist() == [FAR_M] * 3
    assert episode.depth_ranges[0][1] == FAR_M
    assert episode.depth_ranges[1][1] < 3


def test_short_quaternions_become_rotations(tmp_path: Path) -> None:
    path = record(tmp_path / "data_1.h5", lambda made: made["room_camera_quat_w_ros"].__imul__(0.995))
    lengths = np.linalg.norm(open_episode(path, FOREGROUND).cameras("room").quaternions_F4, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-12)


def set_(name: str, place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda made: made[name].__setitem__(place, value)


def put(name: str, make: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda made: made.__setitem__(name, make(made[name]))


DEPTH, K, POS, QUAT = "depth_images", "room_camera_intrinsic_matrices", "wrist_camera_pos", "wrist_camera_quat_w_ros"
WRONG_ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "NaN in depth": (set_(DEPTH, (3, 1, 2, 2), np.nan), "depth of the wrist view is not a number (NaN) in frame 3."),
    "negative depth": (set_(DEPTH, (2, 0, 0, 0), -1.0), "depth of the room view is negative in frame 2."),
    "minus infinity": (set_(DEPTH, (2, 0, 0, 0), -np.inf), "negative in frame 2"),
    "no depth": (set_(DEPTH, (slice(None), 0), np.inf), "depth of the room view is 0 or infinite everywhere"),
    "millimetres": (put(DEPTH, lambda depth: depth * 1000), "is it in millimetres?"),
    "whole millimetres": (put(DEPTH, lambda depth: (depth * 1000).astype(np.uint16)), "holds whole numbers (uint16)"),
    "kilometres": (put(DEPTH, lambda depth: depth / 1000), "is it scaled?"),
    "Boolean depth": (put(DEPTH, lambda depth: depth > 1), "is (6, 2, 12, 16, 1) bool; needed is (F, 2, H, W, 1)"),
    "no depth axis": (put(DEPTH, lambda depth: depth[..., 0]), "is (6, 2, 12, 16) float32"),
    "floating colours": (put("rgb_images", lambda rgb: rgb / 255), "is (6, 2, 12, 16, 3) float64"),
    "transparent": (put("seg_images", lambda seg: np.concatenate([seg, seg[..., :1]], -1)), "is (6, 2, 12, 16, 4)"),
    "one view": (put("rgb_images", lambda rgb: rgb[:, :1]), "has one view"),
    "shorter depth": (put(DEPTH, lambda depth: depth[:5]), "has different numbers of frames: rgb_images 6, depth"),
    "smaller depth": (put(DEPTH, lambda depth: depth[:, :, ::2]), "different sizes of pictures: rgb_images 16x12, dep"),
    "no frames": (put(DEPTH, lambda depth: depth[:0]), "has no frames"),
    "text": (put(DEPTH, lambda depth: "a text"), "is () of another kind than numbers"),
    "texts": (put(POS, lambda pos: ["a"] * 6), "is (6,) of another kind than numbers"),
    "null": (put(POS, lambda pos: h5py.Empty("f4")), "is () float32"),
    "immense": (set_(QUAT, 4, 1e300), "is no rotation in frame 4"),
    "immense depth": (put(DEPTH, lambda depth: depth.astype(np.float64) * 1e300), "median of depth is"),
    "not rigid": (set_(QUAT, 4, (2, 0, 0, 0)), "is no rotation in frame 4: the quaternion's length is 2, not 1."),
    "no quaternion": (set_(QUAT, 4, np.nan), "the quaternion's length is nan"),
    "infinite position": (set_(POS, (1, 2), np.inf), "holds no finite numbers in frame 1"),
    "no focal length": (set_(K, (2, 0, 0), 0), "is no pinhole camera's in frame 2"),
    "intrinsics turned": (put(K, lambda k: k.transpose(0, 2, 1)), "is no pinhole camera's in frame 0"),
    "intrinsics NaN": (set_(K, (5, 0, 2), np.nan), "is no pinhole camera's in frame 5"),
    "intrinsics of unit pictures": (put(K, lambda k: k / k[:, :1, 2:] * (1, 1, 1)), "is no pinhole camera's"),
    "whole intrinsics": (put(K, lambda k: k.astype(np.int64)), "is (6, 3, 3) int64"),
    "other sides": (put(K, lambda k: k[:, :, :2]), "is (6, 3, 2) float64"),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_each_wrong_value_is_told_with_its_place(tmp_path: Path, case: str) -> None:
    change, message = WRONG_ARRAYS[case]
    path = record(tmp_path / "data_1.hdf5", change)
    [problem] = problems_of(path, FOREGROUND)
    assert message in problem.what
    assert str(path) in str(problem.where)
    assert problem.fix


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        del made["seg_images"], made["wrist_camera_pos"]
        made[DEPTH][0] = np.nan
        made[K][0] = 0

    with pytest.raises(InputError) as error:
        open_episode(record(tmp_path / "data_1.hdf5", change), FOREGROUND)
    texts = [problem.what for problem in error.value.problems]
    assert texts[0] == f"lacks seg_images and wrist_camera_pos in {OBSERVATIONS}."
    assert [text[:5] for text in texts[1:]] == ["depth", "is no"]


def test_a_foreground_that_occurs_nowhere_is_told_with_what_occurs(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["seg_images"][:, 0] = (0, 255, 0)
        made["seg_images"][:, 0, 0, 0] = (12, 34, 56)

    path = record(tmp_path / "data_1.hdf5", change)
    [problem] = problems_of(path, FOREGROUND)
    assert "foreground label (3, 4)" in problem.what
    assert "Labels that occur: 0 (unlabelled, (0, 0, 0)), 2 (table, (0, 255, 0))." in problem.what
    assert "Colours without a label occur too: (12, 34, 56)." in problem.what
    assert not problems_of(path, (2, 9))


def not_a_file(path: Path) -> None:
    path.mkdir()


def truncated(path: Path) -> None:
    record(path)
    path.write_bytes(path.read_bytes()[:-5000])


def only_a_head(path: Path) -> None:
    record(path)
    path.write_bytes(path.read_bytes()[:600])


def damaged_chunk(path: Path) -> None:
    record(path, compression="gzip", chunks=True)
    with h5py.File(path) as file:
        place = file[f"{OBSERVATIONS}/rgb_images"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    path.write_bytes(content)


WRONG_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "does not exist."),
    "folder": (not_a_file, "is not a file."),
    "pipe": (lambda path: os.mkfifo(path), "is not a file."),
    "empty": (lambda path: path.touch(), "is not an HDF5 file."),
    "text": (lambda path: path.write_text("an episode"), "is not an HDF5 file."),
    "truncated": (truncated, "cannot be read"),
    "head": (only_a_head, "cannot be read"),
    "damaged chunk": (damaged_chunk, "cannot be read"),
    "nothing in it": (lambda path: h5py.File(path, "w").close(), "lacks rgb_images, depth_images, seg_images, room_"),
    "a data set on the way": (
        lambda path: h5py.File(path, "w").create_dataset("data", data=1).file.close(),
        "lacks rgb_images",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_what_is_no_episode_is_told(tmp_path: Path, case: str) -> None:
    make, message = WRONG_FILES[case]
    make(tmp_path / "data_1.hdf5")
    [problem] = problems_of(tmp_path / "data_1.hdf5", FOREGROUND)
    assert message in problem.what


def test_a_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data_\xe9_3.hdf5"))
    assert open_episode(record(tmp_path / "plain.hdf5").rename(path), FOREGROUND).rgb("room").shape == (6, 12, 16, 3)


def linked_outside(file: h5py.File) -> None:
    other = record(Path(file.filename).with_name("other.hdf5"))
    del file[OBSERVATIONS]["rgb_images"]
    file[OBSERVATIONS]["rgb_images"] = h5py.ExternalLink(other, f"{OBSERVATIONS}/rgb_images")


def softly_linked(file: h5py.File) -> None:
    del file[OBSERVATIONS]["rgb_images"]
    file[OBSERVATIONS]["rgb_images"] = h5py.SoftLink(f"/{OBSERVATIONS}/rgb_images")


def stored_outside(file: h5py.File) -> None:
    values = arrays()["rgb_images"]
    other = Path(file.filename).with_name("other.bin")
    other.write_bytes(values.tobytes())
    redefine("rgb_images", shape=values.shape, dtype="u1", external=[(str(other), 0, values.nbytes)])(file)


def virtual(file: h5py.File) -> None:
    values = arrays()["rgb_images"]
    made = h5py.VirtualLayout(values.shape, "u1")
    made[:] = h5py.VirtualSource("other.hdf5", f"{OBSERVATIONS}/rgb_images", values.shape)
    del file[OBSERVATIONS]["rgb_images"]
    file[OBSERVATIONS].create_virtual_dataset("rgb_images", made)


def compressed_twice(file: h5py.File) -> None:
    values = arrays()["rgb_images"]
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk(values.shape)
    created.set_deflate(9)
    created.set_deflate(9)
    del file[OBSERVATIONS]["rgb_images"]
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file[OBSERVATIONS].id, b"rgb_images", h5py.h5t.NATIVE_UINT8, space, created)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


def compressed_strangely(file: h5py.File) -> None:
    values = arrays()["rgb_images"]
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk(values.shape)
    created.set_filter(32099, h5py.h5z.FLAG_OPTIONAL)
    del file[OBSERVATIONS]["rgb_images"]
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file[OBSERVATIONS].id, b"rgb_images", h5py.h5t.NATIVE_UINT8, space, created)
    made.write_direct_chunk((0,) * 5, values.tobytes())


HUGE = (10**9, 2, 224, 224, 3)
REFERENCE, TEXT = h5py.special_dtype(ref=h5py.Reference), h5py.special_dtype(vlen=str)
HOSTILE: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "external link": (linked_outside, "leads elsewhere: 'rgb_images' is a link"),
    "soft link to itself": (softly_linked, "leads elsewhere: 'rgb_images' is a link"),
    "external storage": (stored_outside, "leads elsewhere: its values lie in other files"),
    "virtual": (virtual, "leads elsewhere: its values lie in other files"),
    "references": (redefine("rgb_images", shape=(6, 2, 12, 16, 3), dtype=REFERENCE), "of another kind than numbers"),
    "texts": (redefine("rgb_images", shape=(6, 2, 12, 16, 3), dtype=TEXT), "of another kind than numbers"),
    "fields": (redefine("rgb_images", shape=(6, 2, 12, 16, 3), dtype="u1,f4"), "of another kind than numbers"),
    "endless": (redefine("rgb_images", shape=HUGE, dtype="u1"), "was not written to the end: of 301,056,000,000,000"),
    "endless in chunks": (
        redefine("rgb_images", shape=HUGE, dtype="u1", chunks=(1, 1, 224, 224, 3), fillvalue=7),
        "of 2,000,000,000 chunks that it declares there are 0",
    ),
    "large chunks": (
        redefine("rgb_images", shape=(6, 2, 4096, 4096, 3), dtype="u1", chunks=(6, 2, 4096, 4096, 3)),
        "has chunks of more than 256 MiB",
    ),
    "large pictures": (redefine("rgb_images", shape=(1, 2, 10**6, 10**6, 3), dtype="u1", chunks=True), "was not wr"),
    "compressed twice": (compressed_twice, "is compressed more than once in the same way"),
    "unknown compression": (compressed_strangely, "is compressed in a way that is not known here: filter 32099"),
    "a group": (
        lambda file: (file.pop(f"{OBSERVATIONS}/rgb_images"), file.create_group(f"{OBSERVATIONS}/rgb_images")),
        "is not a data set",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path: Path, case: str) -> None:
    change, message = HOSTILE[case]
    path = edit(record(tmp_path / "data_1.hdf5"), change)
    [problem] = problems_of(path, FOREGROUND)
    assert message in problem.what
    assert "rgb_images" in str(problem.where)


def test_groups_that_hold_themselves_do_no_harm(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["data/demo_0/again"] = file["data"]
        file["data/turn"] = h5py.SoftLink("/data/turn")

    assert open_episode(edit(record(tmp_path / "data_1.hdf5"), change), FOREGROUND).num_other_demos == 1


def test_a_file_that_changed_since_is_told(tmp_path: Path) -> None:
    path = record(tmp_path / "data_1.hdf5")
    episode = open_episode(path, FOREGROUND)
    record(path, put("rgb_images", lambda rgb: rgb[:, :, :6]))
    with pytest.raises(InputError, match="was changed since it was checked"):
        episode.rgb("room")
    record(path, put("rgb_images", lambda rgb: rgb[:3]))
    with pytest.raises(InputError, match="was changed since it was checked"):
        episode.read("room")
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        episode.cameras("room")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    [problem] = problems_of(record(tmp_path / "data_1.hdf5"), FOREGROUND)
    assert "h5py" in problem.what
    assert problem.fix == "pip install 'cosmos-cli[hdf5]'"


def test_checking_loads_neither_torch_nor_h5py_before_it_is_needed() -> None:
    module = "cosmos_plugins.transfer1.guided.episodes.episode"
    code = f"import sys; import {module}; print({{'torch', 'h5py', 'cv2'}} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_pieces_are_of_bounded_size_and_cover_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_PIECE_BYTES", 5000)
    path = record(tmp_path / "data_1.hdf5", compression="gzip", chunks=True)
    with h5py.File(path) as file:
        for name, values in arrays().items():
            found = [piece for _, piece in checks.pieces(file[f"{OBSERVATIONS}/{name}"])]
            assert max(piece.nbytes for piece in found) <= 8 * 5000
            np.testing.assert_array_equal(np.concatenate(found), values)
    assert isinstance(open_episode(path, FOREGROUND), Episode)


READING = """
import resource, sys
from pathlib import Path
import numpy as np
import h5py
from cosmos_cli.errors import InputError
from cosmos_plugins.transfer1.guided.episodes.episode import open_episode
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120 * 2**20, -1))
for path in sys.argv[1:]:
    try:
        episode = open_episode(Path(path), (3,))
        print(episode.num_frames, episode.labels("room", np.array([0, 3000, 3999])).max())
    except InputError as error:
        print("refused")
"""


def test_what_a_file_declares_takes_no_memory(tmp_path: Path) -> None:
    paths = []
    for number, case in enumerate(("endless", "endless in chunks", "large chunks", "large pictures")):
        paths.append(str(edit(record(tmp_path / f"data_{number}.hdf5"), HOSTILE[case][0])))
    done = subprocess.run([sys.executable, "-c", READING, *paths], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n" * 4, "")


def test_a_long_episode_is_checked_and_read_in_bounded_memory(tmp_path: Path) -> None:
    # more than 300 megabytes of pixels, of which the file holds few: all frames are one colour
    frames, size = 4000, 64
    with h5py.File(path := tmp_path / "data_1.hdf5", "w") as file:
        group = file.create_group(OBSERVATIONS)
        for name, dtype, colours in (("rgb_images", "u1", 3), ("depth_images", "f4", 1), ("seg_images", "u1", 3)):
            shape = (frames, 2, size, size, colours)
            data = group.create_dataset(name, shape, dtype, chunks=(500, 1, size, size, colours), compression=1)
            piece = np.ones((500, 1, size, size, colours), dtype) * ([0, 0, 255] if colours == 3 else 1)
            for first in range(0, frames, 500):
                data[first : first + 500, 0:1] = piece
                data[first : first + 500, 1:2] = piece
        for name, values in arrays(1).items():
            if "camera" in name:
                group.create_dataset(name, data=np.repeat(values[:1], frames, axis=0))
    done = subprocess.run([sys.executable, "-c", READING, str(path)], capture_output=True, text=True)
    assert done.stdout == f"{frames} 3\n", done.stderr
