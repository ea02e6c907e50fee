"""Our PGD against foolbox's: the same model, loss and start give the same images."""

import warnings

import eagerpy
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.attacks.gradient import ensemble_loss, pgd_l2

with warnings.catch_warnings():
    # It imports a name of SciPy that is going away.
    warnings.simplefilter("ignore")
    from foolbox import JAXModel
    from foolbox.attacks import L2PGD

LABELS = np.array([0, 3])
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
# Of the weights of a small network.
SHAPES = (32 * 32 * 3, 16), (16, 4)


class OnMargins(L2PGD):
    """Foolbox's with the loss that ours lowers; its own is cross-entropy."""

    def get_loss_fn(self, model, labels):
        def raised(images):
            # Foolbox's model gives logits, which are all that the loss looks at.
            lowered = ensemble_loss([lambda x: model(x).raw], images, labels.raw)
            return eagerpy.astensor(-jnp.sum(lowered))

        return raised


def test_pgd_is_that_of_foolbox():
    first, second = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(SHAPES))

    def logits(images):
        hidden = jnp.tanh(images.reshape(len(images), -1) / 5000 @ first)
        return hidden @ second

    steps, radius, step_size = 4, 400.0, 150.0
    theirs = OnMargins(abs_stepsize=step_size, steps=steps, random_start=False).run(
        JAXModel(logits, bounds=(0, 255)), jnp.asarray(IMAGES), jnp.asarray(LABELS), epsilon=radius
    )
    ours = pgd_l2([logits], IMAGES, LABELS, radius, steps, step_size=step_size)
    moved = np.linalg.norm((np.asarray(theirs) - IMAGES).reshape(len(IMAGES), -1), axis=1)
    assert np.all(moved > 0.7 * radius)
    np.testing.assert_allclose(ours, theirs, atol=0.01)
