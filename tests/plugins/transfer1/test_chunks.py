import numpy as np
import pytest

from cosmos_plugins.transfer1.chunks import plan_chunks, take


@pytest.mark.parametrize(
    ("num_frames", "num_chunks"), [(1, 1), (50, 1), (121, 1), (122, 2), (241, 2), (242, 3), (300, 3), (361, 3)]
)
def test_chunks_cover_the_clip_and_share_one_frame(num_frames: int, num_chunks: int) -> None:
    chunks = plan_chunks(num_frames, overlap=1, chunk_frames=121)
    assert len(chunks) == num_chunks
    assert [(chunk.start, chunk.stop) for chunk in chunks] == [(120 * i, 120 * i + 121) for i in range(num_chunks)]
    assert [chunk.num_shared for chunk in chunks] == [0] + [1] * (num_chunks - 1)
    assert chunks[-1].stop >= num_frames


@pytest.mark.parametrize("overlap", [1, 9, 17])
def test_putting_chunks_together_gives_the_clip_back(overlap: int) -> None:
    frames = np.arange(300)
    chunks = plan_chunks(300, overlap, chunk_frames=121)
    parts = [take(frames, chunk)[chunk.num_shared :] for chunk in chunks]
    np.testing.assert_array_equal(np.concatenate(parts)[:300], frames)


def test_past_the_end_the_last_frame_stands_still() -> None:
    [chunk] = plan_chunks(3, overlap=1, chunk_frames=121)
    np.testing.assert_array_equal(take(np.array([5, 6, 7]), chunk), [5, 6] + [7] * 119)
