import numpy as np
import pytest

from raeg_jax.evaluation.grid import difference, grid


def batch(value, count=2, size=8):
    """Images of one colour; text is grey, so no letter has it."""
    return np.full((count, size, size, 3), [value, 0, 0], np.uint8)


def area(picture, colour):
    return np.sum(np.all(picture == colour, axis=-1))


def test_difference_is_ten_times_the_change_around_grey():
    images = np.array([100, 101, 99, 130, 60], np.uint8)
    originals = np.full(5, 100, np.uint8)
    np.testing.assert_array_equal(difference(images, originals), [128, 138, 118, 255, 0])


def test_each_column_shows_its_images_enlarged_by_whole_pixels():
    originals, protected, recovered = batch(10), batch(14), batch(11)
    picture = grid(originals, protected, recovered, [["cat"], ["dog"]], cell=16)
    assert picture.dtype == np.uint8
    for colour in ([10, 0, 0], [14, 0, 0], [168, 128, 128], [11, 0, 0]):
        # Two rows of one 16 x 16 cell each.
        assert area(picture, colour) == 2 * 16 * 16


def test_large_images_keep_their_size():
    picture = grid(batch(10, 1, 40), batch(10, 1, 40), batch(10, 1, 40), [["a"]], cell=16)
    assert area(picture, [10, 0, 0]) == 3 * 40 * 40


def test_captions_are_drawn_beside_their_rows_and_never_into_the_images():
    images = batch(200)
    blank = grid(images, images, images, [[], []])
    short = grid(images, images, images, [["cat", "read as dog"], []])
    long = grid(images, images, images, [["a very long class name " * 5, "猫"], []])
    assert np.any(short != blank)
    changed = np.flatnonzero(np.any(long != blank, axis=(0, 2)))
    assert len(changed) > 0
    assert changed.max() < _first_column(blank, [200, 0, 0])


def _first_column(picture, colour):
    return np.flatnonzero(np.any(np.all(picture == colour, axis=-1), axis=0)).min()


@pytest.mark.parametrize(
    ("protected", "captions"),
    [(batch(1, 3), [[], []]), (batch(1), [[]])],
    ids=["batch", "captions"],
)
def test_batches_that_do_not_match_are_named(protected, captions):
    with pytest.raises(ValueError, match="three batches of one shape"):
        grid(batch(1), protected, batch(1), captions)
