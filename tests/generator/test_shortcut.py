"""The conditioner of shortcut stages, and its patterns of classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.shortcut import (
    COLOURS,
    MOST_CLASSES,
    PATTERNS,
    Shortcut,
    count_waves,
    draw_cells,
    draw_waves,
)
from raeg_jax.image.metrics import psnr

LABELS = np.array([0, 1, 1, 7], np.int32)
BOTH = pytest.mark.parametrize("pattern", PATTERNS)


def pattern_of(labels=LABELS, size=(24, 40), **settings):
    images = np.zeros((len(labels), *size, 3), np.float32)
    return np.asarray(Shortcut(**settings)(images, np.asarray(labels, np.int32)))


@BOTH
def test_all_images_of_a_class_have_the_same_pattern_and_other_classes_others(pattern):
    patterns = pattern_of(np.arange(101), (32, 32), pattern=pattern)
    np.testing.assert_array_equal(
        patterns[[0, 1, 1, 7]], pattern_of(size=(32, 32), pattern=pattern)
    )
    assert len({each.tobytes() for each in patterns}) == 101
    assert not np.array_equal(pattern_of(seed=1, pattern=pattern), pattern_of(pattern=pattern))


@pytest.mark.parametrize("settings", [{"waves": 16}, {"pattern": "cells"}, {"period": 32}])
def test_patterns_are_whole_sixteenths_within_what_couplings_take(settings):
    patterns = pattern_of(np.arange(101), (32, 32), colours=tuple(COLOURS), **settings)
    np.testing.assert_array_equal(patterns * 16, np.round(patterns * 16))
    assert np.abs(patterns).max() <= 255


def test_the_number_of_patterns_is_known():
    config = base.get_config().generator.shortcut
    for changes, expected in (
        ({}, 130),
        ({"waves": 2, "colours": ("grey",), "cycles": (8, 8)}, 17 * 16 // 2),
        ({"pattern": "cells", "cells": 2}, 16),
    ):
        config.update(changes)
        labels = np.arange(expected + 1)
        settings = config.to_dict()
        del settings["target_psnr"]
        assert Shortcut(**settings).count == expected
        patterns = pattern_of(labels, (32, 32), **settings)
        assert len({each.tobytes() for each in patterns}) == expected


@BOTH
def test_patterns_repeat_and_have_the_chosen_colours(pattern):
    patterns = pattern_of(size=(40, 24), pattern=pattern, cells=2, colours=("blue_yellow",))
    np.testing.assert_array_equal(patterns[:, 16:32], patterns[:, :16])
    np.testing.assert_array_equal(patterns[:, :, 16:], patterns[:, :, :8])
    assert np.abs(patterns @ np.array([1, 1, 1])).max() < 0.2
    assert np.ptp(pattern_of(pattern=pattern, colours=("grey",)), axis=-1).max() == 0


def test_waves_of_a_class_add_up():
    several = {"cycles": (2, 3), "colours": ("grey", "red_green")}
    table, drawn = draw_waves(16, *several.values(), 2, 0)
    patterns = pattern_of(waves=2, size=(16, 16), **several)
    np.testing.assert_allclose(patterns * 16, table[drawn[LABELS]].mean(axis=1), atol=0.5)


def test_cells_are_squares_of_one_colour():
    patterns = pattern_of(pattern="cells", size=(32, 32))
    squares = patterns.reshape(4, 4, 8, 4, 8, 3)
    assert np.all(squares == squares[:, :, :1, :, :1])
    # Two colours, up or down.
    assert len(np.unique(squares[:, :, 0, :, 0].reshape(-1, 3), axis=0)) == 4


def test_with_fewer_patterns_than_classes_classes_share_patterns():
    few = {"period": 4, "cycles": (2, 2), "waves": 10}
    np.testing.assert_array_equal(pattern_of([0], **few), pattern_of([1], **few))
    few = {"pattern": "cells", "cells": 1}
    np.testing.assert_array_equal(pattern_of([1], **few), pattern_of([5], **few))


@BOTH
@pytest.mark.parametrize("token_planes", [0, 1])
def test_the_stage_is_exact_and_stops_at_the_psnr(pattern, token_planes):
    stage = GradientCoupling(Shortcut(pattern), 6.0, 30.0, token_planes=token_planes)
    assert stage.portable
    random = np.random.RandomState(0)
    smooth = random.randint(40, 216, (4, 8, 8, 3)).astype(np.float32)
    x = np.round(np.asarray(jax.image.resize(smooth, (4, 32, 32, 3), "cubic")).clip(0, 255))
    token = random.choice([-1, 1], (4, 32, 32, token_planes)) if token_planes else None
    y, info = jax.jit(lambda x: stage.forward(x, LABELS, x, token))(x)
    np.testing.assert_array_equal(jax.jit(lambda y, c: stage.inverse(y, c, token))(y, info), x)
    np.testing.assert_allclose(psnr(jnp.clip(y, 0, 255), x), 10 * np.log10(255**2 / 30), atol=0.3)
    # The difference is the class's pattern: their correlation is nearly 1.
    added, wanted = np.asarray(y) - x, pattern_of(pattern=pattern, size=(32, 32))
    for image, pattern in zip(added, wanted, strict=True):
        assert np.corrcoef(image.ravel(), pattern.ravel())[0, 1] > 0.9


ALL = tuple(COLOURS)


@pytest.mark.parametrize(("period", "cycles"), [(8, (2, 3)), (5, (1, 2)), (16, (8, 8))])
def test_waves_have_the_chosen_frequencies_and_equal_strength(period, cycles):
    drawn, _ = draw_waves(period, cycles, ALL, 1, 0)
    assert len(drawn) == count_waves(period, cycles, ALL)
    np.testing.assert_allclose(np.mean(drawn.astype(float) ** 2, axis=(1, 2, 3)), 256**2, rtol=0.02)
    spectrum = np.abs(np.fft.fft2(drawn, axes=(1, 2)))
    which, down, across, _ = np.nonzero(spectrum > 0.1 * spectrum.max())
    down, across = (np.minimum(each, period - each) for each in (down, across))
    fastest = np.maximum(down, across)
    assert (fastest.min(), fastest.max()) == cycles
    # Each wave has one frequency along each axis.
    for index in range(len(drawn)):
        assert len({*zip(down[which == index], across[which == index], strict=True)}) == 1


def test_classes_draw_different_waves_and_each_wave_is_drawn_about_equally_often():
    # Fastest 2 or 3 cycles: 16 - 4 pairs of frequencies, in three colours.
    assert count_waves(8, (2, 3), ALL) == 36
    _, drawn = draw_waves(8, (2, 3), ALL, 2, 0)
    assert len({tuple(row) for row in drawn}) == len(drawn) == 630
    often = np.bincount(drawn[:108].ravel(), minlength=36)
    assert (often.min() >= 4, often.max() <= 8) == (True, True)
    assert len(draw_waves(16, (0, 8), ALL, 3, 0)[1]) == MOST_CLASSES
    assert not np.array_equal(draw_waves(8, (2, 3), ALL, 2, 1)[1], drawn)


def test_cells_go_up_and_down_in_all_colours():
    steps, signs = draw_cells(4, ("grey", "blue_yellow"), 0)
    assert signs.shape == (MOST_CLASSES, 4, 4, 2)
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.02
    np.testing.assert_array_equal(steps[0], [256, 256, 256])
    np.testing.assert_array_equal(steps[1], np.round(256 / 2**0.5 * np.array([-1, -1, 2])))
    assert not np.array_equal(draw_cells(4, ("grey", "blue_yellow"), 1)[1], signs)


@pytest.mark.parametrize(("across", "colours", "count"), [(4, ALL, MOST_CLASSES), (1, ALL, 8)])
def test_no_two_classes_have_the_same_cells_while_there_are_others(across, colours, count):
    _, signs = draw_cells(across, colours, 0)
    assert len({each.tobytes() for each in signs}) == len(signs) == count


@pytest.mark.parametrize("period", range(2, 33))
def test_no_value_is_so_near_to_a_half_that_rounding_could_depend_on_the_machine(period):
    """For all waves of all settings."""
    turns = (np.arange(period) + 0.25) / period
    cosines = np.cos(2 * np.pi * np.outer(np.arange(period // 2 + 1), turns))
    strength = np.sqrt(np.mean(cosines**2, axis=-1))
    alone = cosines / strength[:, None]
    for colour in COLOURS:
        assert np.abs(values_of(alone, colour) % 1 - 0.5).min() > 1e-9
    # These are the values that are rounded.
    drawn, _ = draw_waves(period, (0, period // 2), ("blue_yellow",), 1, 0)
    expected = np.round(values_of(alone, "blue_yellow"))
    np.testing.assert_array_equal(np.sort(drawn.ravel()), np.sort(expected.ravel()))


def values_of(alone, colour):
    samples = np.array(COLOURS[colour]) / np.sqrt(np.mean(np.square(COLOURS[colour])))
    return np.multiply.outer(np.multiply.outer(alone, alone), samples) * 256
