import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.class_planes import class_signs, conditioning
from tests.oracles import integer_generator


@pytest.mark.parametrize("count", [1, 5, 16])
def test_signs_are_the_bits_of_the_docstring(count):
    labels = np.array([0, 1, 2, 19, 999, 65_535, 65_536, 2**31 - 1])
    signs = np.asarray(jax.jit(class_signs, static_argnums=1)(jnp.asarray(labels), count))
    oracle = integer_generator.conditioning(None, labels, count, (len(labels), 1, 1, 3))
    np.testing.assert_array_equal(signs, oracle[:, 0, 0])


def test_signs_stay_as_they_are():
    """Protected images depend on them."""
    rows = ["".join("+-"[int(sign < 0)] for sign in row) for row in class_signs(jnp.arange(4), 16)]
    assert rows == [
        "++++++++++++++++",
        "--+-+++-++---++-",
        "+--+-+++-++---++",
        "-++++-+--+-+-+--",
    ]


@pytest.mark.parametrize("count", range(1, 17))
def test_as_many_classes_as_the_planes_can_tell_apart_differ(count):
    signs = np.asarray(class_signs(jnp.arange(2**count), count))
    assert len(np.unique(np.packbits(signs < 0, axis=1), axis=0)) == 2**count


def test_the_first_classes_differ_in_many_planes_and_each_plane_parts_them():
    signs = np.asarray(class_signs(jnp.arange(20), 16))
    differing = (signs[:, None] != signs).sum(-1) + 16 * np.eye(20)
    assert differing.min() == 5
    assert set((signs > 0).sum(0)) == {9, 10, 11, 12}


def test_planes_of_the_class_follow_those_of_the_token_and_are_constant():
    token = np.random.RandomState(0).choice([-1, 1], (2, 5, 4, 3)).astype(np.int8)
    labels = jnp.int32([4, 9])
    x = jnp.zeros((2, 5, 4, 3))
    planes = conditioning(x, token, labels, 6)
    assert planes.shape == (2, 5, 4, 9)
    assert planes.dtype == x.dtype
    np.testing.assert_array_equal(planes[..., :3], token)
    # A tile of any size has the same.
    signs = class_signs(labels, 6)[:, None, None]
    np.testing.assert_array_equal(planes[..., 3:], jnp.broadcast_to(signs, (2, 5, 4, 6)))
    np.testing.assert_array_equal(conditioning(x, token, None, 0), token)
    assert conditioning(x, None, labels, 0) is None
