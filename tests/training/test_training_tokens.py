"""Tokens of training: per image, in cells, whatever the number of devices."""

import jax
import numpy as np

from raeg_jax.payload.token import CELL
from raeg_jax.training import tokens

KEY = jax.random.key(0)


def test_a_token_belongs_to_the_images_place_in_the_global_batch():
    both = tokens.draw(KEY, np.array([4, 5]), 9, 14, 2)
    np.testing.assert_array_equal(both[1:], tokens.draw(KEY, np.array([5]), 9, 14, 2))
    assert both.shape == (2, 9, 14, 2)
    assert np.any(both[0] != both[1])
    assert np.any(both[0] != tokens.draw(jax.random.key(1), np.array([4]), 9, 14, 2)[0])


def test_signs_are_constant_on_cells_and_balanced():
    planes = np.asarray(tokens.draw(KEY, np.arange(8), 64, 64, 2))
    cells = planes[:, ::CELL, ::CELL]
    np.testing.assert_array_equal(planes, cells.repeat(CELL, 1).repeat(CELL, 2))
    assert set(np.unique(cells)) == {-1, 1}
    assert abs(cells.mean()) < 0.05


def test_no_planes_are_no_token():
    assert tokens.draw(KEY, np.arange(2), 8, 8, 0) is None
