"""The masks of gradient couplings: complete, and the same for ever."""

import hashlib

import numpy as np
import pytest

from raeg_jax.invertible.masks import MASKS, checkerboard, diagonal, in_turn, random

SIZES = [(1, 1), (5, 7), (64, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MASKS)
def test_every_sample_is_masked_equally_often(name, size):
    masks = MASKS[name](*size)
    assert masks.shape == (2 if name == "checkerboard" else 3, *size, 3)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks.sum(0), 1)


@pytest.mark.parametrize("name", ["diagonal", "random"])
def test_two_channels_of_every_pixel_are_known(name):
    np.testing.assert_array_equal(MASKS[name](9, 6).sum(-1), 1)


def test_checkerboard_masks_whole_pixels():
    masks = checkerboard(4, 5)
    np.testing.assert_array_equal(masks[0, :2, :3, 0], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(masks[..., 0], masks[..., 2])


def test_neighbours_of_a_masked_sample_are_known_in_diagonal_masks():
    mask = diagonal(7, 7)[0]
    assert not np.any(mask[1:] & mask[:-1])
    assert not np.any(mask[:, 1:] & mask[:, :-1])


@pytest.mark.parametrize("name", MASKS)
def test_with_a_token_every_sample_still_has_its_turn_and_cells_begin_elsewhere(name):
    masks = MASKS[name](8, 9)
    token = np.random.RandomState(0).choice([-1, 1], (2, 8, 9, 2))
    drawn = np.stack([in_turn(masks, index, token) for index in range(len(masks))])
    assert drawn.shape == (len(masks), 2, 8, 9, 3)
    np.testing.assert_array_equal(drawn.sum(0), 1)
    for start, signs in enumerate([(1, 1), (1, -1), (-1, -1)]):
        uniform = np.broadcast_to(signs, (1, 8, 9, 2))
        found = in_turn(masks, 1, uniform)[0]
        np.testing.assert_array_equal(found, masks[(1 + start) % len(masks)])


def test_random_masks_never_change():
    digest = hashlib.sha256(np.packbits(random(32, 24)).tobytes()).hexdigest()
    assert digest == "9b08408e7e7f1f85cb333764b78a91acec28dae9abab04f716843ee78fd1f0c9"
