import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import margin
from raeg_jax.evaluation.controls import noise_control, pgd_control
from raeg_jax.networks.classifiers import as_pytree
from tests.evaluation.evaluation_toys import flat_images


def distances(images, originals):
    difference = np.asarray(images).astype(float) - np.asarray(originals).astype(float)
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def logits(images):
    """Two classes: is the left half brighter than the right one?"""
    middle = images.shape[2] // 2
    lead = images[:, :, :middle].mean((1, 2, 3)) - images[:, :, middle:].mean((1, 2, 3))
    return jnp.stack([lead, -lead], axis=-1)


@pytest.mark.parametrize("level", [4, 128, 251], ids=["dark", "grey", "white"])
def test_noise_in_the_file_is_as_strong_as_asked_also_where_clipping_eats_it(level):
    originals = flat_images([level] * 3, size=24)
    wanted = np.array([100.0, 200.0, 400.0], np.float32)
    noisy = noise_control(0, np.arange(3), originals, wanted)
    assert noisy.dtype == jnp.uint8
    np.testing.assert_allclose(distances(noisy, originals), wanted, rtol=0.02)


def test_no_distance_is_no_noise():
    originals = flat_images([90, 128, 128], size=24)
    noisy = noise_control(0, np.arange(3), originals, np.array([0, 150, 150], np.float32))
    np.testing.assert_array_equal(noisy[0], originals[0])
    assert distances(noisy, originals)[1] > 100


def test_noise_depends_on_seed_and_image_number_only():
    originals = flat_images([100, 100, 100], size=24)
    wanted = np.full(3, 150, np.float32)
    noisy = noise_control(0, np.arange(3), originals, wanted)
    order = np.array([2, 0, 1])
    moved = noise_control(0, order, originals[order], wanted)
    np.testing.assert_array_equal(moved, noisy[order])
    other = noise_control(1, np.arange(3), originals, wanted)
    assert np.any(np.asarray(other) != np.asarray(noisy))


def test_pgd_misleads_its_target_within_the_distance_up_to_rounding():
    originals = flat_images([100, 140], size=16, spread=0)
    originals[:, :, :8] += 4
    labels = np.array([0, 0], np.int32)
    fn = as_pytree(logits)
    wanted = np.array([200.0, 200.0], np.float32)
    attacked = pgd_control((fn,), originals, labels, wanted, 20)
    assert attacked.dtype == jnp.uint8
    assert np.all(np.asarray(margin(logits(originals.astype(np.float32)), labels)) > 0)
    assert np.all(np.asarray(margin(logits(attacked.astype(jnp.float32)), labels)) < 0)
    np.testing.assert_allclose(distances(attacked, originals), wanted, rtol=0.05)


@pytest.mark.parametrize("goals", [[0, 2], [2, 0]])
def test_targeted_pgd_goes_to_the_class_it_is_given(goals):
    def three(images):
        """Classes by mean brightness: nearest of 60, 120 and 180."""
        return -((jnp.mean(images, axis=(1, 2, 3))[:, None] - jnp.array([60.0, 120, 180])) ** 2)

    originals = flat_images([120, 120], spread=0)
    # Enough to change every sample by 40.
    wanted = np.full(2, 40 * np.sqrt(originals[0].size), np.float32)
    labels = np.array(goals, np.int32)
    attacked = pgd_control((as_pytree(three),), originals, labels, wanted, 10, targeted=True)
    np.testing.assert_array_equal(jnp.argmax(three(attacked.astype(jnp.float32)), -1), goals)
    np.testing.assert_allclose(distances(attacked, originals), wanted, rtol=0.05)


def test_noise_of_the_same_distance_does_not_mislead_where_pgd_does():
    originals = flat_images([100] * 3, size=24, spread=0)
    originals[:, :, :12] += 4
    noisy = noise_control(0, np.arange(3), originals, np.full(3, 300, np.float32))
    assert np.all(np.asarray(logits(noisy.astype(jnp.float32)))[:, 0] > 0)
