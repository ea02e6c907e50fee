"""The conditioner of shortcut stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.attacks import shortcut
from raeg_jax.attacks.shortcut import COLOURS, Shortcut, count, draw
from raeg_jax.image.metrics import psnr
from raeg_jax.invertible.gradient_coupling import GradientCoupling

LABELS = np.array([0, 1, 1, 7], np.int32)


def pattern(labels=LABELS, size=(24, 40), **settings):
    images = np.zeros((len(labels), *size, 3), np.float32)
    return np.asarray(Shortcut(**settings)(images, np.asarray(labels, np.int32)))


def test_all_images_of_a_class_have_the_same_pattern_and_other_classes_others():
    made = pattern(np.arange(101))
    np.testing.assert_array_equal(pattern()[1], pattern()[2])
    assert len({each.tobytes() for each in made}) == 101
    assert not np.array_equal(pattern(seed=1), pattern())


@pytest.mark.parametrize(
    ("period", "cycles", "waves"), [(8, (2, 3), 2), (5, (1, 2), 1), (16, (8, 8), 3)]
)
def test_patterns_have_the_frequencies_and_the_strength_that_were_asked_for(period, cycles, waves):
    made = pattern(
        np.arange(9), (4 * period, 4 * period), period=period, cycles=cycles, waves=waves
    )
    spectrum = np.abs(np.fft.fft2(made, axes=(1, 2))) > 0.1 * np.prod(made.shape[1:3])
    _, down, across, _ = np.nonzero(spectrum)
    down, across = (np.minimum(each, 4 * period - each) / 4 for each in (down, across))
    fastest = np.maximum(down, across)
    assert (fastest.min() >= cycles[0], fastest.max() <= cycles[1]) == (True, True)
    # Waves are of equal strength, and sums of different ones add up.
    np.testing.assert_allclose(np.mean(made**2, axis=(1, 2, 3)), waves * 16.0**2, rtol=0.02)
    assert np.abs(made).max() <= 255
    np.testing.assert_array_equal(made * 16, np.round(made * 16))


def test_waves_have_the_colours_that_were_asked_for():
    luma = np.array([1, 1, 1])
    assert np.abs(pattern(colours=("blue_yellow",)) @ luma).max() < 0.2
    assert np.ptp(pattern(colours=("grey",)), axis=-1).max() == 0


def test_classes_draw_different_waves_and_each_wave_is_drawn_about_equally_often():
    waves = count(8, (2, 3), tuple(COLOURS))
    # Fastest 2 or 3 cycles: 16 - 4 pairs of frequencies, in three colours.
    assert waves == 36
    drawn = draw(waves, 2, 0)
    assert len({tuple(row) for row in drawn}) == len(drawn) == 630
    often = np.bincount(drawn[:108].ravel(), minlength=waves)
    assert (often.min() >= 4, often.max() <= 8) == (True, True)
    assert len(draw(243, 3, 0)) == shortcut.MOST_CLASSES
    # Where there are fewer patterns than classes they begin anew.
    few = {"period": 4, "cycles": (2, 2), "waves": 10}
    np.testing.assert_array_equal(pattern([0], **few), pattern([1], **few))


@pytest.mark.parametrize("period", range(2, 65))
def test_no_value_is_so_near_to_a_half_that_rounding_could_depend_on_the_machine(
    period, monkeypatch
):
    seen = []
    monkeypatch.setattr(shortcut.np, "round", lambda x: seen.append(x) or x)
    shortcut._waves.__wrapped__(period, (1, min(4, period // 2)), tuple(COLOURS))
    (values,) = seen
    assert np.abs(values % 1 - 0.5).min() > 1e-9


@pytest.mark.parametrize("token_planes", [0, 1])
def test_the_stage_is_exact_and_stops_at_the_psnr(token_planes):
    stage = GradientCoupling(Shortcut(), 6.0, 30.0, token_planes=token_planes)
    assert stage.portable
    random = np.random.RandomState(0)
    smooth = random.randint(40, 216, (4, 8, 8, 3)).astype(np.float32)
    x = np.round(np.asarray(jax.image.resize(smooth, (4, 32, 32, 3), "cubic")).clip(0, 255))
    token = random.choice([-1, 1], (4, 32, 32, token_planes)) if token_planes else None
    y, code = jax.jit(lambda x: stage.forward(x, LABELS, x, token))(x)
    np.testing.assert_array_equal(jax.jit(lambda y, c: stage.inverse(y, c, token))(y, code), x)
    np.testing.assert_allclose(psnr(jnp.clip(y, 0, 255), x), 10 * np.log10(255**2 / 30), atol=0.3)
    # What was added is the class's pattern: their correlation is nearly 1.
    added, wanted = np.asarray(y) - x, pattern(size=(32, 32))
    for own, asked in zip(added, wanted, strict=True):
        assert np.corrcoef(own.ravel(), asked.ravel())[0, 1] > 0.9
