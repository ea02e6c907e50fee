import jax
import numpy as np
from flax import linen as nn

from raeg_jax.adversarial.crops import random_crops
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.preprocessing import Preprocessing

HEIGHT, WIDTH = 40, 52


class Same(nn.Module):
    """Returns what it sees."""

    preprocessing: Preprocessing | None = None

    def __call__(self, images, train=False):
        return images


def positions():
    """Each pixel's row and column: float32 [1, H, W, 3]."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    return np.stack([rows, columns, 0 * rows], axis=-1)[None]


@jax.jit
def seen(step):
    own, published = Same(), Same(Preprocessing(36, 32))
    networks = [FrozenClassifier(module, {}) for module in (own, published)]
    return [f(positions()) for f in random_crops(networks, (1, HEIGHT, WIDTH, 3), step, 0.7)]


def test_networks_see_a_part_of_at_least_that_share_in_their_own_size():
    sides, corners = [], []
    for step in range(30):
        own, published = (np.asarray(x)[0, ..., :2] for x in seen(step))
        assert (own.shape, published.shape) == ((HEIGHT, WIDTH, 2), (32, 32, 2))
        # Enlarged, the outermost samples are those at the edge of the part; both see the same.
        first, last = own[0, 0], own[-1, -1]
        np.testing.assert_allclose(first, np.round(first), atol=1e-3)
        np.testing.assert_allclose(published[[0, -1], [0, -1]], [first, last], atol=0.8)
        corners.append(np.round(first))
        sides.append(np.round(last - first) + 1)
    shares = np.array(sides) / [HEIGHT, WIDTH]
    np.testing.assert_allclose(shares[:, 0], shares[:, 1], atol=0.03)
    assert 0.69 <= shares.min() < 0.75
    assert 0.94 < shares.max() <= 1
    last = np.array(corners) + sides
    assert np.all(last <= [HEIGHT, WIDTH])
    # All four edges of the image are reached.
    assert np.array_equal(np.min(corners, axis=0), [0, 0])
    assert np.array_equal(np.max(last, axis=0), [HEIGHT, WIDTH])


def test_all_of_an_image_is_the_image():
    network = FrozenClassifier(Same(Preprocessing(36, 32)), {})
    assert random_crops([network], (1, HEIGHT, WIDTH, 3), 3, 1.0) == [network]
