"""The conditioner of shortcut stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.attacks.patterns import COLOURS, waves
from raeg_jax.attacks.shortcut import PATTERNS, Shortcut
from raeg_jax.image.metrics import psnr
from raeg_jax.invertible.gradient_coupling import GradientCoupling

LABELS = np.array([0, 1, 1, 7], np.int32)
BOTH = pytest.mark.parametrize("pattern", PATTERNS)


def made(labels=LABELS, size=(24, 40), **settings):
    images = np.zeros((len(labels), *size, 3), np.float32)
    return np.asarray(Shortcut(**settings)(images, np.asarray(labels, np.int32)))


@BOTH
def test_all_images_of_a_class_have_the_same_pattern_and_other_classes_others(pattern):
    found = made(np.arange(101), (32, 32), pattern=pattern)
    np.testing.assert_array_equal(found[[0, 1, 1, 7]], made(size=(32, 32), pattern=pattern))
    assert len({each.tobytes() for each in found}) == 101
    assert not np.array_equal(made(seed=1, pattern=pattern), made(pattern=pattern))


@pytest.mark.parametrize("settings", [{"waves": 16}, {"pattern": "cells"}, {"period": 32}])
def test_patterns_are_whole_sixteenths_within_what_couplings_take(settings):
    found = made(np.arange(101), (32, 32), colours=tuple(COLOURS), **settings)
    np.testing.assert_array_equal(found * 16, np.round(found * 16))
    assert np.abs(found).max() <= 255


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
        found = made(labels, (32, 32), **settings)
        assert len({each.tobytes() for each in found}) == expected


@BOTH
def test_patterns_repeat_and_have_the_colours_that_were_asked_for(pattern):
    found = made(size=(40, 24), pattern=pattern, cells=2, colours=("blue_yellow",))
    np.testing.assert_array_equal(found[:, 16:32], found[:, :16])
    np.testing.assert_array_equal(found[:, :, 16:], found[:, :, :8])
    assert np.abs(found @ np.array([1, 1, 1])).max() < 0.2
    assert np.ptp(made(pattern=pattern, colours=("grey",)), axis=-1).max() == 0


def test_waves_of_a_class_add_up():
    several = {"cycles": (2, 3), "colours": ("grey", "red_green")}
    table, drawn = waves(16, *several.values(), 2, 0)
    found = made(waves=2, size=(16, 16), **several)
    np.testing.assert_allclose(found * 16, table[drawn[LABELS]].mean(axis=1), atol=0.5)


def test_cells_are_squares_of_one_colour():
    found = made(pattern="cells", size=(32, 32))
    squares = found.reshape(4, 4, 8, 4, 8, 3)
    assert np.all(squares == squares[:, :, :1, :, :1])
    # Two colours, up or down.
    assert len(np.unique(squares[:, :, 0, :, 0].reshape(-1, 3), axis=0)) == 4


def test_where_there_are_fewer_patterns_than_classes_they_begin_anew():
    few = {"period": 4, "cycles": (2, 2), "waves": 10}
    np.testing.assert_array_equal(made([0], **few), made([1], **few))
    few = {"pattern": "cells", "cells": 1}
    np.testing.assert_array_equal(made([1], **few), made([5], **few))


@BOTH
@pytest.mark.parametrize("token_planes", [0, 1])
def test_the_stage_is_exact_and_stops_at_the_psnr(pattern, token_planes):
    stage = GradientCoupling(Shortcut(pattern), 6.0, 30.0, token_planes=token_planes)
    assert stage.portable
    random = np.random.RandomState(0)
    smooth = random.randint(40, 216, (4, 8, 8, 3)).astype(np.float32)
    x = np.round(np.asarray(jax.image.resize(smooth, (4, 32, 32, 3), "cubic")).clip(0, 255))
    token = random.choice([-1, 1], (4, 32, 32, token_planes)) if token_planes else None
    y, code = jax.jit(lambda x: stage.forward(x, LABELS, x, token))(x)
    np.testing.assert_array_equal(jax.jit(lambda y, c: stage.inverse(y, c, token))(y, code), x)
    np.testing.assert_allclose(psnr(jnp.clip(y, 0, 255), x), 10 * np.log10(255**2 / 30), atol=0.3)
    # What was added is the class's pattern: their correlation is nearly 1.
    added, wanted = np.asarray(y) - x, made(pattern=pattern, size=(32, 32))
    for own, asked in zip(added, wanted, strict=True):
        assert np.corrcoef(own.ravel(), asked.ravel())[0, 1] > 0.9
