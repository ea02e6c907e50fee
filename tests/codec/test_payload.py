"""What a payload may hold, and the digest that guards the pixels."""

import dataclasses
import hashlib

import numpy as np
import pytest

from raeg_jax.codec.errors import TamperedPixelsError
from raeg_jax.codec.overflow import Overflow
from raeg_jax.codec.payload import check_pixels, digest, draw_nonce
from tests.codec.payloads import SMALL

IMAGE = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonce": bytes(11)}, "nonce has 11 bytes, not 12"),
        ({"generator_id": bytes(9)}, "generator_id has 9"),
        ({"sha256": b""}, "sha256 has 0"),
        ({"height": 0}, "height is 0, not in 1"),
        ({"width": 2**24}, "width is 16777216"),
        ({"tile": -1}, "tile is -1"),
        ({"batch": -1}, "batch is -1"),
        ({"orientation": 9}, r"orientation is 9, not in 1\.\.8"),
        ({"mode": 4}, "4 is not a valid SourceMode"),
        ({"tile": 32}, r"codes are \[1, 4\], not \[4, columns\]"),
        ({"codes": np.array([1, 2])}, r"codes are \[2\]"),
        ({"codes": np.array([[1, -2]])}, r"codes are -2\.\.1"),
        ({"codes": np.array([[2**32]])}, r"not in 0\.\.4294967295"),
        ({"overflow": Overflow(np.array([1, 2]), np.array([1]))}, "ranks for"),
        ({"overflow": Overflow(np.array([2, 2]), np.array([1, 1]))}, "don't increase"),
        ({"overflow": Overflow(np.array([-1, 2]), np.array([1, 1]))}, "don't increase"),
        ({"overflow": Overflow(np.array([3 * 64 * 64]), np.array([1]))}, r"within 0\.\.12287"),
        ({"overflow": Overflow(np.array([1]), np.array([0]))}, r"amounts are 0\.\.0"),
        ({"overflow": Overflow(np.array([1]), np.array([2**16]))}, "amounts are 65536"),
    ],
)
def test_values_outside_the_format_are_told(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize(
    ("height", "width", "tile", "tiles"),
    [(64, 64, 0, 1), (64, 64, 64, 1), (65, 64, 64, 2), (100, 200, 64, 8), (40, 40, 64, 1)],
)
def test_cut_off_tiles_count(height, width, tile, tiles):
    codes = np.zeros((tiles, 4), int)
    change = {"height": height, "width": width, "tile": tile, "codes": codes}
    assert dataclasses.replace(SMALL, **change).tiles == tiles


def test_a_batch_makes_it_bound_to_a_machine():
    assert SMALL.portable
    assert not dataclasses.replace(SMALL, batch=16).portable


def test_nonces_differ():
    assert len({draw_nonce() for _ in range(5)}) == 5


def test_the_digest_is_that_of_the_format():
    assert digest(IMAGE) == hashlib.sha256(b"raeg pixels 5 4 " + bytes(range(60))).digest()


def test_the_digest_is_of_the_samples_wherever_they_lie():
    turned = np.asfortranarray(IMAGE)
    assert digest(turned) == digest(IMAGE)
    assert digest(IMAGE[::-1]) == digest(IMAGE[::-1].copy())


def test_changed_or_reshaped_pixels_are_told():
    payload = dataclasses.replace(SMALL, sha256=digest(IMAGE))
    check_pixels(payload, IMAGE)
    changed = IMAGE.copy()
    changed[4, 3, 2] ^= 1
    for image in (changed, IMAGE.reshape(4, 5, 3), IMAGE[:4]):
        with pytest.raises(TamperedPixelsError, match="has been changed"):
            check_pixels(payload, image)


@pytest.mark.parametrize("image", [IMAGE.astype(int), IMAGE[..., :1], IMAGE[0]])
def test_other_arrays_have_no_digest(image):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        digest(image)
