"""Methods without a way back, on a run of toy classifiers."""

import numpy as np
import pytest

from raeg_jax.adversarial.pgd import pgd_l2, pgd_on_features
from raeg_jax.image.quantise import to_uint8
from raeg_jax.methods.registry import make_method
from tests.experiments.experiment_toys import run
from tests.methods.toys import picture


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("untargeted", {}), ("features", {"momentum": 0.9, "crop_share": 0.7})],
)
def test_pgd_is_the_attack_of_the_settings(loss, settings):
    toy = run()
    toy.config.comparison.update(settings, loss=loss)
    images = np.stack([picture("natural", 48, 48, seed) for seed in (10, 11)])
    labels = np.array([0, 2], np.int32)
    results = make_method("pgd", toy, 30.0, 0, 2).protect(images, labels, np.arange(2))
    radius = 255 / 10**1.5 * images[0].size ** 0.5
    targets = [toy.frozen["near"]]
    if loss == "features":
        attacked = pgd_on_features(targets, images, radius, steps=3, **settings)
    else:
        attacked = pgd_l2(targets, images, labels, radius, steps=3, **settings)
    expected = to_uint8(attacked)
    difference = np.stack([each.file for each in results]).astype(int) - expected
    # Compiled otherwise, a value may be rounded the other way.
    assert np.mean(difference == 0) > 0.99
    assert np.abs(difference).max() <= 1
