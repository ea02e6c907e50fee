"""Which of several protected versions of an image its classifiers misread most."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn, ensemble_loss
from raeg_jax.codec import tiles
from raeg_jax.codec.bundle import Bundle
from raeg_jax.data.decode import fit
from raeg_jax.errors import UserError
from raeg_jax.networks.frozen import FrozenClassifier

# In logits. All targets count, also those that are misled already.
_KAPPA = 5.0


def check_tries(bundle: Bundle, tries: int) -> None:
    """Makes sure that protecting an image several times makes sense.

    Raises:
      UserError: a number below 1, or more than one try with a generator that gives the same each
        time, or that has no classifiers to choose by.
    """
    if tries < 1:
        raise UserError(f"tries={tries} is impossible: it must be 1 or more")
    if tries == 1:
        return
    if not bundle.chain.token_planes:
        raise UserError(
            f"tries={tries} needs a generator with a secret token, and this one has no token "
            "planes, so each try would be the same: use 1"
        )
    if missing := [
        name for name in bundle.config.classifiers.targets if name not in targets(bundle)
    ]:
        raise UserError(
            f"tries={tries} needs classifiers to choose by, and the generator file lacks "
            f"{missing[0]}: export it with `--classifier {missing[0]}`, or use 1"
        )


def targets(bundle: Bundle) -> dict[str, FrozenClassifier]:
    """The target classifiers that the bundle has, by name."""
    return {
        name: FrozenClassifier(*bundle.classifiers[name])
        for name in bundle.config.classifiers.targets
        if name in bundle.classifiers
    }


def losses(
    bundle: Bundle, images: Sequence[np.ndarray], labels: np.ndarray, batch_size: int
) -> np.ndarray:
    """What an attack on the targets would lower, see `ensemble_loss`: less is better.

    Images are fitted to the size of training first, as there: the square in their middle.

    Args:
      bundle: with its target classifiers.
      images: n of uint8 [H, W, 3], of any sizes.
      labels: int32 [n].
      batch_size: images at a time.

    Returns:
      float32 [n].
    """
    attacked, size = tuple(targets(bundle).values()), bundle.config.data.image_size
    found = []
    for start in range(0, len(images), batch_size):
        rows = slice(start, start + batch_size)
        batch = np.stack([fit(image, size) for image in images[rows]])
        values = attack_loss(
            attacked, tiles.fill(batch, batch_size), tiles.fill(labels[rows], batch_size)
        )
        found.append(np.asarray(values)[: len(batch)])
    return np.concatenate(found)


@jax.jit
def attack_loss(attacked: tuple[LogitsFn, ...], images: jax.Array, labels: jax.Array) -> jax.Array:
    """The loss of `losses` on images of one size, uint8 [B, H, W, 3]: float32 [B]."""
    return ensemble_loss(attacked, images.astype(jnp.float32), labels, kappa=_KAPPA)
