import numpy as np
import pytest

from cosmos_plugins.transfer1.chunks import Chunk, plan_chunks, shortest_of, spill_of, take


@pytest.mark.parametrize(
    ("num_frames", "num_chunks"), [(2, 1), (50, 1), (121, 1), (122, 2), (241, 2), (242, 3), (300, 3), (361, 3)]
)
def test_chunks_cover_the_clip_and_share_one_frame(num_frames: int, num_chunks: int) -> None:
    chunks = plan_chunks(num_frames, overlap=1, chunk_frames=121)
    assert len(chunks) == num_chunks
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(120 * i, 120 * i + 121) for i in range(num_chunks)]
    assert [chunk.num_shared for chunk in chunks] == [0] + [1] * (num_chunks - 1)
    assert chunks[-1].stop >= num_frames


def test_a_picture_is_one_frame() -> None:
    assert plan_chunks(1, overlap=17, chunk_frames=121) == [Chunk(0, 0, 1, 0)]


@pytest.mark.parametrize(
    ("num_frames", "overlap", "told"),
    [
        (122, 1, "121 frames, 1 fewer, would take 1, and about half the time"),
        (251, 1, "241 frames, 10 fewer, would take 2, and about 2/3 of the time"),
        (124, 9, "121 frames, 3 fewer,"),
        (121, 1, None),
        (137, 1, None),
        (241, 1, None),
        (1, 1, None),
    ],
)
def test_a_clip_that_is_a_little_too_long_is_told_of(num_frames: int, overlap: int, told: str | None) -> None:
    found = spill_of(num_frames, overlap, chunk_frames=121)
    assert (told is None) == (found is None)
    assert (told or "") in (found or "")


def test_videos_are_cut_to_the_shortest_and_all_lengths_are_told() -> None:
    assert shortest_of({"input": 9, "edge": 9}) == (9, None)
    num_frames, told = shortest_of({"input": 9, "edge": 12, "depth": 4})
    assert num_frames == 4
    assert told is not None
    assert "(input 9, edge 12, depth 4): the first 4 of each" in told


@pytest.mark.parametrize("overlap", [1, 9, 17])
def test_putting_chunks_together_gives_the_clip_back(overlap: int) -> None:
    frames = np.arange(300)
    chunks = plan_chunks(300, overlap, chunk_frames=121)
    parts = [take(frames, chunk)[chunk.num_shared :] for chunk in chunks]
    np.testing.assert_array_equal(np.concatenate(parts)[:300], frames)


def test_past_the_end_the_last_frame_stands_still() -> None:
    [chunk] = plan_chunks(3, overlap=1, chunk_frames=121)
    np.testing.assert_array_equal(take(np.array([5, 6, 7]), chunk), [5, 6] + [7] * 119)
