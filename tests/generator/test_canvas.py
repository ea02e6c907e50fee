"""The pixels of a photograph in squares; that they are those of whole arrays: `test_photograph`."""

import numpy as np
import pytest
import skimage.data

from raeg_jax.generator.canvas import Canvas, Shift
from raeg_jax.generator.gradient_coupling import PARTS, GradientCoupling
from raeg_jax.generator.masking import diagonal, fill
from raeg_jax.generator.photograph_guide import cell_means


def test_errors_of_black_and_white_squares_are_not_too_large():
    image, stage = np.zeros((256, 300, 3), np.uint8), GradientCoupling(None, 1.0, 1.0)
    canvas, zeros = Canvas(image, None), np.zeros((257, 301, 3), np.int16)
    shift = Shift(stage, 0, np.zeros((256, 512, 2), np.uint8), zeros, 0, 1024)
    np.testing.assert_array_equal(
        canvas.errors(shift, image + 255, [0, PARTS]), image.size * 255**2
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (512, 257)])
def test_squares_are_filled_as_the_whole_is(size):
    image = skimage.data.astronaut()[: size[0], : size[1]]
    stage = GradientCoupling(None, 1.0, 1.0)
    for index in range(3):
        filled = fill(image[None].astype(np.int32), diagonal(*size)[index][None])
        working, room = Canvas(image, None).fill(stage, index)
        means = cell_means(np, np.asarray(filled.image), Canvas(image, None).cell)
        np.testing.assert_array_equal(working.images[:, : means.shape[1], : means.shape[2]], means)
        masked = diagonal(*size)[index]
        for place, expected in enumerate(stage.room(filled)):
            np.testing.assert_array_equal(
                room[: size[0], : size[1], place], np.asarray(expected)[0][masked].reshape(size)
            )


def test_a_shift_is_undone_and_stays_within_its_room():
    image = skimage.data.astronaut()[:300, :280]
    stage, random = GradientCoupling(None, 1.0, 1.0), np.random.RandomState(0)
    token = random.choice([-1, 1], (*image.shape[:2], 2))
    canvas = Canvas(image, token)
    _, room = canvas.fill(stage, 1)
    direction = random.randint(-900, 900, (301, 281, 3)).astype(np.int16)
    direction[-1] = direction[:, -1] = 0
    rms = canvas.rms(direction, 1)
    shift = Shift(stage, 1, room, direction, rms, 6 * 1024)
    canvas.shift(shift, PARTS)
    moved = canvas.take() - image.astype(np.int16)
    assert np.all((moved != 0).sum(-1) <= 1)
    np.testing.assert_allclose(np.sqrt(np.mean(np.sum(moved**2, -1, dtype=float))), 6, rtol=0.15)
    saved = np.clip(canvas.take(), 0, 255).astype(np.uint8)
    assert canvas.errors(shift, saved, [0])[0] == 0
    expected = np.sum((saved.astype(float) - image) ** 2)
    canvas.shift(shift, -PARTS)
    assert canvas.errors(shift, image, [PARTS])[0] == expected
    np.testing.assert_array_equal(canvas.take(), image)
