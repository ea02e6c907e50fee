"""The attack layer: random strengths, gradients, and independence of sharding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jax.sharding import AxisType, PartitionSpec

from configs import base
from raeg_jax.adversarial.attack_layer import attack_layer, check_settings
from raeg_jax.adversarial.distortions import DISTORTIONS
from raeg_jax.errors import UserError
from raeg_jax.image import filters, jpeg

NAMES = [name for name in DISTORTIONS if name != "identity"]


def settings_with(**probability):
    """`config.attack_layer` with these probabilities and no others."""
    settings = base.get_config().attack_layer
    for name in settings.probability:
        settings.probability[name] = float(probability.get(name, 0))
    return settings


@pytest.fixture(scope="module")
def images():
    return jnp.float32(skimage.data.astronaut()[:256, 200:232].reshape(8, 32, 32, 3))


@functools.cache
def compiled(name):
    return jax.jit(lambda key, x: attack_layer(key, x, settings_with(**{name: 1})))


def test_the_configuration_has_every_distortion():
    settings = base.get_config().attack_layer
    assert set(settings.probability) == set(DISTORTIONS)
    assert {DISTORTIONS[name].setting for name in NAMES} - {None} | {"probability"} == set(settings)


@pytest.mark.parametrize("name", NAMES)
def test_distorts_onto_the_8_bit_grid_with_a_finite_gradient_in_every_image(name, images):
    layer, key = compiled(name), jax.random.key(0)
    weights = jax.random.normal(jax.random.key(1), images.shape)

    def weighted(x):
        y = layer(key, x)
        return (weights * y).sum(), y

    gradient, y = jax.grad(weighted, has_aux=True)(images)
    assert (y.shape, y.dtype) == (images.shape, np.float32)
    np.testing.assert_array_equal(y, np.clip(np.round(y), 0, 255))
    distance = np.abs(y - images).mean((1, 2, 3))
    assert (distance > 0.1).all()
    assert (distance < 40).all()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_key_decides(name, images):
    layer = compiled(name)
    first, again = layer(jax.random.key(3), images), layer(jax.random.key(3), images)
    np.testing.assert_array_equal(first, again)
    others = [layer(jax.random.key(k), images) for k in range(4, 10)]
    if name in ("median_blur", "grey"):
        # They have one strength, or none.
        assert all((other == first).all() for other in others)
    else:
        assert any((other != first).any() for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_the_batch_gets_the_same(name, images):
    settings, key = settings_with(**{name: 1}), jax.random.key(5)
    whole = compiled(name)(key, images)
    layer = jax.jit(lambda key, x, index: attack_layer(key, x, settings, index))
    part = layer(key, images[2:6], jnp.arange(2, 6))
    # Rounding may amplify another order of summation to one level in rare samples.
    assert np.mean(np.abs(whole[2:6] - part)) < 1e-3


def test_sharded_over_devices_it_is_the_same(images):
    settings = settings_with(gaussian_noise=1, jpeg=1, crop_resize=1, identity=1)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("batch")

    def layer(key, x, index):
        return attack_layer(key, x, settings, index)

    sharded = jax.jit(
        jax.shard_map(layer, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=rows)
    )
    one_device = jax.jit(layer)
    for seed in range(8):
        arguments = jax.random.key(seed), images, jnp.arange(8)
        assert np.mean(np.abs(sharded(*arguments) - one_device(*arguments))) < 1e-3


def test_noise_differs_between_images_and_has_the_drawn_deviation():
    grey = jnp.full((4, 32, 32, 3), 128.0)
    settings = settings_with(gaussian_noise=1)
    settings.noise_std = (5.0, 5.0)
    noise = jax.jit(lambda x: attack_layer(jax.random.key(0), x, settings) - x)(grey)
    noise = np.asarray(noise)
    np.testing.assert_allclose(noise.std((1, 2, 3)), 5.0, rtol=0.1)
    correlation = np.corrcoef(noise.reshape(4, -1)) - np.eye(4)
    assert np.abs(correlation).max() < 0.1


def test_strengths_come_from_their_range(images):
    """With a range of one value the layer is the distortion of that strength."""
    cases = {
        "jpeg": ("jpeg_quality", 30, jpeg.jpeg),
        "gaussian_blur": ("blur_sigma", 1.25, lambda x, s: filters.gaussian_blur(x, s, 1.25)),
        "bit_depth": ("bits", 3, filters.bit_depth),
    }
    for name, (setting, value, distortion) in cases.items():
        settings = settings_with(**{name: 1})
        settings[setting] = (value, value)
        layer = jax.jit(lambda x, s=settings: attack_layer(jax.random.key(0), x, s))
        y, expected = layer(images), jax.jit(distortion)(images, value)
        expected = np.clip(np.round(expected), 0, 255)
        assert np.mean(np.abs(y - expected)) < 1e-3


def test_both_ends_of_a_range_are_drawn():
    """Ranges of whole numbers include the upper end: the level of grey 100 shows the bits."""
    grey = jnp.full((1, 4, 4, 3), 100.0)
    settings = settings_with(bit_depth=1)
    settings.bits = (1, 3)
    layer = jax.jit(lambda key: attack_layer(key, grey, settings)[0, 0, 0, 0])
    drawn = {float(layer(jax.random.key(k))) for k in range(30)}
    assert drawn == {0.0, 85.0, 109.0}


def test_crops_lie_inside_the_image():
    """A ramp shows the position of each crop, and that borders are not padded."""
    ramp = jnp.broadcast_to(jnp.arange(32.0)[:, None, None] * 8, (1, 32, 32, 3))
    settings = settings_with(crop_resize=1)
    settings.crop_share = (0.5, 0.5)
    layer = jax.jit(lambda key: attack_layer(key, ramp, settings)[0, :, 0, 0])
    tops = set()
    for seed in range(40):
        column = np.asarray(layer(jax.random.key(seed)))
        assert (np.diff(column) >= 0).all()
        assert column[-1] - column[0] == 15 * 8
        tops.add(column[0] / 8)
    assert min(tops) >= 0
    assert max(tops) <= 16
    assert len(tops) > 8


def test_probabilities_are_relative(images):
    settings = settings_with(identity=3, bit_depth=1)
    settings.bits = (1, 1)
    layer = jax.jit(lambda key: attack_layer(key, images[:1], settings))
    changed = [bool((layer(jax.random.key(k)) != images[:1]).any()) for k in range(200)]
    np.testing.assert_allclose(np.mean(changed), 0.25, atol=0.1)


def test_identity_leaves_floats_alone():
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3), minval=-20.0, maxval=290.0)
    assert attack_layer(jax.random.key(1), x, settings_with(identity=0.5)) is x
    settings = settings_with(identity=1, bit_depth=1e-6)
    layer = jax.jit(lambda x: attack_layer(jax.random.key(1), x, settings))
    np.testing.assert_array_equal(layer(x), x)


def test_distortions_of_probability_zero_are_not_traced(images, monkeypatch):
    def fail(*_):
        raise AssertionError("traced")

    monkeypatch.setitem(DISTORTIONS, "jpeg", DISTORTIONS["jpeg"]._replace(apply=fail))
    attack_layer(jax.random.key(0), images, settings_with(bit_depth=1, identity=1))
    with pytest.raises(AssertionError, match="traced"):
        attack_layer(jax.random.key(0), images, settings_with(jpeg=1, identity=1))


def test_impossible_settings():
    with pytest.raises(UserError, match="all are 0"):
        check_settings(settings_with())
    settings = settings_with(identity=1)
    settings.median_size = 4
    with pytest.raises(UserError, match="median_size = 4: must be odd"):
        check_settings(settings)
