"""What the strength of an attack means."""

import numpy as np
import pytest

from raeg_jax.attacks.gradient import margin
from raeg_jax.baselines.attack import attack
from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.rit import RIT
from raeg_jax.networks.frozen import as_pytree
from tests.baselines.toys import Linear, picture

SIDE = 24
# Far from 0 and 255, where nothing is cut off.
IMAGES = np.stack([np.clip(picture("natural", SIDE, SIDE, seed), 80, 170) for seed in range(2)])
LABELS = np.argmax(Linear(SIDE, SIDE)(IMAGES.astype(np.float32)), -1).astype(np.int32)
PLAIN = RIT(aware=False)


def attacked(name, strength, steps=20, method=PLAIN):
    net = Linear(SIDE, SIDE)
    strengths = np.full(2, strength, np.float32)
    found = attack(
        (as_pytree(net),), IMAGES, LABELS, strengths,
        name=name, method=method, side=4, steps=steps,
    )  # fmt: skip
    return found - IMAGES, np.asarray(margin(net(found), LABELS))


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_of_pgd_it_is_the_root_mean_square(strength):
    change, _ = attacked("pgd", strength)
    np.testing.assert_allclose(np.sqrt(np.mean(change**2, axis=(1, 2, 3))), strength, rtol=0.01)


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_of_ifgsm_it_is_the_greatest_change(strength):
    change, _ = attacked("ifgsm", strength)
    np.testing.assert_allclose(np.abs(change).max(axis=(1, 2, 3)), strength, rtol=0.01)


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_of_carlini_and_wagner_it_is_the_confidence(strength):
    _, margins = attacked("cw", strength, steps=60)
    assert np.all(margins < -strength)
    # And no more than that, as the distance is to be small.
    assert np.all(margins > -strength - 1)


@pytest.mark.parametrize("method", [RAE(), RIT(aware=True)])
def test_methods_may_show_superpixels_alone(method):
    change, _ = attacked("pgd", 4.0, method=method)
    blocks = change.reshape(2, SIDE // 4, 4, SIDE // 4, 4, 3)
    first = np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape)
    np.testing.assert_allclose(blocks, first, atol=1e-3)
