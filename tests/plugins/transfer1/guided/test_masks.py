"""Masks of pixels, and what they come to in latents."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_plugins.transfer1.guided.masks import latent_mask, pixel_masks

SIZE = (64, 96)


def probe(num_frames: int = 17, height: int = 64, width: int = 96) -> np.ndarray:
    """Labels in which a line of one pixel's width goes 3 pixels to the right from frame to frame."""
    labels = np.zeros((num_frames, height, width), np.uint8)
    for frame, image in enumerate(labels):
        image[:, 3 * frame] = 3
    return labels


def test_what_is_thin_and_moves_stays_guided_wherever_it_is() -> None:
    masks = pixel_masks(probe(), [3], SIZE)
    ours, original = latent_mask(masks)[0, 0].numpy(), latent_mask(masks, reduction="original")[0, 0].numpy()
    touched = masks.reshape(17, 8, 8, 12, 8).max(axis=(2, 4))
    for latent, frames in enumerate((slice(0, 1), slice(1, 9), slice(9, 17))):
        where = touched[frames].max(axis=0) > 0
        assert (ours[latent][where] == 1).all()
        assert (ours[latent][~where] == 0).all()
        assert original[latent].max() < 0.3


def test_what_is_known_in_parts_does_not_guide_with_its_holes() -> None:
    known = np.ones((9, 64, 96), np.uint8)
    known[5, 20, 30] = 0
    found = latent_mask(pixel_masks(known, [1], SIZE), reduction="minimum")[0, 0].numpy()
    assert np.argwhere(found == 0).tolist() == [[1, 2, 3]]
    assert (np.delete(found.ravel(), np.ravel_multi_index((1, 2, 3), found.shape)) == 1).all()


@pytest.mark.parametrize("reduction", ["maximum", "minimum", "original"])
def test_a_chunk_gives_a_mask_for_each_of_its_latents(reduction: str) -> None:
    for mask in (0, 1):
        found = latent_mask(np.full((121, 16, 24), mask, np.float32), reduction=reduction)  # type: ignore[arg-type]
        assert found.shape == (1, 1, 16, 2, 3)
        assert (found == mask).all()
    assert latent_mask(np.ones((1, 16, 24), np.float32), reduction=reduction).shape == (1, 1, 1, 2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(8, 16, 16), (9, 12, 16), (9, 16, 12)])
def test_parts_of_latents_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no whole latents"):
        latent_mask(np.ones(shape, np.float32))


def test_masks_at_their_own_size_are_exact_and_others_have_soft_edges() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (3, 16, 24), np.uint8)
    np.testing.assert_array_equal(pixel_masks(labels, [3, 4], (16, 24)), labels >= 3)
    assert not pixel_masks(labels, [], (16, 24)).any()
    assert not pixel_masks(labels, [-1, 300], (16, 24)).any()
    large = pixel_masks(labels, [3, 4], (32, 48))
    assert large.shape == (3, 32, 48)
    assert ((large > 0) & (large < 1)).any()


def test_shrinking_misses_no_line_unless_as_the_original_does() -> None:
    line = probe(8, 64, 96)
    assert all(mask.any() for mask in pixel_masks(line, [3], (16, 24)))
    assert not all(mask.any() for mask in pixel_masks(line, [3], (16, 24), original=True))
