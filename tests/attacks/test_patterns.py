"""Patterns of classes."""

import numpy as np
import pytest

from raeg_jax.attacks.patterns import COLOURS, MOST_CLASSES, cells, count_waves, waves

ALL = tuple(COLOURS)


@pytest.mark.parametrize(("period", "cycles"), [(8, (2, 3)), (5, (1, 2)), (16, (8, 8))])
def test_waves_have_the_frequencies_and_the_strength_that_were_asked_for(period, cycles):
    made, _ = waves(period, cycles, ALL, 1, 0)
    assert len(made) == count_waves(period, cycles, ALL)
    np.testing.assert_allclose(np.mean(made.astype(float) ** 2, axis=(1, 2, 3)), 256**2, rtol=0.02)
    spectrum = np.abs(np.fft.fft2(made, axes=(1, 2)))
    which, down, across, _ = np.nonzero(spectrum > 0.1 * spectrum.max())
    down, across = (np.minimum(each, period - each) for each in (down, across))
    fastest = np.maximum(down, across)
    assert (fastest.min(), fastest.max()) == cycles
    # Each wave has one frequency along each axis.
    for index in range(len(made)):
        assert len({*zip(down[which == index], across[which == index], strict=True)}) == 1


def test_classes_draw_different_waves_and_each_wave_is_drawn_about_equally_often():
    # Fastest 2 or 3 cycles: 16 - 4 pairs of frequencies, in three colours.
    assert count_waves(8, (2, 3), ALL) == 36
    _, drawn = waves(8, (2, 3), ALL, 2, 0)
    assert len({tuple(row) for row in drawn}) == len(drawn) == 630
    often = np.bincount(drawn[:108].ravel(), minlength=36)
    assert (often.min() >= 4, often.max() <= 8) == (True, True)
    assert len(waves(16, (0, 8), ALL, 3, 0)[1]) == MOST_CLASSES
    assert not np.array_equal(waves(8, (2, 3), ALL, 2, 1)[1], drawn)


def test_cells_go_up_and_down_in_all_colours():
    steps, signs = cells(8, 4, ("grey", "blue_yellow"), 0)
    assert signs.shape == (MOST_CLASSES, 4, 4, 2)
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.02
    np.testing.assert_array_equal(steps[0], [256, 256, 256])
    np.testing.assert_array_equal(steps[1], np.round(256 / 2**0.5 * np.array([-1, -1, 2])))
    assert not np.array_equal(cells(8, 4, ("grey", "blue_yellow"), 1)[1], signs)


@pytest.mark.parametrize(("across", "colours", "count"), [(4, ALL, MOST_CLASSES), (1, ALL, 8)])
def test_no_two_classes_have_the_same_cells_while_there_are_others(across, colours, count):
    _, signs = cells(8, across, colours, 0)
    assert len({each.tobytes() for each in signs}) == len(signs) == count


@pytest.mark.parametrize("period", range(2, 33))
def test_no_value_is_so_near_to_a_half_that_rounding_could_depend_on_the_machine(period):
    """Of all waves that any setting allows."""
    turns = (np.arange(period) + 0.25) / period
    cosines = np.cos(2 * np.pi * np.outer(np.arange(period // 2 + 1), turns))
    strength = np.sqrt(np.mean(cosines**2, axis=-1))
    alone = cosines / strength[:, None]
    for colour in COLOURS:
        assert np.abs(values_of(alone, colour) % 1 - 0.5).min() > 1e-9
    # These are what is rounded.
    made, _ = waves(period, (0, period // 2), ("blue_yellow",), 1, 0)
    expected = np.round(values_of(alone, "blue_yellow"))
    np.testing.assert_array_equal(np.sort(made.ravel()), np.sort(expected.ravel()))


def values_of(alone, colour):
    samples = np.array(COLOURS[colour]) / np.sqrt(np.mean(np.square(COLOURS[colour])))
    return np.multiply.outer(np.multiply.outer(alone, alone), samples) * 256
