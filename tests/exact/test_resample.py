"""Resizing by whole weights: near Pillow, the same in integers of NumPy, with its transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from raeg_jax.exact import resample as resample_lib
from raeg_jax.exact.resample import resample, resize, weights
from tests.exact.random_classifiers import pictures
from tests.oracles import integer_photograph

SIZE = 96
# Top, left, height and width in sixteenths; height and width of the image; side of the result.
BOXES = {
    "reduced": ((0, 0, 80 * 16, 96 * 16), (80, 96), 40),
    "enlarged": ((0, 0, 30 * 16, 21 * 16), (30, 21), 64),
    "part": ((167, 95, 1001, 777), (90, 70), 48),
    "pixel": ((0, 0, 16, 16), (1, 1), 8),
}


def padded(height, width, seed=0):
    image = pictures(height, width, count=1, seed=seed)
    padding = ((0, 0), (0, SIZE - height), (0, SIZE - width), (0, 0))
    return np.pad(image, padding, constant_values=77)


def matrices(name):
    box, sizes, side = BOXES[name]
    return [
        weights(*(jnp.full(1, x) for x in (box[axis], box[2 + axis], sizes[axis])), side, SIZE)
        for axis in (0, 1)
    ]


@pytest.mark.parametrize("name", BOXES)
def test_it_is_near_pillow_s_bilinear_resizing(name):
    (top, left, height, width), sizes, side = BOXES[name]
    images = padded(*sizes)
    image = Image.fromarray(images[0, : sizes[0], : sizes[1]].astype(np.uint8))
    box = [x / 16 for x in (left, top, left + width, top + height)]
    expected = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box), np.float32)
    result = np.asarray(resample(images, *matrices(name)))[0]
    # Pillow sees nothing outside a part; weights of 128ths differ by up to 1/256.
    inside = np.s_[4:-4, 4:-4] if name == "part" else np.s_[:]
    assert np.abs(result - expected)[inside].mean() < 1
    assert np.abs(result - expected)[inside].max() < 6


@pytest.mark.parametrize("name", BOXES)
def test_weights_are_whole_and_complete_and_blind_to_what_is_outside(name):
    for axis, matrix in enumerate(matrices(name)):
        matrix = np.asarray(matrix)
        assert matrix.min() >= 0
        assert np.array_equal(matrix, np.rint(matrix))
        np.testing.assert_array_equal(matrix.sum(-1), 128)
        assert not matrix[..., BOXES[name][1][axis] :].any()


@pytest.mark.parametrize("name", BOXES)
def test_numpy_s_integers_give_the_same(name):
    images = padded(*BOXES[name][1]) - np.float32(1 / 16)
    rows, columns = (np.asarray(matrix, np.int64)[0] for matrix in matrices(name))
    x = (images[0] * 16).astype(np.int64)

    def rounded(sums):
        # Halves to even, as IEEE 754 rounds.
        return np.rint(sums / 128).astype(np.int64)

    x = rounded(np.einsum("ih,hwc->iwc", rows, x))
    x = rounded(np.einsum("jw,iwc->ijc", columns, x))
    np.testing.assert_array_equal(np.asarray(resample(images, *matrices(name)))[0] * 16, x)


@pytest.mark.parametrize("name", BOXES)
def test_the_gradient_is_the_transpose(name):
    images, (rows, columns) = padded(*BOXES[name][1]), matrices(name)
    side = BOXES[name][2]
    pull = np.random.RandomState(1).randn(1, side, side, 3).astype(np.float32)
    gradient = jax.vjp(lambda x: resample(x, rows, columns), images)[1](pull)[0]
    expected = np.einsum("bih,bjw,bijc->bhwc", rows, columns, pull) / 128**2
    # Two roundings to 8 bits.
    error = np.sqrt(np.mean((gradient - expected) ** 2) / np.mean(expected**2))
    assert error < 0.03


@pytest.mark.parametrize(("size", "shape"), [((32, 32), (112, 112)), ((30, 17), (25, 64))])
def test_whole_images_are_resized_as_pillow_does(size, shape):
    images = pictures(*size, count=1, seed=3)
    image = Image.fromarray(images[0].astype(np.uint8))
    expected = np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR), np.float32)
    difference = np.abs(np.asarray(resize(images, shape))[0] - expected)
    assert difference.mean() < 1
    assert difference.max() < 4


@pytest.mark.parametrize(("size", "shape"), [((600, 4), (1024, 7)), ((1024, 3), (5, 3))])
def test_long_sides_give_the_bits_of_numpy_s_integers(size, shape):
    images = pictures(*size, count=1, seed=4)
    expected, pull = integer_photograph.resized(np.int64(images * 16), shape)
    result, pull_back = jax.vjp(lambda x: resize(x, shape), images)
    np.testing.assert_array_equal(np.asarray(result) * 16, expected)
    g = np.float32(np.random.RandomState(5).randint(-100, 100, expected.shape))
    # With more results gradients have fewer bits than the oracle's.
    if max(shape) <= 514:
        np.testing.assert_array_equal(pull_back(g)[0], pull(g))


@pytest.mark.parametrize("count", [1, 40, 514, 515, 4096])
def test_sums_of_gradients_are_exact_whatever_the_number_of_results(count):
    bits = resample_lib._bits(np.empty((1, count, 1)))
    assert (2**bits - 1) * 128 * count <= 2**24
    assert bits == 8 or (2 ** (bits + 1) - 1) * 128 * count > 2**24
