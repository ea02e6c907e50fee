"""Which class the target classifiers see in an image, where nobody says it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.codec import tiles
from raeg_jax.codec.bundle import Bundle
from raeg_jax.data.decode import fit
from raeg_jax.networks.frozen import FrozenClassifier


def read_labels(bundle: Bundle, images: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """Classifies images by the mean probabilities of the targets.

    Images are fitted to the size of training first, as there: the square in their middle.

    Args:
      bundle: with its target classifiers.
      images: n of uint8 [H, W, 3], of any sizes.
      batch_size: images at a time.

    Returns:
      int32 [n].
    """
    size = bundle.config.data.image_size
    targets = tuple(
        FrozenClassifier(*bundle.classifiers[name]) for name in bundle.config.classifiers.targets
    )
    labels = []
    for start in range(0, len(images), batch_size):
        batch = np.stack([fit(image, size) for image in images[start : start + batch_size]])
        labels.append(np.asarray(_read(targets, tiles.fill(batch, batch_size)))[: len(batch)])
    return np.concatenate(labels)


@jax.jit
def _read(targets, images):
    logits = [target(images.astype(jnp.float32)) for target in targets]
    probabilities = sum(jax.nn.softmax(each) for each in logits)
    return jnp.argmax(probabilities, axis=-1).astype(jnp.int32)
