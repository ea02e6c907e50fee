"""The masks of gradient couplings: complete, known by their key, the same for ever."""

import hashlib

import numpy as np
import pytest

from raeg_jax.invertible.masks import MASKS, checkerboard, diagonal, in_turn, keyed, random

SIZES = [(1, 1), (5, 7), (64, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MASKS)
def test_every_sample_is_masked_equally_often(name, size):
    masks = MASKS[name](*size, b"key")
    assert masks.shape == (2 if name == "checkerboard" else 3, *size, 3)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks.sum(0), 1)


@pytest.mark.parametrize("name", ["diagonal", "random", "keyed"])
def test_two_channels_of_every_pixel_are_known(name):
    np.testing.assert_array_equal(MASKS[name](9, 6, b"key").sum(-1), 1)


def test_checkerboard_masks_whole_pixels():
    masks = checkerboard(4, 5)
    np.testing.assert_array_equal(masks[0, :2, :3, 0], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(masks[..., 0], masks[..., 2])


def test_neighbours_of_a_masked_sample_are_known_in_diagonal_masks():
    mask = diagonal(7, 7)[0]
    assert not np.any(mask[1:] & mask[:-1])
    assert not np.any(mask[:, 1:] & mask[:, :-1])


def test_keys_and_nothing_else_change_keyed_masks():
    masks = keyed(16, 16, b"one")
    np.testing.assert_array_equal(masks, keyed(16, 16, b"one"))
    # Two of three pixels differ where the other key is independent.
    share = np.mean(np.any(masks[0] != keyed(16, 16, b"two")[0], axis=-1))
    assert 0.5 < share < 0.8
    np.testing.assert_array_equal(random(16, 16, b"one"), random(16, 16, b"two"))


@pytest.mark.parametrize("name", MASKS)
def test_with_a_token_every_sample_still_has_its_turn_and_cells_begin_elsewhere(name):
    masks = MASKS[name](8, 9, b"key")
    token = np.random.RandomState(0).choice([-1, 1], (2, 8, 9, 2))
    drawn = np.stack([in_turn(masks, index, token) for index in range(len(masks))])
    assert drawn.shape == (len(masks), 2, 8, 9, 3)
    np.testing.assert_array_equal(drawn.sum(0), 1)
    for start, signs in enumerate([(1, 1), (1, -1), (-1, -1)]):
        uniform = np.broadcast_to(signs, (1, 8, 9, 2))
        found = in_turn(masks, 1, uniform)[0]
        np.testing.assert_array_equal(found, masks[(1 + start) % len(masks)])


def test_keyed_masks_never_change():
    digest = hashlib.sha256(np.packbits(keyed(32, 24, b"golden")).tobytes()).hexdigest()
    assert digest == "ea420b6c23139f4d2e9d5f7dcffcbc4972d4e5f86c231e28c5edaf52a3ec5131"
