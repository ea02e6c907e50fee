"""Patterns of classes."""

import numpy as np
import pytest

from raeg_jax.attacks import patterns
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
    steps, signs = cells(32, 8, ("grey", "blue_yellow"), 0)
    assert signs.shape == (MOST_CLASSES, 4, 4, 2)
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.02
    assert len({each.tobytes() for each in signs}) == MOST_CLASSES
    np.testing.assert_array_equal(steps[0], [256, 256, 256])
    np.testing.assert_array_equal(steps[1], np.round(256 / 2**0.5 * np.array([-1, -1, 2])))


@pytest.mark.parametrize("period", range(2, 65))
def test_no_value_is_so_near_to_a_half_that_rounding_could_depend_on_the_machine(
    period, monkeypatch
):
    seen = []
    monkeypatch.setattr(patterns.np, "round", lambda x: seen.append(x) or x)
    waves.__wrapped__(period, (1, min(4, period // 2)), ALL, 1, 0)
    (values,) = seen
    assert np.abs(values % 1 - 0.5).min() > 1e-9
