"""Every combination of coupling, mixing, conditioner and down-sampling, forward and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.generator.conditioner import CONDITIONERS
from raeg_jax.generator.coupling import COUPLINGS
from raeg_jax.generator.mixing import MIXINGS
from raeg_jax.generator.unet import InvertibleUNet, unet_from_config

# Largest error of a float network in these tests, in pixel units.
FLOAT_ERROR = 1e-3


def small(**changes):
    # A conditioner that compiles quickly.
    few = {"conditioner": "residual", "blocks": (1, 1), "widths": (8, 8), "depth": 1}
    return InvertibleUNet(**few | changes)


def images(height, width, batch=2, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (batch, height, width, 3)).astype("float32")


@functools.cache
def perturbed(network, scale=0.05):
    """Variables of a network that is not the identity, as a fresh one is."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    random = np.random.RandomState(0)
    return jax.tree.map(lambda p: p + scale * random.randn(*p.shape).astype("float32"), variables)


def round_trip(network, variables, x, *conditions):
    """y and x_rec from one compilation; the barrier keeps the inverse from reusing `forward`."""

    @jax.jit
    def both(variables, x, *conditions):
        y = network.apply(variables, x, *conditions, method="forward")
        y = jax.lax.optimization_barrier(y)
        return y, network.apply(variables, y, *conditions, method="inverse")

    return both(variables, x, *conditions)


def run(network, variables, x, method):
    return jax.jit(lambda v, x: network.apply(v, x, method=method))(variables, x)


# Every pair of names of two registries is there, but for couplings and mixings, which compile long.
COMBINATIONS = [
    *((coupling, "permutation", "haar") for coupling in COUPLINGS),
    *(("affine", mixing, "haar") for mixing in MIXINGS),
    *(("integer", mixing, "haar") for mixing in MIXINGS if MIXINGS[mixing].exact),
    ("all_in_one", "rotation", "haar"),
    *((coupling, "permutation", "unshuffle") for coupling in ("integer", "affine")),
    *(("affine", mixing, "unshuffle") for mixing in MIXINGS if not MIXINGS[mixing].exact),
]


@pytest.mark.parametrize(("coupling", "mixing", "downsampling"), sorted(set(COMBINATIONS)))
def test_round_trip(coupling, mixing, downsampling):
    network = small(coupling=coupling, mixing=mixing, downsampling=downsampling)
    x = images(9, 14)
    y, x_rec = round_trip(network, perturbed(network), x)
    assert np.abs(y - x).max() > 1
    error = np.abs(x_rec - x).max()
    assert error == 0 if network.exact else error < FLOAT_ERROR


@pytest.mark.parametrize("conditioner", CONDITIONERS)
@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_round_trip_of_every_conditioner(coupling, conditioner):
    if coupling == "integer" and not CONDITIONERS[conditioner].has_fixed_point:
        pytest.skip("refused: see test_impossible_settings")
    network = small(coupling=coupling, conditioner=conditioner, token_planes=1, class_planes=3)
    x, labels = images(16, 16), np.int32([0, 5])
    token = np.random.RandomState(0).choice([-1, 1], (*x.shape[:3], 1))
    _, x_rec = round_trip(network, perturbed(network), x, token, None, labels)
    assert np.abs(x_rec - x).max() <= (0 if network.exact else FLOAT_ERROR)


@pytest.mark.parametrize(("levels", "size"), [(1, (1, 1)), (1, (7, 12)), (3, (5, 3))])
@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_any_size_needs_no_padding(coupling, levels, size):
    network = small(coupling=coupling, blocks=(1,) * levels, widths=(4,) * levels)
    x = images(*size)
    y, x_rec = round_trip(network, perturbed(network), x)
    assert y.shape == x.shape
    assert np.abs(x_rec - x).max() <= (0 if network.exact else FLOAT_ERROR)


@pytest.mark.parametrize("coupling", ["integer", "affine", "gin"])
def test_recovery_needs_the_token(coupling):
    network, x = small(coupling=coupling, token_planes=2), images(9, 14)
    right, wrong = np.random.RandomState(0).choice([-1, 1], (2, *x.shape[:3], 2))
    variables = perturbed(network)
    apply = jax.jit(network.apply, static_argnames="method")
    y = apply(variables, x, right, method="forward")
    error = np.abs(apply(variables, y, right, method="inverse") - x).max()
    assert error == 0 if network.exact else error < FLOAT_ERROR
    assert np.abs(apply(variables, y, wrong, method="inverse") - x).max() > 1


@pytest.mark.parametrize("coupling", ["integer", "affine"])
def test_recovery_needs_the_class(coupling):
    network, x = small(coupling=coupling, class_planes=3), images(9, 14)
    right, wrong = np.int32([[2, 7], [3, 2]])
    variables = perturbed(network)
    apply = jax.jit(network.apply, static_argnames="method")
    y = apply(variables, x, None, None, right, method="forward")
    error = np.abs(apply(variables, y, None, None, right, method="inverse") - x).max()
    assert error == 0 if network.exact else error < FLOAT_ERROR
    wrong_error = np.abs(apply(variables, y, None, None, wrong, method="inverse") - x)
    assert wrong_error.max((1, 2, 3)).min() > 1
    with pytest.raises(ValueError, match="class_planes=3 needs the labels"):
        network.apply(variables, x, method="forward")


@pytest.mark.parametrize(
    ("coupling", "size"), [("integer", (16, 16)), ("integer", (9, 14)), ("gin", (9, 14))]
)
def test_pixels_that_are_not_editable_stay_and_the_others_come_back(coupling, size):
    network, x = small(coupling=coupling), images(*size)
    editable = np.ones((*x.shape[:3], 1), bool)
    editable[0, :5], editable[1, :, :3] = False, False
    variables = perturbed(network)
    apply = jax.jit(network.apply, static_argnames="method")
    y = np.asarray(apply(variables, x, None, editable, method="forward"))
    limit = 0 if network.exact else FLOAT_ERROR
    assert np.abs(np.where(editable, 0, y - x)).max() <= limit
    assert np.abs(y - x).max((1, 2, 3)).min() > 1
    assert np.abs(apply(variables, y, None, editable, method="inverse") - x).max() <= limit
    # The other pixels are inputs of the conditioners all the same.
    x[0, :5] = 255 - x[0, :5]
    other = np.asarray(apply(variables, x, None, editable, method="forward"))
    assert np.any(other[0, 5:] != y[0, 5:])


@pytest.mark.parametrize(
    ("coupling", "mixing"),
    [
        *((coupling, "permutation") for coupling in COUPLINGS),
        *(("affine", mixing) for mixing in MIXINGS if not MIXINGS[mixing].exact),
    ],
)
def test_a_fresh_generator_is_the_identity(coupling, mixing):
    network, x = small(coupling=coupling, mixing=mixing), images(9, 6)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    y = run(network, variables, x, "forward")
    np.testing.assert_allclose(y, x, atol=0 if network.exact else FLOAT_ERROR)


def test_integer_generator_keeps_the_grid_and_small_batches_agree():
    network, x = small(coupling="integer"), images(8, 8, batch=7)
    variables = perturbed(network)
    y = np.asarray(run(network, variables, x, "forward"))
    np.testing.assert_array_equal(y, np.round(y))
    np.testing.assert_array_equal(y[:1], run(network, variables, x[:1], "forward"))


def settings(**changes) -> ConfigDict:
    result = base.get_config().generator
    result.update(changes)
    return result


def test_defaults_are_those_of_the_base_config():
    assert InvertibleUNet(token_planes=2) == unet_from_config(base.get_config().generator)


def test_config_gives_the_network_that_it_describes():
    changes = {"coupling": "gin", "clamping": "atan", "mixing": "actnorm"}
    changes |= {"token_planes": 1, "class_planes": 4}
    network = unet_from_config(settings(blocks=[2, 1], widths=[16, 8], **changes))
    assert network == InvertibleUNet(blocks=(2, 1), widths=(16, 8), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coupling": "integer", "mixing": "conv1x1"}, r"'conv1x1'.*'none' or 'permutation'"),
        ({"coupling": "integer_float", "mixing": "rotation"}, r"'rotation'.*'permutation'"),
        ({"coupling": "integer", "conditioner": "attention"}, r"'attention'.*'integer_float'"),
        ({"blocks": (1, 1), "widths": (8,)}, r"\(1, 1\).*\(8,\)"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(UserError, match=message):
        unet_from_config(settings(**changes))
