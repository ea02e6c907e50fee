import numpy as np

from raeg_jax.attacks.gradient import ensemble_loss
from raeg_jax.codec import choosing
from tests.codec.bundles import make, photographs


def test_losses_are_those_of_the_targets_on_fitted_images():
    bundle = make(("learned",))
    size = bundle.config.data.image_size
    images, labels = photographs(3, size, size), np.array([2, 0, 1], np.int32)
    found = choosing.losses(bundle, images, labels, 2)
    attacked = tuple(choosing.targets(bundle).values())
    batch = np.stack(images).astype(np.float32)
    np.testing.assert_allclose(found, ensemble_loss(attacked, batch, labels, kappa=5.0), rtol=1e-4)
