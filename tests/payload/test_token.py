"""Token planes: the same for ever, and unrelated where anything differs."""

import hashlib

import numpy as np
import pytest

from raeg_jax.payload.token import CELL, Token, draw_planes

KEY, NONCE = bytes(range(32)), bytes(range(12))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64)])
def test_planes_are_signs_and_constant_on_cells(size):
    planes = draw_planes(KEY, NONCE, *size, 3)
    assert planes.dtype == np.int8
    assert set(np.unique(planes)) == {-1, 1}
    cells = planes[::CELL, ::CELL].repeat(CELL, 0).repeat(CELL, 1)
    np.testing.assert_array_equal(planes, cells[: size[0], : size[1]])


@pytest.mark.parametrize(
    "change",
    [
        {"token_key": bytes(32)},
        {"nonce": bytes(12)},
        {"height": 257},
        {"width": 257},
        {"count": 3},
        {"tile": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_else_gives_unrelated_planes(change):
    usual = {"token_key": KEY, "nonce": NONCE, "height": 256, "width": 256, "count": 2}
    planes = draw_planes(**usual)
    assert abs(planes.mean()) < 0.05
    other = draw_planes(**(usual | change))[:256, :256, :2]
    # 8192 independent signs have a standard deviation of 0.011.
    assert abs((planes * other).mean()) < 0.05


def test_planes_never_change():
    planes = draw_planes(KEY, NONCE, 10, 6, 2)
    assert "".join("+" if v > 0 else "-" for v in planes[::4, ::4].ravel()) == "-++-+-------"
    digest = hashlib.sha256(Token(KEY, NONCE, 3).planes(33, 20, 7).tobytes()).hexdigest()
    assert digest == "6f4d01b8b4393b4ab144b15abd255c723c64f8faffea3507058a8083d56e2754"
