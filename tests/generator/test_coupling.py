"""Every registered coupling: inverse, volume, identity when fresh, gradients."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.conditioner import CONDITIONERS, PlainConditioner
from raeg_jax.generator.coupling import (
    COUPLINGS,
    Coupling,
    JointScaleShift,
    ScaleShift,
    VolumePreserving,
)

# Every element of an image this size depends on every other.
SHAPE = (2, 3, 4, 4)


def make(variant, conditioner=PlainConditioner):
    return Coupling(variant, functools.partial(conditioner, width=8, depth=1))


def random_variables(layer, x, seed=0, scale=0.3):
    shapes = jax.eval_shape(lambda x: layer.init(jax.random.key(seed), x, method="forward"), x)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    leaves, tree = jax.tree.flatten(variables)
    random = np.random.RandomState(seed)
    return tree.unflatten(
        [leaf + scale * random.randn(*leaf.shape).astype(np.float32) for leaf in leaves]
    )


def integers(shape, seed=0):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("variant", COUPLINGS)
def test_inverse_undoes_forward(variant, jit):
    layer, x = make(variant), integers(SHAPE)
    variables = random_variables(layer, x)
    forward = functools.partial(layer.apply, variables, method="forward")
    inverse = functools.partial(layer.apply, variables, method="inverse")
    if jit:
        forward, inverse = jax.jit(forward), jax.jit(inverse)
    y = forward(x)
    assert np.abs(y - x).max() > 1
    error = np.abs(inverse(y) - x).max()
    assert error == 0 if COUPLINGS[variant].exact else error < 1e-3


@pytest.mark.parametrize("variant", [name for name in COUPLINGS if not COUPLINGS[name].exact])
def test_only_scaling_variants_change_volume(variant):
    layer, x = make(variant), integers((1, 2, 2, 4))
    variables = random_variables(layer, x)

    def flat(v):
        return layer.apply(variables, v.reshape(x.shape), method="forward").ravel()

    jacobian = np.asarray(jax.jit(jax.jacobian(flat))(x.ravel()), np.float64)
    sign, log_det = np.linalg.slogdet(jacobian)
    assert sign == 1
    assert (abs(log_det) < 2e-3) == (variant in ("additive", "gin"))


@pytest.mark.parametrize("variant", COUPLINGS)
def test_masked_coefficients_stay_as_they_are(variant):
    layer, x = make(variant), integers(SHAPE)
    mask = np.ones((1, *SHAPE[1:]), np.float32)
    mask[:, -1, :, 2:] = 0
    x = x * mask
    variables = random_variables(layer, x)
    y = layer.apply(variables, x, mask, method="forward")
    np.testing.assert_array_equal(y * (1 - mask), 0 * y)
    x_rec = layer.apply(variables, y, mask, method="inverse")
    np.testing.assert_allclose(x_rec, x, atol=0 if COUPLINGS[variant].exact else 1e-3)


# Every coupling once, every conditioner at least once.
@pytest.mark.parametrize(
    ("variant", "conditioner"), list(zip(COUPLINGS, itertools.cycle(CONDITIONERS), strict=False))
)
def test_a_fresh_coupling_is_the_identity_and_learns(variant, conditioner):
    layer, x = make(variant, CONDITIONERS[conditioner]), integers((1, 4, 4, 4))
    variables = jax.jit(lambda x: layer.init(jax.random.key(0), x, method="forward"))(x)

    def loss(v):
        y = layer.apply(v, x, method="forward")
        return (y * jnp.arange(4.0)).sum(), y

    (_, y), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    np.testing.assert_array_equal(y, x)
    grads = jax.tree.leaves(grads)
    assert all(np.isfinite(g).all() for g in grads)
    assert max(np.abs(g).max() for g in grads) > 0


def test_integer_coupling_maps_integers_to_integers():
    layer, x = make("integer"), integers(SHAPE) - 100
    y = layer.apply(random_variables(layer, x), x, method="forward")
    np.testing.assert_array_equal(y, np.round(y))


@pytest.mark.parametrize("update", [ScaleShift, JointScaleShift, VolumePreserving])
def test_scale_never_leaves_the_clamp(update):
    layer = update(functools.partial(PlainConditioner, width=8, depth=1), clamp=0.25)
    h, by = integers((2, 3, 4, 2)), integers((2, 3, 4, 2), seed=1)
    variables = layer.init(jax.random.key(0), h, by, method="forward")
    random = np.random.RandomState(0)
    variables = jax.tree.map(lambda p: p + 50 * random.randn(*p.shape), variables)
    scale = layer.apply(variables, h, by, method=lambda m, h, by: m._st(h, by, 1.0, None)[0])
    assert 0.1 < np.abs(scale).max() <= 0.25


@pytest.mark.parametrize("conditioner", CONDITIONERS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_conditioners_keep_the_resolution(conditioner, size):
    net: nn.Module = CONDITIONERS[conditioner](features=6, width=8, depth=2)
    x = np.ones((2, *size, 4), np.float32)
    y, _ = net.init_with_output(jax.random.key(0), x)
    assert y.shape == (2, *size, 6)


def test_an_odd_number_of_channels_is_refused():
    layer = make("affine")
    with pytest.raises(
        ValueError, match="halves the channels, which 3 can't be: give an even number"
    ):
        layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), method="forward")
