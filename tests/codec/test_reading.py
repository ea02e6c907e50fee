import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.codec.bundle import Bundle
from raeg_jax.codec.reading import read_labels
from raeg_jax.data.decode import fit
from raeg_jax.networks.frozen import FrozenClassifier
from tests.codec.bundles import NAMES, make, photographs, settings


class Always(nn.Module):
    """The same logits for all images."""

    logits: tuple[float, ...]

    def __call__(self, images, train):
        return jnp.tile(jnp.array(self.logits), (len(images), 1))


def test_labels_are_what_the_target_sees_at_the_size_of_its_training():
    bundle = make(("gradient",))
    images = [*photographs(3, 32, 32), *photographs(2, 90, 70)]
    squares = jnp.asarray(np.stack([fit(image, 32) for image in images]), jnp.float32)
    logits = FrozenClassifier(*bundle.classifiers["resnet_small"])(squares)
    found = read_labels(bundle, images, 3)
    np.testing.assert_array_equal(found, np.argmax(logits, axis=-1))
    assert found.dtype == np.int32


def test_several_targets_agree_on_the_most_probable_class():
    """One is almost sure; of the sums of logits others would be the largest."""
    sure, torn = Always((0.0, 5.0, 0.0)), Always((7.0, 0.0, 7.0))
    names = {"classifiers.targets": ("sure", "torn")}
    classifiers = {"sure": (sure, {}), "torn": (torn, {}), "other": (Always((99.0, 0.0, 0.0)), {})}
    bundle = Bundle(settings(("gradient",), **names), NAMES, None, classifiers)
    assert read_labels(bundle, photographs(1, 32, 32), 2).tolist() == [1]
