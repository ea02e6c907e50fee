"""What a generator's target classifiers make of images: their class, and how far they misread it.

Computed in floating point, also for generators in fixed point.

Images are fitted first: for classifiers of a run, and published ones with its heads, to the size of
its training, as there (the square in their middle), for other published ones as each expects.
"""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.adversarial.losses import ensemble_loss
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn, mean_reading
from raeg_jax.networks.layers import own_preprocessing
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.tiles import pad_batch

# In logits. All targets count, also those that are misled already.
_KAPPA = 5.0
# Images that published targets read at a time: more are no faster on a CPU, and padded for one.
_PUBLISHED_BATCH = 4


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
    return target_readings(generator, images, batch_size)[0]


def target_readings(
    generator: LoadedGenerator, images: Sequence[np.ndarray], batch_size: int
) -> np.ndarray:
    """As `predict_labels`, and what each target reads by itself.

    Args:
      generator: with its target classifiers.
      images: n of uint8 [H, W, 3], of any sizes; at least one.
      batch_size: images at a time; of published targets fewer.

    Returns:
      int32 [1 + targets, n]: of all together, then of each.
    """
    targets = _targets(generator)
    if generator.labels_are_readings:
        batch_size = min(batch_size, _PUBLISHED_BATCH)
    return _read(targets, images, batch_size, generator.config.data.image_size)


def read_together(
    targets: Sequence[FrozenClassifier],
    images: Sequence[np.ndarray] | np.ndarray,
    batch_size: int,
    size: int,
) -> np.ndarray:
    """As `predict_labels`, of targets alone.

    Args:
      targets: of the same classes.
      images: n of uint8 [H, W, 3], of any sizes.
      batch_size: images at a time.
      size: to fit images to, in pixels; published targets have their own preprocessing.

    Returns:
      int32 [n].
    """
    return _read(tuple(targets), images, batch_size, size)[0]


def _read(
    targets: tuple[FrozenClassifier, ...],
    images: Sequence[np.ndarray] | np.ndarray,
    batch_size: int,
    size: int,
) -> np.ndarray:
    return np.concatenate(
        [
            np.asarray(_predict(targets, inputs))[:, :count]
            for inputs, count in _batches(targets, images, batch_size, size)
        ],
        axis=1,
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
    size = generator.config.data.image_size
    for number, (inputs, count) in enumerate(_batches(targets, images, batch_size, size)):
        classes = pad_batch(labels[number * batch_size :][:count], batch_size)
        losses.append(np.asarray(_fitted_loss(targets, inputs, classes))[:count])
    return np.concatenate(losses)


@jax.jit
def attack_loss(targets: tuple[LogitsFn, ...], images: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss of `attack_losses` on images of one size, uint8 [B, H, W, 3]: float32 [B]."""
    return ensemble_loss(targets, images.astype(jnp.float32), labels, kappa=_KAPPA)


@jax.jit
def _fitted_loss(
    targets: tuple[LogitsFn, ...], inputs: tuple[jax.Array, ...], labels: jax.Array
) -> jax.Array:
    return ensemble_loss(_on_their_inputs(targets, inputs), inputs[0], labels, kappa=_KAPPA)


@jax.jit
def _predict(targets: tuple[LogitsFn, ...], inputs: tuple[jax.Array, ...]) -> jax.Array:
    logits = [target(inputs[0]) for target in _on_their_inputs(targets, inputs)]
    together = mean_reading([functools.partial(_given, each) for each in logits], inputs[0])
    return jnp.stack([together, *(jnp.argmax(each, axis=-1).astype(jnp.int32) for each in logits)])


def _given(logits: jax.Array, images: jax.Array) -> jax.Array:
    del images
    return logits


def _on_their_inputs(
    targets: tuple[LogitsFn, ...], inputs: tuple[jax.Array, ...]
) -> list[LogitsFn]:
    """The targets, each with an input of its own whatever it is given."""

    def fixed(target: LogitsFn, own: jax.Array) -> LogitsFn:
        return lambda _: target(own.astype(jnp.float32))

    return list(map(fixed, targets, inputs))


def _targets(generator: LoadedGenerator) -> tuple[FrozenClassifier, ...]:
    names = generator.config.classifiers.targets
    return tuple(FrozenClassifier(*generator.classifiers[name]) for name in names)


def _batches(
    targets: Sequence[FrozenClassifier],
    images: Sequence[np.ndarray] | np.ndarray,
    batch_size: int,
    size: int,
) -> Iterator[tuple[tuple[np.ndarray, ...], int]]:
    """Yields for each target its images [batch_size, side, side, 3]; how many aren't padding."""
    # With it come TFDS and Grain, seconds of importing that few images need.
    from raeg_jax.data.decode import fit

    expected = [own_preprocessing(target.module) for target in targets]
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        inputs = {
            each: pad_batch(
                np.stack([each.fit(image) if each else fit(image, size) for image in part]),
                batch_size,
            )
            for each in set(expected)
        }
        yield tuple(inputs[each] for each in expected), len(part)
