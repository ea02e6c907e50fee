"""A learned remover: what somebody makes of leaked pairs of original and protected images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from raeg_jax.bar import ProgressBar
from raeg_jax.generator.conditioner import UNetConditioner
from raeg_jax.image.quantise import to_uint8

# A small residual U-Net, as for denoising.
_NET = UNetConditioner(features=3, width=32, depth=2)
_SCALE = 64.0
_RATE = 2e-3


def train_remover(
    originals: np.ndarray, protected: np.ndarray, steps: int, batch_size: int = 32, seed: int = 0
):
    """Fits a residual U-Net that turns protected images back, by their mean squared error.

    Adam with a cosine schedule; images are flipped at random.

    Args:
      originals: uint8 [N, H, W, 3].
      protected: uint8 [N, H, W, 3], the same images.
      steps: of training.
      batch_size: images a step, drawn with replacement.
      seed: of the weights and the draws.

    Returns:
      A function from protected to cleaned images, both uint8 [B, H, W, 3].
    """
    params = _NET.init(jax.random.key(seed), jnp.zeros((1, *originals.shape[1:])))["params"]
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, steps))
    state, random = optimizer.init(params), np.random.default_rng(seed)

    def loss(params, x, y):
        return jnp.mean((_clean(params, y) - x) ** 2)

    @jax.jit
    def step(params, state, x, y):
        grads = jax.grad(loss)(params, x.astype(jnp.float32), y.astype(jnp.float32))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    for _ in ProgressBar(range(steps), desc=f"fitting a remover on {len(originals)} pairs"):
        chosen = random.integers(0, len(originals), batch_size)
        way = slice(None, None, -1 if random.random() < 0.5 else 1)
        pairs = (images[chosen][:, :, way] for images in (originals, protected))
        params, state = step(params, state, *pairs)
    cleaned = jax.jit(lambda y: to_uint8(_clean(params, y.astype(jnp.float32))))
    return lambda images: np.asarray(cleaned(images))


def _clean(params, y):
    return y + _NET.apply({"params": params}, y / _SCALE) * _SCALE
