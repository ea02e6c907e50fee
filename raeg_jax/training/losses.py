"""The terms of the training objective (our choice of form; the weights are in the config).

1. adversary        margin of the target classifiers on Q(y), bounded below by -kappa
2. robust           the same on attack_layer(Q(y))
3. fidelity         gate: 0 until the MSE exceeds that of the target PSNR
4. ssim             1 - SSIM(y, x)
5. gan              non-saturating: the discriminator should take y for an original
6. recovery         |inverse(Q(y)) - x|, for float couplings
7. robust_recovery  |inverse(attack(Q(y))) - attack(x)|
8. range            how far y lies outside 0..255
9. token            the adversary once more, on inverse(Q(y), another token)

Every term is a mean over images, float32 scalar, so that the mean over devices is the mean over
the global batch.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from raeg_jax.adversarial.losses import LOSSES
from raeg_jax.image.metrics import mse, mse_of_psnr


def _bounded(loss, logits: jax.Array, labels: jax.Array, kappa: float) -> jax.Array:
    """max(loss, -kappa), [B]: no reward for misleading by a margin above kappa."""
    return jnp.maximum(loss(logits, labels), -kappa)


ADVERSARIES: dict[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {
    name: functools.partial(_bounded, loss) for name, loss in LOSSES.items()
}


def fidelity_gate(y: jax.Array, x: jax.Array, target_psnr: float) -> jax.Array:
    """Mean of max(0, MSE(y, x) / MSE at `target_psnr` - 1) over images [B, H, W, C]."""
    return jnp.mean(jnp.maximum(mse(y, x) / mse_of_psnr(target_psnr) - 1, 0))


def out_of_range(y: jax.Array) -> jax.Array:
    """Mean distance of the values from 0..255, in pixel units."""
    # Not abs or maximum: on the border itself, where white backgrounds lie, theirs is not 0.
    return jnp.mean(jnp.where(y > 255, y - 255, jnp.where(y < 0, -y, 0)))


def generator_gan(fake_logits: jax.Array) -> jax.Array:
    """Non-saturating generator loss (Goodfellow et al., arXiv 1406.2661)."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def discriminator_gan(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Cross-entropy of the discriminator: originals are real, protected images fake."""
    return jnp.mean(jax.nn.softplus(-real_logits)) + jnp.mean(jax.nn.softplus(fake_logits))
