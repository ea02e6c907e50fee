import numpy as np

from raeg_jax.evaluation import tokens
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling


def chain(planes):
    stage = GradientCoupling(None, step=1.0, max_mse=1.0, token_planes=planes)
    return Chain((stage,))


def test_an_images_token_depends_on_its_number_and_the_key():
    right = tokens.draw(chain(2), np.array([3, 7, 7]), 16, 12)
    assert right.shape == (3, 16, 12, 2)
    np.testing.assert_array_equal(right[1], right[2])
    assert np.any(right[0] != right[1])
    wrong = tokens.draw(chain(2), np.array([3, 7, 7]), 16, 12, tokens.WRONG)
    assert np.all(np.any(right != wrong, axis=(1, 2, 3)))


def test_a_generator_without_planes_has_no_token():
    assert tokens.draw(chain(0), np.array([0]), 8, 8) is None
