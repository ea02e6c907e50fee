"""Token planes: the same for ever, and unrelated where anything differs."""

import hashlib

import numpy as np
import pytest

from raeg_jax.codec.token import planes

KEY, NONCE = bytes(range(32)), bytes(range(12))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64)])
def test_planes_have_the_shape_asked_for_and_two_values(size):
    token = planes(KEY, NONCE, *size, 3)
    assert token.shape == (*size, 3)
    assert token.dtype == np.int8
    assert set(np.unique(token)) <= {-1, 1}


@pytest.mark.parametrize("cell", [1, 3, 4])
def test_planes_are_constant_on_cells(cell):
    token = planes(KEY, NONCE, 17, 10, 2, cell=cell)
    corners = token[::cell, ::cell]
    rows, columns = np.arange(17) // cell, np.arange(10) // cell
    np.testing.assert_array_equal(token, corners[rows][:, columns])
    assert len(np.unique(corners)) == 2


def test_cells_of_four_pixels_survive_two_halvings():
    token = planes(KEY, NONCE, 16, 16, 1).astype(float)[..., 0]
    coarse = token.reshape(4, 4, 4, 4).mean((1, 3))
    np.testing.assert_array_equal(np.abs(coarse), 1)


def test_anything_else_gives_unrelated_planes():
    usual = {"token_key": KEY, "nonce": NONCE, "height": 64, "width": 64, "count": 2, "cell": 1}
    token = planes(**usual)
    assert abs(token.mean()) < 0.05
    for change in (
        {"token_key": bytes(32)},
        {"nonce": bytes(12)},
        {"height": 65},
        {"width": 65},
        {"count": 3},
        {"tile": 1},
    ):
        other = planes(**(usual | change))[:64, :64, :2]
        # 8192 independent signs have a standard deviation of 0.011.
        assert abs((token * other).mean()) < 0.05, change
    coarse = planes(**(usual | {"cell": 2}))
    assert abs((token * coarse).mean()) < 0.05


def test_planes_never_change():
    token = planes(KEY, NONCE, 10, 6, 2)
    assert "".join("+" if v > 0 else "-" for v in token[::4, ::4].ravel()) == "-++-+-------"
    digest = hashlib.sha256(planes(KEY, NONCE, 33, 20, 3, tile=7, cell=2).tobytes()).hexdigest()
    assert digest == "0f3c92c3473a49f94d775661a6c3b788089887ce1aa40e9c272e0ad141bc0373"
