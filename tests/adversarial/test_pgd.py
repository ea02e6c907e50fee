"""PGD and I-FGSM against oracles, on toy classifiers whose best attack is known."""

import functools
import warnings

import eagerpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import ensemble_loss, margin
from raeg_jax.adversarial.pgd import gaussian_noise, ifgsm, pgd_l2
from raeg_jax.image.resize import crop_resize
from tests.adversarial.toy_classifiers import (
    LABELS,
    SHAPE,
    UNITS,
    curved,
    distance,
    images_of,
    linear,
)

with warnings.catch_warnings():
    # It imports a deprecated name of SciPy.
    warnings.simplefilter("ignore")
    from foolbox import JAXModel
    from foolbox.attacks import L2PGD
    from foolbox.attacks.mi_fgsm import L2MomentumIterativeFastGradientMethod


def jitted(attack, **settings):
    """The attack as users run it: compiled once for each ensemble."""
    names = ("targeted",) if attack is pgd_l2 else ()
    return jax.jit(functools.partial(attack, **settings), static_argnums=0, static_argnames=names)


ATTACKS = {f"pgd_{steps}": jitted(pgd_l2, steps=steps) for steps in (1, 10)}


@pytest.fixture(params=ATTACKS)
def attack(request):
    return ATTACKS[request.param]


def mean_margin(nets, images):
    return np.mean([margin(net(images), LABELS) for net in nets], axis=0)


def test_an_attack_turns_to_the_classifier_that_is_harder_to_mislead():
    """In the plain mean of margins, the net with the steeper slope would dominate."""
    steep, flat, images = linear(0, 1e-2), linear(1, 1e-3), images_of(120, 135)
    attacked = ATTACKS["pgd_10"]((steep, flat), images, LABELS, 120.0)
    alone = ATTACKS["pgd_10"]((flat,), images, LABELS, 120.0)

    def fall(after):
        return margin(flat(images), LABELS) - margin(flat(after), LABELS)

    assert np.all(margin(steep(attacked), LABELS) < -1)
    assert np.all(fall(attacked) > 0.5 * fall(alone))


@pytest.mark.parametrize("targeted", [False, True])
def test_attack_moves_the_margin_and_stays_inside(attack, targeted):
    nets, images = (curved(0), curved(1)), images_of()
    radius = np.float32([5, 20, 80, 200, 500, 1000])
    attacked = attack(nets, images, LABELS, radius, targeted=targeted)
    before, after = (mean_margin(nets, x) for x in (images, attacked))
    assert np.all(after > before if targeted else after < before)
    assert (attacked.shape, attacked.dtype) == (SHAPE, jnp.float32)
    assert np.min(attacked) >= 0
    assert np.max(attacked) <= 255
    assert np.all(distance(attacked, images) <= radius)
    # Clipping costs some of the distance, the projection none.
    assert np.all(distance(attacked, images) >= 0.6 * radius)


def test_attack_uses_the_whole_radius_away_from_the_bounds(attack):
    images, radius = images_of(120, 135), np.full(6, 50, np.float32)
    attacked = attack((linear(),), images, LABELS, radius)
    np.testing.assert_allclose(distance(attacked, images), radius, rtol=1e-3)
    assert np.all(distance(attacked, images) <= radius)


def test_pgd_finds_the_best_attack_of_a_linear_classifier():
    """Two classes: the margin falls fastest along w1 - w0, and no other attack falls further."""
    two = linear(classes=2)
    images, labels = images_of(120, 135), np.array([0, 1, 0, 1, 0, 1])
    weights = np.asarray(two(UNITS))
    slope = np.linalg.norm(weights[:, 0] - weights[:, 1])
    attacked = ATTACKS["pgd_10"]((two,), images, labels, 50.0)
    fall = np.asarray(margin(two(images), labels) - margin(two(attacked), labels))
    np.testing.assert_allclose(fall, 50 * slope, rtol=1e-3)


class OnMargins:
    """Foolbox's attack with our loss; its own is cross-entropy."""

    def get_loss_fn(self, model, labels):
        def raised(images):
            # Foolbox's model returns logits, the loss's only input.
            lowered = ensemble_loss([lambda x: model(x).raw], images, labels.raw)
            return eagerpy.astensor(-jnp.sum(lowered))

        return raised


class PlainOnMargins(OnMargins, L2PGD):
    """Without momentum."""


class MomentumOnMargins(OnMargins, L2MomentumIterativeFastGradientMethod):
    """With momentum of unit gradients, as the method is published; Foolbox adds raw ones."""

    def value_and_grad(self, loss_fn, x):
        value, gradient = super().value_and_grad(loss_fn, x)
        return value, gradient / gradient.norms.l2(axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_pgd_is_that_of_foolbox(momentum):
    images, steps, radius = images_of(), 4, 100.0
    settings = {"rel_stepsize": 2.5 / steps, "steps": steps, "random_start": False}
    attack = (
        MomentumOnMargins(momentum=momentum, **settings) if momentum else PlainOnMargins(**settings)
    )
    theirs = attack.run(
        JAXModel(curved(), bounds=(0, 255)), jnp.asarray(images), jnp.asarray(LABELS),
        epsilon=radius,
    )  # fmt: skip
    ours = pgd_l2([curved()], images, LABELS, radius, steps, momentum=momentum)
    assert np.all(distance(theirs, images) > 0.7 * radius)
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_a_step_changes_the_part_that_the_classifiers_see():
    """Of 8 pixels a side at least 4, and what is seen of a linear classifier is all changed."""
    images, nets = images_of(120, 135), (linear(),)
    attacked = jitted(pgd_l2, steps=1, crop_share=0.5)(nets, images, LABELS, 50.0)
    changed = np.abs(np.asarray(attacked) - images).max(axis=(0, 3)) > 0
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
    assert min(len(rows), len(columns)) >= 4
    assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert not changed.all()


def test_attacks_through_random_crops_hold_on_other_crops():
    nets, images = (curved(),), images_of()
    radius = np.full(6, 120, np.float32)

    def left(**settings):
        attacked = jitted(pgd_l2, steps=20, **settings)(nets, images, LABELS, radius)
        parts = [crop_resize(attacked, *corner, 6, 6) for corner in ((0, 0), (2, 1), (1, 2))]
        return np.mean([margin(nets[0](part), LABELS) for part in parts])

    assert left(crop_share=0.7) < left() - 0.1


@pytest.mark.parametrize(
    ("attack", "count", "bound", "steps", "gain"),
    [(pgd_l2, 2, 300.0, 20, 0.05), (ifgsm, 1, 6.0, 10, 0.01)],
)
def test_more_steps_attack_better(attack, count, bound, steps, gain):
    nets, images = tuple(map(curved, range(count))), images_of()

    def left(steps):
        return mean_margin(nets, jitted(attack, steps=steps)(nets, images, LABELS, bound)).mean()

    assert left(steps) < left(1) - gain


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_ifgsm_of_a_linear_classifier_is_the_formula(steps):
    """x <- clip(x - alpha sign(g)) in NumPy; of two classes the gradient is the same everywhere."""
    images, labels, two = images_of(), np.array([0, 1, 0, 1, 0, 1]), linear(classes=2)
    epsilon = np.float32([1, 2, 3, 5, 8, 200])
    weights = np.asarray(two(UNITS))
    rise = (weights[:, 0] - weights[:, 1]).reshape(8, 8, 3)
    gradient = np.where((labels == 0)[:, None, None, None], rise, -rise)
    ball = epsilon[:, None, None, None]
    alpha = 2.5 * ball / steps
    expected = images
    for _ in range(steps):
        expected = expected - alpha * np.sign(gradient)
        expected = np.clip(np.clip(expected, images - ball, images + ball), 0, 255)
    attack = jitted(ifgsm, steps=steps)
    np.testing.assert_allclose(attack((two,), images, labels, epsilon), expected, atol=1e-4)


def test_ifgsm_moves_the_margin_and_stays_inside():
    nets, images = (curved(0), curved(1)), images_of()
    epsilon = np.float32([0.5, 1, 2, 4, 8, 16])
    attack = jitted(ifgsm, steps=10)
    attacked = np.asarray(attack(nets, images, LABELS, epsilon))
    before, after = (mean_margin(nets, x) for x in (images, attacked))
    assert np.all(after < before)
    assert (attacked.shape, attacked.dtype) == (SHAPE, np.float32)
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    change = np.abs(attacked.astype(np.float64) - images)
    # Half a unit in the last place of a float32 near 255.
    assert np.all(change <= epsilon[:, None, None, None] + 1e-5)
    np.testing.assert_allclose(change.max(axis=(1, 2, 3)), epsilon, rtol=1e-4)


def test_radius_zero_leaves_the_images(attack):
    images = images_of()
    np.testing.assert_array_equal(attack((curved(),), images, LABELS, np.zeros(6)), images)


def test_a_flat_classifier_gives_no_nan():
    def flat(x):
        return jnp.zeros((len(x), 4)) * jnp.sum(x)

    images = images_of()
    np.testing.assert_array_equal(ATTACKS["pgd_10"]((flat,), images, LABELS, 50.0), images)


def test_tiny_gradients_attack_as_well_as_large_ones():
    images = images_of(120, 135)
    large, tiny = (
        ATTACKS["pgd_1"]((linear(0, scale),), images, LABELS, 50.0) for scale in (1.0, 1e-25)
    )
    np.testing.assert_allclose(distance(tiny, images), distance(large, images), rtol=1e-3)


def test_images_are_attacked_independently(attack):
    """The padding of a last batch does not change the attack on its images."""
    images, radius = images_of(), np.full(6, 80, np.float32)
    others = np.where(np.arange(6)[:, None, None, None] < 3, images, 0)
    first, second = (attack((curved(),), x, LABELS, radius) for x in (images, others))
    np.testing.assert_allclose(first[:3], second[:3], atol=1e-2)
    assert np.all(distance(first[3:], second[3:]) > 0)


def test_gaussian_noise_has_the_norm_and_the_shape_of_a_gaussian():
    images = np.full((4, 32, 32, 3), 128, np.float32)
    radius = np.float32([10, 100, 500, 1000])
    noisy = np.asarray(gaussian_noise(jax.random.key(0), images, radius))
    np.testing.assert_allclose(distance(noisy, images), radius, rtol=1e-4)
    z = (noisy - images) * np.sqrt(32 * 32 * 3) / radius[:, None, None, None]
    assert np.all(np.abs(z.mean(axis=(1, 2, 3))) < 0.06)
    np.testing.assert_allclose(np.mean(z**4, axis=(1, 2, 3)), 3, atol=0.5)
    assert np.abs(np.mean(z[0] * z[1])) < 0.06


def test_gaussian_noise_is_clipped():
    images = np.zeros((2, 32, 32, 3), np.float32)
    noisy = np.asarray(gaussian_noise(jax.random.key(0), images, 100.0))
    assert noisy.min() == 0
    # Half of the noise of a black image points below zero.
    np.testing.assert_allclose(distance(noisy, images), 100 / np.sqrt(2), rtol=0.05)


def test_bad_arguments():
    images = images_of()
    with pytest.raises(ValueError, match="at least one step, not 0"):
        pgd_l2((curved(),), images, LABELS, 1.0, steps=0)
    with pytest.raises(ValueError, match="I-FGSM needs at least one step"):
        ifgsm((curved(),), images, LABELS, 1.0, steps=0)
    with pytest.raises(ValueError, match="logits_fns is empty"):
        ifgsm([], images, LABELS, 1.0, steps=1)


@pytest.mark.parametrize("attack", [pgd_l2, ifgsm])
def test_images_and_labels_are_converted_or_refused(attack):
    images, nets = images_of().astype(np.uint8), (linear(),)
    attacked = attack(nets, images, LABELS.tolist(), 50.0, steps=1)
    expected = attack(nets, images.astype(np.float32), LABELS, 50.0, steps=1)
    np.testing.assert_array_equal(attacked, expected)
    with pytest.raises(ValueError, match=r"within 0\.\.1.*multiply them by 255"):
        attack(nets, images_of() / 255, LABELS, 5.0, steps=1)
    with pytest.raises(ValueError, match=r"one whole number for each of 6 images, not int32 \[5\]"):
        attack(nets, images_of(), LABELS[:5].tolist(), 5.0, steps=1)
