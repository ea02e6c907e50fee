"""Each loss term against a NumPy formula, with its edge cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.training import losses

LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 9.0], [1.0, 1.5, -2.0]], np.float32)
LABELS = np.array([0, 1, 0])


def test_untargeted_is_the_margin_bounded_below():
    # Margins 2, -7 and -0.5.
    np.testing.assert_allclose(
        losses.ADVERSARIES["untargeted"](LOGITS, LABELS, 4.0), [2.0, -4.0, -0.5]
    )


def test_targeted_pulls_toward_the_permuted_class():
    goals = class_permutation(3)[LABELS]
    margins = [
        np.delete(row, goal).max() - row[goal] for row, goal in zip(LOGITS, goals, strict=True)
    ]
    expected = np.maximum(margins, -4.0)
    np.testing.assert_allclose(losses.ADVERSARIES["targeted"](LOGITS, LABELS, 4.0), expected)


@pytest.mark.parametrize("classes", [2, 3, 8, 101])
def test_class_permutation_is_one_cycle_through_all_classes(classes):
    permutation = class_permutation(classes)
    seen, here = [], 0
    for _ in range(classes):
        here = permutation[here]
        seen.append(int(here))
    assert sorted(seen) == list(range(classes))
    assert (permutation != np.arange(classes)).all()


def test_class_permutation_never_changes():
    np.testing.assert_array_equal(class_permutation(5), [1, 3, 0, 4, 2])


def test_fidelity_is_free_up_to_the_target_and_linear_beyond():
    x = jnp.full((2, 4, 4, 3), 100.0)
    allowed = np.sqrt(255.0**2 / 10**3.4)
    near, far = x + 0.9 * allowed, x + 2.0 * allowed
    assert losses.fidelity_gate(near, x, 34.0) == 0
    np.testing.assert_allclose(losses.fidelity_gate(far, x, 34.0), 3.0, rtol=1e-4)
    # The mean is taken after the gate: a good image can't pay for a bad one.
    both = jnp.concatenate([x, far])
    np.testing.assert_allclose(
        losses.fidelity_gate(both, jnp.concatenate([x, x]), 34.0), 1.5, rtol=1e-4
    )


def test_out_of_range_measures_the_distance():
    y = jnp.array([-3.0, 0.0, 255.0, 256.0]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(losses.out_of_range(y), 1.0)
    grad = np.asarray(jax.grad(losses.out_of_range)(y)).ravel()
    np.testing.assert_allclose(grad, [-0.25, 0, 0, 0.25])


def test_gan_losses_reward_the_right_side():
    sure = jnp.full((1, 2, 2, 1), 5.0)
    assert losses.generator_gan(sure) < losses.generator_gan(-sure)
    assert losses.discriminator_gan(sure, -sure) < losses.discriminator_gan(-sure, sure)
    # Undecided: log 2 for each side.
    zero = jnp.zeros((1, 1, 1, 1))
    np.testing.assert_allclose(losses.discriminator_gan(zero, zero), 2 * np.log(2), rtol=1e-6)
