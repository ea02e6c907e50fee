"""What the strength of an attack means, and how it goes over tiles."""

import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import margin
from raeg_jax.methods import superpixels
from raeg_jax.methods.attack import Attack
from raeg_jax.networks.classifiers import as_pytree
from tests.methods.toys import Linear, picture

SIDE = 24
# Far from 0 and 255, where nothing is cut off.
IMAGES = np.stack([np.clip(picture("natural", SIDE, SIDE, seed), 80, 170) for seed in range(2)])
NET = Linear(SIDE, SIDE)
LABELS = np.argmax(NET(IMAGES.astype(np.float32)), -1)


def make(name="pgd", logits_fn=NET, steps=20, batch_size=2, aware=False):
    return Attack(name, (as_pytree(logits_fn),), steps, batch_size, aware)


def attacked(name, strength, **settings):
    """The change of each image, and the margins after it."""
    found = np.stack(make(name, **settings)(IMAGES, LABELS, [strength] * 2, 4))
    return found - IMAGES, np.asarray(margin(NET(found), LABELS))


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("pgd", lambda change: np.sqrt(np.mean(change**2, axis=(1, 2, 3)))),
        ("ifgsm", lambda change: np.abs(change).max(axis=(1, 2, 3))),
    ],
)
@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_strength_is_the_root_mean_square_or_the_greatest_change(name, measure, strength):
    change, _ = attacked(name, strength)
    np.testing.assert_allclose(measure(change), strength, rtol=0.01)


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_strength_of_carlini_and_wagner_is_the_confidence(strength):
    _, margins = attacked("cw", strength, steps=60)
    assert np.all(margins < -strength)
    # And no more than that, as the distance is to be small.
    assert np.all(margins > -strength - 1)


def test_aware_attacks_change_superpixels_alone():
    change, _ = attacked("pgd", 4.0, aware=True)
    blocks = change.reshape(2, SIDE // 4, 4, SIDE // 4, 4, 3)
    first = np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape)
    np.testing.assert_allclose(blocks, first, atol=1e-3)


def test_large_images_are_attacked_in_tiles_of_whole_superpixels():
    """The last tiles are moved inwards, and superpixels stay those of the image."""
    weights = np.random.RandomState(0).randn(256, 256, 3, 2).astype(np.float32)

    def logits(images):
        height, width = images.shape[1:3]
        return jnp.tensordot(images, jnp.resize(weights, (height, width, 3, 2)), 3) / 1000

    image = np.clip(picture("natural", 300, 301), 60, 190)
    (found,) = make(logits_fn=logits, steps=2, batch_size=4, aware=True)([image], [0], [6.0], 24)
    change = found.astype(np.float64) - image
    assert np.all(np.any(np.abs(change) > 1, axis=-1).mean((0, 1)) > 0.9)
    grid = superpixels.spread(superpixels.means(change, 24), (300, 301), 24)
    np.testing.assert_allclose(change, grid, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "sizes"), [(8, [(256, 60), (300, 60)]), (24, [(256, 256), (300, 300)])]
)
def test_images_just_as_large_as_a_tile_share_a_batch_with_larger_ones(side, sizes):
    images = [picture("natural", *size) for size in sizes]
    attack = make(logits_fn=lambda x: x.mean((1, 2)), steps=1)
    for image, found in zip(images, attack(images, [0, 1], [4.0, 4.0], side), strict=True):
        assert found.shape == image.shape
        assert np.any(found != image)


def test_classes_are_those_of_the_classifier():
    assert make().classes(SIDE, SIDE) == 4
