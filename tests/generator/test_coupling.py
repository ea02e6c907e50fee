"""Every registered coupling: inverse, volume, identity when fresh, gradients."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.conditioner import CONDITIONERS, FIXED, PlainConditioner
from raeg_jax.generator.coupling import (
    CLAMPINGS,
    COUPLINGS,
    Coupling,
    JointScaleShift,
    PixelVolumePreserving,
    ScaleShift,
    VolumePreserving,
)

# Every element of an image this size depends on every other.
SHAPE = (2, 3, 4, 4)


def make(variant, conditioner=PlainConditioner):
    return Coupling(variant, functools.partial(conditioner, width=8, depth=1))


def random_variables(layer, *inputs, seed=0, scale=0.3):
    shapes = jax.eval_shape(
        lambda *x: layer.init(jax.random.key(seed), *x, method="forward"), *inputs
    )
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
    assert (abs(log_det) < 2e-3) == COUPLINGS[variant].preserves_volume


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
    if COUPLINGS[variant].arithmetic is FIXED and not CONDITIONERS[conditioner].has_fixed_point:
        pytest.skip("refused: see test_unet.py")
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


@pytest.mark.parametrize(
    ("update", "clamping"),
    [
        *((JointScaleShift, clamping) for clamping in CLAMPINGS),
        *((update, "tanh") for update in (ScaleShift, VolumePreserving, PixelVolumePreserving)),
    ],
)
def test_scale_never_leaves_the_clamp(update, clamping):
    conditioner = functools.partial(PlainConditioner, width=8, depth=1)
    layer = update(conditioner, clamp=0.25, clamping=clamping)
    h, by = integers((2, 3, 4, 2)), integers((2, 3, 4, 2), seed=1)
    variables = random_variables(layer, h, by, scale=50)
    scale = layer.apply(variables, h, by, method=lambda m, h, by: m._st(h, by, 1.0, None)[0])
    assert 0.1 < np.abs(scale).max() <= 0.25


@pytest.mark.parametrize("name", CLAMPINGS)
def test_clampings_are_odd_and_end_at_one(name):
    clamping, x = CLAMPINGS[name], np.array([0.0, 0.5, 3.0, 1e6], np.float32)
    y = np.asarray(clamping(x))
    np.testing.assert_allclose(clamping(-x), -y, atol=1e-6)
    assert y[0] == 0
    assert 0 < y[1] < y[2] < y[3] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("update", "axes"), [(VolumePreserving, (1, 2, 3)), (PixelVolumePreserving, (3,))]
)
def test_log_scales_add_up_to_zero_where_coefficients_may_change(update, axes):
    layer = update(functools.partial(PlainConditioner, width=8, depth=1))
    h, by = integers((2, 3, 4, 4)), integers((2, 3, 4, 4), seed=1)
    variables = random_variables(layer, h, by)
    mask = np.ones((1, 3, 4, 4), np.float32)
    mask[:, -1, :, 1:3], mask[:, 0, 0] = 0, 0
    log_scale = layer.apply(
        variables, h, by, method=lambda module, h, by: module._st(h, by, mask, None)[0]
    )
    np.testing.assert_array_equal(log_scale * (1 - mask), 0 * h)
    np.testing.assert_allclose(log_scale.sum(axes), 0, atol=1e-4)
    assert np.abs(log_scale).max() > 0.1
    assert (np.abs(log_scale.sum(3)).max() > 0.1) == (axes != (3,))


def test_one_half_passes_all_in_one_but_for_its_scale_and_shift():
    layer, x = make("all_in_one"), integers(SHAPE)
    variables = random_variables(layer, x)
    y = layer.apply(variables, x, method="forward")
    affine = variables["params"]["second"]["affine"]
    scale = np.exp(np.tanh(affine["log_scale"] / 16))
    np.testing.assert_allclose(y[..., 2:], x[..., 2:] * scale + 8 * affine["shift"], rtol=1e-5)


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
