"""What a secret token locks: what is recovered with it, and what without.

Whoever has the generator's weights, but not the key, can run it backwards with tokens of his own.
He is given more than he would have: the codes and clipped values that a payload keeps encrypted.
Of the codes the class is the only one that is easily had elsewhere, from a data set's labels.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.evaluation import compiled, tokens
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import SideInfo
from raeg_jax.payload.token import CELL
from raeg_jax.protection.predict import attack_loss


@jax.jit
def forward(
    generator: Chain, images: jax.Array, labels: jax.Array, token: jax.Array
) -> tuple[jax.Array, Any]:
    """Protects uint8 [B, H, W, 3]: the values before clipping, float32, and the code."""
    return generator.forward(images.astype(jnp.float32), labels, token)


def undone(
    generator: Chain,
    index: np.ndarray,
    protected: np.ndarray,
    code: Any,
    guesses: int,
    seen: np.ndarray,
) -> Iterator[tuple[str, np.ndarray]]:
    """Recovers a batch with its token, and in all ways that somebody without it might try.

    Args:
      generator: with token planes.
      index: int [B], the images' numbers, as `tokens.draw` takes them.
      protected: float32 [B, H, W, 3], as `forward` made them.
      code: of these images.
      guesses: wrong tokens to try for the last two ways.
      seen: int32 [B], the classes that the protected images are taken for.

    Yields:
      The name of a way, and its images uint8 [B, H, W, 3]: 'right token'; 'one cell off', a single
      sign of the token is wrong; 'wrong token'; with shortcut or gradient stages 'wrong token,
      class as seen', if the true class is not known either; 'no token', zeros in its place; 'mean
      of N wrong', of what N wrong tokens recover; 'smoothest of N wrong', of these the one of least
      total variation.
    """
    size = protected.shape[1:3]
    right = tokens.draw(generator, index, *size)

    def recover(token, code=code):
        return np.asarray(compiled.recover(generator, protected, code, token))

    yield "right token", recover(right)
    off = right.copy()
    # In the middle of the image.
    row, column = (length // 2 // CELL * CELL for length in size)
    off[:, row : row + CELL, column : column + CELL, 0] *= -1
    yield "one cell off", recover(off)
    wrong = tokens.draw(generator, index, *size, tokens.WRONG)
    yield "wrong token", recover(wrong)
    if any(isinstance(own, SideInfo) for own in code):
        guessed = tuple(
            own.replace(label=seen) if isinstance(own, SideInfo) else own for own in code
        )
        yield "wrong token, class as seen", recover(wrong, guessed)
    yield "no token", recover(np.zeros_like(right))
    total = np.zeros(protected.shape, np.float64)
    best, least = None, np.full(len(protected), np.inf)
    for number in range(guesses):
        found = recover(tokens.draw(generator, index, *size, b"guess %d" % number))
        total += found
        variation = np.asarray(_variation(found))
        better = variation < least
        best = found if best is None else np.where(better[:, None, None, None], found, best)
        least = np.minimum(least, variation)
    if guesses:
        yield f"mean of {guesses} wrong", np.round(total / guesses).astype(np.uint8)
        yield f"smoothest of {guesses} wrong", best


@jax.jit
def _variation(images):
    """Mean absolute difference of neighbours, [B]."""
    x = images.astype(jnp.float32)
    rows = jnp.abs(x[:, 1:] - x[:, :-1]).mean((1, 2, 3))
    return rows + jnp.abs(x[:, :, 1:] - x[:, :, :-1]).mean((1, 2, 3))


def best_of(
    generator: Chain,
    attacked: tuple[compiled.LogitsFn, ...],
    index: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    tries: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Protects a batch with several tokens and keeps what mislead the targets most.

    Args:
      generator: with token planes.
      attacked: the target classifiers.
      index: int [B], the images' numbers.
      images: uint8 [B, H, W, 3].
      labels: int32 [B].
      tries: most tokens.

    Yields:
      For 1, 2, ... `tries` tokens: how many, and the best images so far, uint8 [B, H, W, 3].
    """
    best, least = None, np.full(len(images), np.inf)
    for number in range(tries):
        key = tokens.RIGHT if number == 0 else b"try %d" % number
        token = tokens.draw(generator, index, *images.shape[1:3], key)
        made, _, _ = compiled.protect(generator, images, labels, token)
        loss = np.asarray(attack_loss(attacked, made, labels))
        made, better = np.asarray(made), loss < least
        best = made if best is None else np.where(better[:, None, None, None], made, best)
        least = np.minimum(least, loss)
        yield number + 1, best
