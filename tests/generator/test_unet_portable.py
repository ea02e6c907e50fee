"""The learned stage in fixed point: the same bits from any program, and from NumPy's integers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.generator.unet import InvertibleUNet
from tests.generator import other_program
from tests.oracles import integer_generator

SMALL = InvertibleUNet(coupling="integer", blocks=(1, 1), widths=(4, 6), depth=1)


def images(size, batch=2, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (batch, *size, 3)).astype(np.float32)


@functools.cache
def perturbed(network=SMALL, scale=0.1):
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    random = np.random.RandomState(0)
    return jax.tree.map(lambda p: scale * random.randn(*p.shape).astype("float32"), shapes)


@functools.cache
def program(method, network=SMALL):
    return jax.jit(functools.partial(network.apply, method=method))


@pytest.mark.parametrize(("planes", "class_planes"), [(0, 0), (2, 3)])
@pytest.mark.parametrize("size", [(8, 8), (9, 14), (1, 1)])
def test_numpy_integers_recover_the_same_bits(size, planes, class_planes):
    network = dataclasses.replace(SMALL, token_planes=planes, class_planes=class_planes)
    x, variables = images(size), perturbed(network)
    signs = np.random.RandomState(1).choice([-1, 1], (*x.shape[:3], planes))
    token = signs.astype(np.int8) if planes else None
    labels = np.int32([3, 999])
    y = np.asarray(program("forward", network)(variables, x, token, None, labels))
    assert np.sqrt(np.mean((y - x) ** 2)) > 1
    seen = integer_generator.conditioning(token, labels, class_planes, x.shape)
    recovered = integer_generator.inverse(
        variables["params"], y, seen, blocks=SMALL.blocks, depth=SMALL.depth
    )
    np.testing.assert_array_equal(recovered, x)


@pytest.mark.slow
def test_any_batch_recovers_the_same_bits():
    x, variables = images((8, 8), batch=64), perturbed()
    y = program("forward")(variables, x)
    for batch in (64, 7, 1):
        np.testing.assert_array_equal(program("inverse")(variables, y[:batch]), x[:batch])


@pytest.mark.slow
def test_no_jit_recovers_the_same_bits():
    network = InvertibleUNet(coupling="integer", blocks=(1,), widths=(4,), depth=1)
    x, variables = images((4, 4)), perturbed(network)
    y = program("forward", network)(variables, x)
    with jax.disable_jit():
        recovered = network.apply(variables, y, method="inverse")
    np.testing.assert_array_equal(recovered, x)


_OTHER_PROGRAM = """
import jax, numpy as np, sys
jax.config.update("jax_default_matmul_precision", sys.argv[2])
from tests.generator.test_unet_portable import SMALL, perturbed
y = np.load(sys.argv[1])
np.save(sys.argv[1], jax.jit(lambda v, y: SMALL.apply(v, y, method="inverse"))(perturbed(), y))
"""


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("--xla_cpu_enable_fast_math=true", "highest"),
        # The lowest precision of this processor: sums in 16 bits.
        pytest.param("--xla_cpu_use_onednn=false", "F16_F16_F16", marks=pytest.mark.slow),
    ],
)
def test_fast_math_and_low_precision_recover_the_same_bits(flags, precision, tmp_path):
    x = images((8, 8))
    np.save(tmp_path / "y.npy", program("forward")(perturbed(), x))
    other_program.run(_OTHER_PROGRAM, flags, tmp_path / "y.npy", precision)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), x)


def test_loaded_weights_of_portable_networks_are_checked():
    params = jax.tree.map(lambda p: p + np.inf, perturbed()["params"])
    assert SMALL.portable
    SMALL.check(perturbed()["params"])
    with pytest.raises(UserError, match=r"weights of pyramid.*not finite"):
        SMALL.check(params)
    for coupling in ("integer_float", "affine"):
        assert not SMALL.clone(coupling=coupling).portable
        SMALL.clone(coupling=coupling).check(params)


def test_gradients_reach_all_weights():
    x, variables = images((8, 8)), perturbed(scale=0.02)
    loss = jax.jit(jax.grad(lambda v: jnp.mean(jnp.abs(SMALL.apply(v, x) - 100))))
    sizes = [float(np.abs(g).max()) for g in jax.tree.leaves(loss(variables))]
    assert np.all(np.isfinite(sizes))
    assert min(sizes) > 0
