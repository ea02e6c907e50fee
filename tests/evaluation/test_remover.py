"""A remover learns what all pairs have in common, and takes it away from unseen images."""

import numpy as np

from raeg_jax.evaluation.remover import train_remover


def images(count, seed):
    levels = np.random.default_rng(seed).integers(60, 200, (count, 1, 1, 3))
    return np.broadcast_to(levels, (count, 16, 16, 3)).astype(np.uint8)


def test_a_pattern_that_all_images_share_is_removed():
    pattern = np.where(np.arange(16) % 2, 12, -12)[:, None, None]
    protect = lambda originals: (originals + pattern).astype(np.uint8)  # noqa: E731
    known, unseen = images(32, 0), images(8, 1)
    clean = train_remover(known, protect(known), steps=40, batch_size=8)
    left = clean(protect(unseen)).astype(float) - unseen
    assert np.sqrt(np.mean(left**2)) < 4
