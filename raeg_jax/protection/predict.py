"""What a generator's target classifiers make of images: their class, and how far they misread it.

Images are fitted to the size of training first, as there: the square in their middle.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.adversarial.losses import ensemble_loss
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.tiles import pad_batch

# In logits. All targets count, also those that are misled already.
_KAPPA = 5.0


def predict_labels(
    generator: LoadedGenerator, images: Sequence[np.ndarray], batch_size: int
) -> np.ndarray:
    """Classifies images by the mean probabilities of the targets.

    Args:
      generator: with its target classifiers.
      images: n of uint8 [H, W, 3], of any sizes.
      batch_size: images at a time.

    Returns:
      int32 [n].
    """
    targets = _targets(generator)
    return np.concatenate(
        [
            np.asarray(_predict(targets, batch))[:count]
            for batch, count in _batches(generator, images, batch_size)
        ]
    )


def attack_losses(
    generator: LoadedGenerator, images: Sequence[np.ndarray], labels: np.ndarray, batch_size: int
) -> np.ndarray:
    """What an attack on the targets would lower, see `ensemble_loss`: less is better.

    Args:
      generator: with its target classifiers.
      images: n of uint8 [H, W, 3], of any sizes.
      labels: int32 [n].
      batch_size: images at a time.

    Returns:
      float32 [n].
    """
    targets, losses = _targets(generator), []
    for number, (batch, count) in enumerate(_batches(generator, images, batch_size)):
        classes = pad_batch(labels[number * batch_size :][:count], batch_size)
        losses.append(np.asarray(attack_loss(targets, batch, classes))[:count])
    return np.concatenate(losses)


@jax.jit
def attack_loss(targets: tuple[LogitsFn, ...], images: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss of `attack_losses` on images of one size, uint8 [B, H, W, 3]: float32 [B]."""
    return ensemble_loss(targets, images.astype(jnp.float32), labels, kappa=_KAPPA)


@jax.jit
def _predict(targets: tuple[LogitsFn, ...], images: jax.Array) -> jax.Array:
    logits = [target(images.astype(jnp.float32)) for target in targets]
    probabilities = sum(jax.nn.softmax(each) for each in logits)
    return jnp.argmax(probabilities, axis=-1).astype(jnp.int32)


def _targets(generator: LoadedGenerator) -> tuple[FrozenClassifier, ...]:
    names = generator.config.classifiers.targets
    return tuple(FrozenClassifier(*generator.classifiers[name]) for name in names)


def _batches(
    generator: LoadedGenerator, images: Sequence[np.ndarray], batch_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields fitted images [batch_size, size, size, 3], and how many of them aren't padding."""
    # With it come TFDS and Grain, seconds of importing that few images need.
    from raeg_jax.data.decode import fit

    size = generator.config.data.image_size
    for start in range(0, len(images), batch_size):
        batch = np.stack([fit(image, size) for image in images[start : start + batch_size]])
        yield pad_batch(batch, batch_size), len(batch)
