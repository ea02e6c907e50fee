"""The step of learned patterns: what it adds to images, and what it minimises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from raeg_jax.generator.learned_pattern import LearnedPattern
from raeg_jax.image import metrics
from raeg_jax.training import pattern_step as lib
from raeg_jax.training.parallel import ParallelStep
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.processes import replicate

RANDOM = np.random.RandomState(0)
BATCH = {
    "image": RANDOM.randint(0, 256, (16, 8, 8, 3)).astype(np.uint8),
    "label": np.arange(16, dtype=np.int32) % 3,
}
PSNR = 30.0


pytestmark = pytest.mark.usefixtures("toy_networks")


@pytest.fixture
def config():
    config = base.get_config()
    config.data.image_size = 8
    config.generator.shortcut.target_psnr = PSNR
    config.patterns.update(surrogates=("flat",), grid=4, variants=2, adversarial=0.0)
    config.augment.update(crop_padding=1, grey=0.3)
    config.attack_layer.probability.update(identity=0.0, gaussian_noise=1.0)
    config.classifiers.update(warmup_steps=0, learning_rate=0.01)
    return config


def take_steps(config, count, devices=1):
    """The state and the metrics after so many steps."""
    surrogates = Surrogates(config, 3)
    optimizer = optax.adam(config.patterns.learning_rate)
    first = lib.first_patterns((3, config.patterns.variants, 4, 4, 3), seed=0)
    used = jax.devices()[:devices]
    state = replicate(lib.create_state(first, optimizer, surrogates), used)
    frozen = replicate({"seed": jnp.uint32(0)}, used)
    step = ParallelStep(lib.make_pattern_step(config, surrogates, optimizer), "pmap", used)
    for _ in range(count):
        state, metrics = step(state, frozen, BATCH)
    return first, jax.device_get(state), jax.device_get(metrics)


def test_first_patterns_are_a_short_grey_and_a_long_coloured_wave():
    patterns = lib.first_patterns((3, 2, 32, 32, 3), seed=0)
    np.testing.assert_allclose(np.mean(patterns**2, axis=(2, 3, 4)), 1, rtol=1e-5)
    grey = patterns.mean(-1)
    np.testing.assert_allclose(np.mean(grey**2, axis=(2, 3)), 0.6, rtol=1e-3)
    cycles = np.abs(np.fft.fftfreq(32, 1 / 32))
    longest = np.maximum(cycles[:, None], cycles)
    for each, (least, most) in ((grey[..., None], (6, 13)), (patterns - grey[..., None], (1, 3))):
        spectrum = np.abs(np.fft.fft2(each, axes=(2, 3))).max((0, 1, 4))
        # Waves are rounded to integers.
        assert spectrum[(longest < least) | (longest > most)].max() < 0.01 * spectrum.max()
    assert np.any(lib.first_patterns((3, 2, 32, 32, 3), seed=1) != patterns)


@pytest.mark.parametrize(("classes", "grid"), [(101, 32), (600, 32), (20, 64), (4, 2)])
def test_first_patterns_differ_where_there_are_enough_waves(classes, grid):
    flat = lib.first_patterns((classes, 1, grid, grid, 3), seed=0).reshape(classes, -1)
    assert len(np.unique(np.round(flat, 4), axis=0)) == classes


def test_int8_uses_the_whole_range_of_each_pattern():
    patterns = RANDOM.standard_normal((2, 3, 4, 4, 3)) * [[[[[0.1]]]], [[[[9.0]]]]]
    rounded = lib.to_int8(patterns)
    assert rounded.dtype == np.int8
    np.testing.assert_array_equal(np.abs(rounded.astype(int)).max((2, 3, 4)), 127)
    scale = np.abs(patterns).max((2, 3, 4), keepdims=True) / 127
    np.testing.assert_allclose(rounded * scale, patterns, atol=0.51 * scale.max())


@pytest.mark.parametrize("sides", [(16, 24), (6, 5)])
def test_what_is_added_has_the_form_of_the_stage_and_the_distance_of_the_psnr(sides):
    patterns = lib.to_int8(lib.first_patterns((3, 2, 8, 8, 3), seed=0))
    labels, variants = jnp.array([0, 2, 4]), jnp.array([1, 0, 1])
    images = np.full((3, *sides, 3), 128.0, np.float32)
    poisoned = lib.add_patterns(jnp.asarray(patterns, jnp.float32), images, labels, variants, PSNR)
    change = np.asarray(poisoned) - images
    np.testing.assert_allclose(metrics.psnr(poisoned, images), PSNR, atol=0.2)
    for i, variant in enumerate(variants):
        conditioner = LearnedPattern(patterns[:, int(variant) : int(variant) + 1])
        expected = np.asarray(conditioner(images[i : i + 1], labels[i : i + 1]))[0]
        assert np.corrcoef(expected.ravel(), change[i].ravel())[0, 1] > 0.995


def test_patterns_and_surrogates_learn_each_other(config):
    first, state, metrics = take_steps(config, 1)
    assert np.isfinite(metrics["loss"])
    # Values that leave 0..255 are clipped.
    np.testing.assert_allclose(metrics["rms"], metrics_of(PSNR), rtol=0.1)
    assert np.abs(state["patterns"] - first).max() > 1e-3
    np.testing.assert_allclose(np.mean(state["patterns"] ** 2, axis=(2, 3, 4)), 1, rtol=1e-4)
    _, later, better = take_steps(config, 30)
    assert better["loss"] < metrics["loss"] - 0.1
    assert int(later["step"]) == 30


def metrics_of(psnr):
    return np.sqrt(metrics.mse_of_psnr(psnr))


def test_the_gradient_leads_down(config):
    """Against a surrogate that stays as it is, without anything random between."""
    config.attack_layer.probability.update(identity=1.0, gaussian_noise=0.0)
    config.augment.update(flip=False, crop_padding=0, grey=0.0)
    config.patterns.variants = 1
    config.classifiers.learning_rate = 1e-9
    config.patterns.learning_rate = 0.1
    losses = [take_steps(config, count)[2]["loss"] for count in (1, 20)]
    assert losses[1] < losses[0] - 0.2


def test_eight_devices_take_the_steps_of_one(config):
    config.patterns.adversarial = 4.0
    (_, one, alone), (_, eight, shared) = (take_steps(config, 2, devices) for devices in (1, 8))
    chex.assert_trees_all_close(shared, alone, rtol=1e-4)
    # Adam divides by the size of the gradient.
    np.testing.assert_allclose(eight["patterns"], one["patterns"], atol=2e-3)
    assert np.median(np.abs(one["patterns"])) > 0.1
