"""Gradient couplings in fixed point: the same bits from any program, and from NumPy's integers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.evaluation import protectors
from raeg_jax.exact.folding import fold_classifier
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.guide import FixedGuide, Guide
from raeg_jax.networks.classifiers import FrozenClassifier
from tests.exact.random_classifiers import (
    CLASSES,
    TINY,
    TINY_LITE,
    pictures,
    small,
    variables_of,
)
from tests.generator import other_program
from tests.oracles import integer_classifiers, integer_gradient
from tests.oracles.integer_classifiers import network

LABELS = np.arange(3, dtype=np.int32)
STAGE = {"step": 5.4, "max_mse": 25.0, "rounds": 3, "bound": 40, "margin": 8}
GUIDE = {"reach": 5.1, "steps": 2, "kappa": 1.0}


def coupling(*classifiers, **changes):
    fixed = tuple(fold_classifier(str(index), *pair) for index, pair in enumerate(classifiers))
    return GradientCoupling(FixedGuide(fixed, **(GUIDE | changes)), **STAGE)


@functools.cache
def tiny():
    return coupling((TINY, variables_of(TINY)))


@jax.jit
def forward(stage, x, labels, token=None, editable=None):
    return stage.forward(x, labels, x, token, editable)


@jax.jit
def inverse(stage, y, info):
    return stage.inverse(y, info)


def protected(count=3, size=(32, 32)):
    x = pictures(*size, count)
    y, info = forward(tiny(), x, np.arange(count, dtype=np.int32) % CLASSES)
    return x, np.asarray(y), jax.tree.map(np.asarray, info)


def test_the_stage_is_portable_and_one_in_floating_point_is_not():
    floating = Guide((FrozenClassifier(TINY, variables_of(TINY)),), reach=5.0)
    assert Chain((tiny(),)).portable
    assert not Chain((tiny(), GradientCoupling(floating, **STAGE))).portable


@pytest.mark.parametrize(
    ("names", "size", "loss", "locked"),
    [
        (("resnet_small", "vgg_small"), (20, 33), "untargeted", True),
        pytest.param(("densenet_small",), (35, 32), "targeted", False, marks=pytest.mark.slow),
    ],
)
def test_numpy_integers_recover_the_same_bits(names, size, loss, locked):
    classifiers = [small(name) for name in names]
    stage = coupling(*classifiers, loss=loss)
    x, token, editable = pictures(*size, 2), None, None
    if locked:
        stage = stage.replace(token_planes=2)
        token = protectors.draw_token(Chain((stage,)), np.arange(2), *size)
        editable = np.ones((2, *size, 1), bool)
        editable[:, 4:9, 3:] = False
    y, info = forward(stage, x, LABELS[:2], token, editable)
    assert np.all(np.std(np.asarray(y) - x, axis=(1, 2, 3)) > 1)
    if locked:
        np.testing.assert_array_equal(np.asarray(y)[:, 4:9, 3:], x[:, 4:9, 3:])
    networks = [
        network(name, variables) for name, (_, variables) in zip(names, classifiers, strict=True)
    ]
    info = jax.tree.map(np.asarray, info)
    targets = class_permutation(CLASSES)[LABELS[:2]] if loss == "targeted" else None
    settings = {"step": STAGE["step"], "bound": STAGE["bound"], "margin": STAGE["margin"]}

    def recover(token):
        return integer_gradient.inverse(
            np.int32(y), info.label, info.rounds, info.part, networks, token, editable,
            loss=targets, **settings, **GUIDE,
        )  # fmt: skip

    np.testing.assert_array_equal(recover(token), x)
    if locked:
        assert np.any(recover(-token) != x)


@pytest.mark.parametrize(
    "changes",
    [
        {"others": 50},
        {"views": (("jpeg", 60), ("rescale", 0.4)), "smoothing": 0.8},
        pytest.param(
            {"views": (("bit_depth", 4), ("gaussian_blur", 0.9)), "others": 999},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_networks_of_a_thousand_classes_guide_a_stage_that_numpy_undoes(changes):
    stage = coupling((TINY_LITE, variables_of(TINY_LITE)), **changes)
    x, labels = pictures(14, 21, 2), np.int32([999, 0])
    y, info = forward(stage, x, labels)
    assert np.all(np.std(np.asarray(y) - x, axis=(1, 2, 3)) > 1)
    info = jax.tree.map(np.asarray, info)
    networks = [integer_classifiers.lite(TINY_LITE, variables_of(TINY_LITE))]
    settings = {name: STAGE[name] for name in ("step", "bound", "margin")} | GUIDE | changes
    recovered = integer_gradient.inverse(
        np.int32(y), info.label, info.rounds, info.part, networks, loss=None, **settings
    )
    np.testing.assert_array_equal(recovered, x)


@pytest.mark.slow
def test_any_batch_recovers_the_same_bits():
    x, y, info = protected(16)
    for batch in (16, 7, 1):
        part = jax.tree.map(lambda leaf, n=batch: leaf[:n], info)
        np.testing.assert_array_equal(inverse(tiny(), y[:batch], part), x[:batch])


@pytest.mark.parametrize(
    "size", [(5, 40), *(pytest.param(s, marks=pytest.mark.slow) for s in [(1, 1), (33, 47)])]
)
def test_images_of_any_size_come_back(size):
    x, y, info = protected(size=size)
    second = jax.tree.map(lambda leaf: leaf[1:2], info)
    np.testing.assert_array_equal(inverse(tiny(), y[1:2], second), x[1:2])


@pytest.mark.slow
def test_no_jit_gives_the_same_bits():
    x = pictures(32, 32, 2)
    guide = tiny().conditioner.replace(steps=1)
    expected = jax.jit(lambda guide, x: guide(x, LABELS[:2]))(guide, x)
    with jax.disable_jit():
        result = guide(x, LABELS[:2])
    np.testing.assert_array_equal(result, expected)


_OTHER_PROGRAM = """
import jax, numpy as np, sys
jax.config.update("jax_default_matmul_precision", sys.argv[2])
from raeg_jax.generator.gradient_coupling import SideInfo
from tests.generator.test_guide_fixed import inverse, tiny
files = np.load(sys.argv[1])
info = SideInfo(*(files[name] for name in ("label", "rounds", "part")))
np.save(sys.argv[3], inverse(tiny(), files["y"], info))
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
    x, y, info = protected()
    np.savez(tmp_path / "y.npz", y=y, **vars(info))
    other_program.run(_OTHER_PROGRAM, flags, tmp_path / "y.npz", precision, tmp_path / "x.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x)


# In floating point these move bits, add or multiply exact numbers, or round once. `dot_general` is
# that of `block_float`; layers that it does not replace have convolutions or divisions.
_SAFE = {
    "abs", "add", "add_any", "bitcast_convert_type", "broadcast_in_dim", "clamp", "concatenate",
    "convert_element_type", "copy", "cond", "custom_jvp_call", "custom_vjp_call", "dot_general",
    "eq", "floor", "ge", "gt", "jit", "max", "min", "mul", "neg", "pad", "pjit", "reduce_max",
    "reduce_sum", "reshape", "rev", "round", "scan", "select_n", "slice", "split", "squeeze",
    "stack", "sub", "transpose", "unstack", "while",
}  # fmt: skip


def primitives(jaxpr):
    """Operations with floating-point results, in a program and in those that it calls."""
    for equation in jaxpr.eqns:
        if any(jnp.issubdtype(out.aval.dtype, jnp.floating) for out in equation.outvars):
            yield equation.primitive.name, equation
        for inner in jaxprs_in_params(equation.params):
            yield from primitives(inner)


ALL_VIEWS = (("jpeg", 60), ("gaussian_blur", 1.0), ("bit_depth", 3), ("rescale", 0.4))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet_small", {}),
        ("vgg_small", {}),
        ("densenet_small", {}),
        ("tiny_lite", {"views": ALL_VIEWS, "smoothing": 0.7, "others": 50}),
    ],
)
def test_no_operation_is_one_that_machines_round_differently(name, changes):
    pair = (TINY_LITE, variables_of(TINY_LITE)) if name == "tiny_lite" else small(name)
    guide = coupling(pair, **changes).conditioner
    traced = jax.make_jaxpr(lambda guide, x: guide(x, LABELS))(guide, pictures(20, 33))
    result = list(primitives(traced.jaxpr))
    divisors = {float(equation.invars[1].val) for key, equation in result if key == "div"}
    assert divisors <= {2.0, 4.0, 16.0}
    names = {key for key, _ in result} - {"div"}
    assert "dot_general" in names
    assert names <= _SAFE


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"others": 3, "views": (("identity", 0.0), ("gaussian_blur", 1.0)), "smoothing": 0.7},
        {"others": 2, "views": (("rescale", 0.5),), "loss": "targeted"},
    ],
)
def test_the_descent_is_close_to_that_in_floating_point(changes):
    x, labels = pictures(32, 32, 7), np.arange(7, dtype=np.int32) % CLASSES
    guides = (
        tiny().conditioner.replace(**changes),
        Guide((FrozenClassifier(TINY, variables_of(TINY)),), **(GUIDE | changes)),
    )
    run = jax.jit(lambda guide: guide(x, labels))
    result, expected = (np.asarray(run(guide)).reshape(len(x), -1) for guide in guides)
    norms = np.linalg.norm(result, axis=1) * np.linalg.norm(expected, axis=1)
    # Where two other classes are equally near, the descents may differ.
    assert np.median(np.sum(result * expected, axis=1) / norms) > 0.9
    np.testing.assert_allclose(np.sqrt(np.mean(result**2, axis=1)), GUIDE["reach"], rtol=0.02)
