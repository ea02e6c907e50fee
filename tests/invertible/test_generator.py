"""Every combination of coupling, mixing, conditioner and down-sampling, forward and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.invertible.conditioner import CONDITIONERS
from raeg_jax.invertible.coupling import COUPLINGS
from raeg_jax.invertible.generator import DOWNSAMPLINGS, Generator, generator_from_config
from raeg_jax.invertible.mixing import MIXINGS

# Largest error of a float generator here, in pixel units.
FLOAT_ERROR = 1e-3


def small(**changes):
    # A conditioner that compiles quickly.
    few = {"conditioner": "residual", "blocks": (1, 1), "widths": (8, 8), "depth": 1}
    return Generator(**few | changes)


def images(height, width, batch=2, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (batch, height, width, 3)).astype("float32")


@functools.cache
def perturbed(generator, scale=0.05):
    """Variables of a generator that does something: a fresh one is the identity."""
    shapes = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda p: p + scale * random.randn(*p.shape).astype("float32"), variables)


def round_trip(generator, variables, x):
    """y and x_rec from one compilation; the barrier keeps the inverse from reusing forward."""

    @jax.jit
    def both(variables, x):
        y = jax.lax.optimization_barrier(generator.apply(variables, x, method="forward"))
        return y, generator.apply(variables, y, method="inverse")

    return both(variables, x)


def run(generator, variables, x, method):
    return jax.jit(lambda v, x: generator.apply(v, x, method=method))(variables, x)


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_round_trip_of_every_combination(coupling, mixing, downsampling):
    if COUPLINGS[coupling].exact and mixing == "conv1x1":
        pytest.skip("refused: see test_integer_generators_refuse_a_real_matrix")
    if downsampling != "haar" and (mixing == "none" or coupling not in ("integer", "affine")):
        pytest.skip("has nothing that other combinations don't have")
    generator = small(coupling=coupling, mixing=mixing, downsampling=downsampling)
    x = images(9, 14)
    y, x_rec = round_trip(generator, perturbed(generator), x)
    assert np.abs(y - x).max() > 1
    error = np.abs(x_rec - x).max()
    assert error == 0 if generator.exact else error < FLOAT_ERROR


@pytest.mark.parametrize("conditioner", CONDITIONERS)
@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_round_trip_of_every_conditioner(coupling, conditioner):
    generator = small(coupling=coupling, conditioner=conditioner)
    x = images(16, 16)
    _, x_rec = round_trip(generator, perturbed(generator), x)
    assert np.abs(x_rec - x).max() <= (0 if generator.exact else FLOAT_ERROR)


@pytest.mark.parametrize(("levels", "size"), [(1, (1, 1)), (1, (7, 12)), (3, (5, 3)), (3, (8, 8))])
@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_any_size_needs_no_padding(coupling, levels, size):
    generator = small(coupling=coupling, blocks=(1,) * levels, widths=(4,) * levels)
    x = images(*size)
    y, x_rec = round_trip(generator, perturbed(generator), x)
    assert y.shape == x.shape
    assert np.abs(x_rec - x).max() <= (0 if generator.exact else FLOAT_ERROR)


@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_jit_changes_nothing(coupling):
    generator = small(coupling=coupling)
    variables, x = perturbed(generator), images(8, 8)
    y = generator.apply(variables, x, method="forward")
    np.testing.assert_allclose(y, run(generator, variables, x, "forward"), atol=FLOAT_ERROR)
    x_rec = generator.apply(variables, y, method="inverse")
    assert np.abs(x_rec - x).max() <= (0 if generator.exact else FLOAT_ERROR)


@pytest.mark.parametrize(
    ("coupling", "size"), [("affine", (4, 4)), ("affine", (3, 5)), ("irn", (3, 5)), ("gin", (3, 5))]
)
def test_log_determinant_is_that_of_the_jacobian(coupling, size):
    generator = small(coupling=coupling, mixing="conv1x1")
    variables, x = perturbed(generator), images(*size, batch=1)

    def flat(v):
        return generator.apply(variables, v.reshape(x.shape), method="forward").ravel()

    jacobian = np.asarray(jax.jit(jax.jacobian(flat))(x.ravel()), np.float64)
    sign, expected = np.linalg.slogdet(jacobian)
    _, log_det = run(generator, variables, x, "forward_and_log_det")
    assert sign == 1
    np.testing.assert_allclose(log_det, [expected], atol=5e-3)


@pytest.mark.parametrize("coupling", ["integer", "affine", "gin"])
def test_every_coupling_needs_the_token_that_it_was_given(coupling):
    generator, x = small(coupling=coupling, token_planes=2), images(9, 14)
    right, wrong = np.random.RandomState(0).choice([-1, 1], (2, *x.shape[:3], 2))
    variables = perturbed(generator)
    apply = jax.jit(generator.apply, static_argnames="method")
    y = apply(variables, x, right, method="forward")
    error = np.abs(apply(variables, y, right, method="inverse") - x).max()
    assert error == 0 if generator.exact else error < FLOAT_ERROR
    assert np.abs(apply(variables, y, wrong, method="inverse") - x).max() > 1


@pytest.mark.parametrize(
    ("coupling", "size"), [("integer", (16, 16)), ("integer", (9, 14)), ("gin", (9, 14))]
)
def test_pixels_that_are_not_free_stay_and_the_others_come_back(coupling, size):
    generator, x = small(coupling=coupling), images(*size)
    free = np.ones((*x.shape[:3], 1), bool)
    free[0, :5], free[1, :, :3] = False, False
    variables = perturbed(generator)
    apply = jax.jit(generator.apply, static_argnames="method")
    y = np.asarray(apply(variables, x, None, free, method="forward"))
    limit = 0 if generator.exact else FLOAT_ERROR
    assert np.abs(np.where(free, 0, y - x)).max() <= limit
    assert np.abs(y - x).max((1, 2, 3)).min() > 1
    assert np.abs(apply(variables, y, None, free, method="inverse") - x).max() <= limit
    # What isn't free is seen nevertheless.
    x[0, :5] = 255 - x[0, :5]
    other = np.asarray(apply(variables, x, None, free, method="forward"))
    assert np.any(other[0, 5:] != y[0, 5:])


@pytest.mark.parametrize(("planes", "shape"), [(2, None), (2, (1, 8, 8, 1)), (0, (1, 8, 8, 2))])
def test_a_token_of_another_shape_is_told(planes, shape):
    generator = small(token_planes=planes)
    token = None if shape is None else np.ones(shape, np.int8)
    with pytest.raises(ValueError, match=f"token of {planes} planes"):
        generator.apply(perturbed(generator), images(8, 8, batch=1), token, method="forward")


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_a_fresh_generator_is_the_identity(coupling):
    generator, x = small(coupling=coupling), images(9, 6)
    variables = jax.jit(generator.init)(jax.random.key(0), x)
    y = run(generator, variables, x, "forward")
    np.testing.assert_allclose(y, x, atol=0 if generator.exact else FLOAT_ERROR)


def test_integer_generator_keeps_the_grid_and_small_batches_agree():
    generator, x = small(coupling="integer"), images(8, 8, batch=7)
    variables = perturbed(generator)
    y = np.asarray(run(generator, variables, x, "forward"))
    np.testing.assert_array_equal(y, np.round(y))
    np.testing.assert_array_equal(y[:1], run(generator, variables, x[:1], "forward"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"\[B, H, W, 3\].*\[8, 8, 3\]"),
        (np.zeros((1, 8, 8, 4), np.float32), r"\[1, 8, 8, 4\]"),
        (np.zeros((1, 0, 8, 3), np.float32), r"\[1, 0, 8, 3\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), "float32.*uint8"),
    ],
)
@pytest.mark.parametrize("method", ["forward", "inverse"])
def test_bad_images_are_named(x, message, method):
    generator = small()
    with pytest.raises(ValueError, match=message):
        generator.apply(perturbed(generator), x, method=method)


def settings(**changes) -> ConfigDict:
    result = base.get_config().generator
    result.update(changes)
    return result


def test_defaults_are_those_of_the_base_config():
    assert Generator(token_planes=2) == generator_from_config(base.get_config().generator)


def test_config_gives_the_generator_it_describes():
    generator = generator_from_config(settings(blocks=(2, 1), widths=(16, 8), coupling="gin"))
    assert generator == Generator(
        coupling="gin",
        conditioner=generator.conditioner,
        mixing=generator.mixing,
        downsampling=generator.downsampling,
        blocks=(2, 1),
        widths=(16, 8),
        depth=generator.depth,
        clamp=generator.clamp,
        token_planes=generator.token_planes,
    )


def test_integer_generators_refuse_a_real_matrix():
    with pytest.raises(UserError, match=r"conv1x1.*permutation"):
        generator_from_config(settings(coupling="integer", mixing="conv1x1"))


@pytest.mark.parametrize("field", ["coupling", "conditioner", "mixing", "downsampling"])
def test_unknown_variants_are_named(field):
    with pytest.raises(UserError, match=rf"config\.generator\.{field} is 'nonsense'"):
        generator_from_config(settings(**{field: "nonsense"}))


def test_blocks_and_widths_go_together():
    with pytest.raises(UserError, match=r"\(1, 1\).*\(8,\)"):
        generator_from_config(settings(blocks=(1, 1), widths=(8,)))
