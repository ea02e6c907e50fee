"""The gradient attacks against oracles, on toy classifiers whose best attack is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.attacks.gradient import (
    ensemble_loss,
    fgsm,
    gaussian_noise,
    ifgsm,
    margin,
    pgd_l2,
)

SHAPE = (6, 8, 8, 3)
LABELS = np.array([0, 1, 2, 3, 1, 0])


def jitted(attack, **settings):
    """The attack as users run it: compiled once for each ensemble."""
    return jax.jit(
        functools.partial(attack, **settings), static_argnums=0, static_argnames="targeted"
    )


EAGER = {
    "fgsm": fgsm,
    "pgd_1": functools.partial(pgd_l2, steps=1),
    "pgd_10": functools.partial(pgd_l2, steps=10),
    "pgd_random": functools.partial(pgd_l2, steps=10, key=jax.random.key(5)),
}
ATTACKS = {name: jitted(attack) for name, attack in EAGER.items()}


def images_of(low=0, high=255, seed=0):
    return np.random.default_rng(seed).uniform(low, high, SHAPE).astype(np.float32)


@functools.cache
def linear(seed=0, scale=1e-3):
    """Logits linear in the pixels, so that the steepest direction is the same everywhere."""
    weights = np.random.default_rng(seed).normal(0, scale, (8 * 8 * 3, 4)).astype(np.float32)
    return lambda images: images.reshape(len(images), -1) @ weights


@functools.cache
def curved(seed=0):
    """A small two-layer net."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.1, (8 * 8 * 3, 16)).astype(np.float32)
    second = rng.normal(0, 0.5, (16, 4)).astype(np.float32)
    return lambda images: jnp.tanh((images.reshape(len(images), -1) / 127.5 - 1) @ first) @ second


def distance(a, b):
    """L2 norm of each image's difference, in float64."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.sqrt(np.sum(difference**2, axis=(1, 2, 3)))


@pytest.fixture(params=ATTACKS)
def attack(request):
    return ATTACKS[request.param]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("offset", [0.0, -50.0])
def test_margin_is_the_loop(classes, offset):
    rng = np.random.default_rng(classes)
    logits = (rng.normal(size=(20, classes)) + offset).astype(np.float32)
    labels = rng.integers(0, classes, 20)
    expected = [
        row[label] - max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(margin(logits, labels), expected, rtol=1e-5, atol=1e-6)
    misread = np.argmax(logits, axis=-1) != labels
    np.testing.assert_array_equal(np.asarray(margin(logits, labels)) < 0, misread)


def test_margin_has_a_finite_gradient():
    logits, labels = jnp.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), jnp.array([0, 2])
    gradient = jax.grad(lambda z: jnp.sum(margin(z, labels)))(logits)
    np.testing.assert_allclose(gradient, [[1, 0, -1], [0, -1, 1]])


def mean_margin(nets, images):
    return np.mean([margin(net(images), LABELS) for net in nets], axis=0)


def test_ensemble_loss_is_the_sum_of_softplus():
    nets, images = (linear(0), linear(1), linear(2)), images_of()
    margins = np.array([margin(net(images), LABELS) for net in nets])
    assert np.all(margins.max(0) > -1)
    expected = np.log1p(np.exp(margins + 1)).sum(0)
    np.testing.assert_allclose(ensemble_loss(nets, images, LABELS), expected, rtol=1e-5)


def test_the_ensemble_that_is_misled_by_far_still_has_a_gradient():
    """Far down a softplus is flat: the least misled classifier must still count in full."""
    nets, images = (linear(0), linear(1)), images_of()

    def loss(logits, labels):
        return margin(logits, labels) - 1e4

    gradient = jax.grad(lambda x: jnp.sum(ensemble_loss(nets, x, LABELS, loss)))(images)
    assert np.all(np.abs(gradient).max((1, 2, 3)) > 0)


def test_an_attack_turns_to_the_classifier_that_is_harder_to_mislead():
    """Of the plain mean of margins, the net with the steeper slope would take nearly all."""
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
    assert attacked.shape == SHAPE
    assert attacked.dtype == jnp.float32
    assert np.min(attacked) >= 0
    assert np.max(attacked) <= 255
    assert np.all(distance(attacked, images) <= radius)
    # Some way is lost where values are clipped, none of it to the projection.
    assert np.all(distance(attacked, images) >= 0.6 * radius)


def test_attack_uses_the_whole_radius_away_from_the_bounds(attack):
    images, radius = images_of(120, 135), np.full(6, 50, np.float32)
    attacked = attack((linear(),), images, LABELS, radius)
    np.testing.assert_allclose(distance(attacked, images), radius, rtol=1e-3)
    assert np.all(distance(attacked, images) <= radius)


def test_pgd_finds_the_best_attack_of_a_linear_classifier():
    """Two classes: the margin falls fastest along w1 - w0, and nothing within reach beats that."""
    net = linear()
    images, labels = images_of(120, 135), np.array([0, 1, 0, 1, 0, 1])

    def two(x):
        return net(x)[:, :2]

    weights = np.asarray(two(np.eye(8 * 8 * 3, dtype=np.float32).reshape(-1, 8, 8, 3)))
    slope = np.linalg.norm(weights[:, 0] - weights[:, 1])
    attacked = ATTACKS["pgd_10"]((two,), images, labels, 50.0)
    fall = np.asarray(margin(two(images), labels) - margin(two(attacked), labels))
    np.testing.assert_allclose(fall, 50 * slope, rtol=1e-3)


def test_more_steps_attack_better():
    nets, images = (curved(0), curved(1)), images_of()

    def left(steps):
        return mean_margin(nets, jitted(pgd_l2, steps=steps)(nets, images, LABELS, 300.0)).mean()

    assert left(20) < left(1) - 0.05


def test_fgsm_moves_all_values_alike():
    images = images_of(120, 135)
    moved = np.abs(np.asarray(ATTACKS["fgsm"]((linear(),), images, LABELS, 50.0)) - images)
    np.testing.assert_allclose(moved, 50 / np.sqrt(8 * 8 * 3), rtol=1e-3)


@pytest.mark.parametrize(("steps", "step_size"), [(1, 1.0), (4, 2.0), (7, None)])
def test_ifgsm_of_a_linear_classifier_is_the_formula(steps, step_size):
    """x <- clip(x - alpha sign(g)) in NumPy; of two classes the gradient is the same everywhere."""
    images, labels = images_of(), np.array([0, 1, 0, 1, 0, 1])
    epsilon = np.float32([1, 2, 3, 5, 8, 200])
    net = linear()

    def two(x):
        return net(x)[:, :2]

    weights = np.asarray(net(np.eye(8 * 8 * 3, dtype=np.float32).reshape(-1, 8, 8, 3)))
    rise = (weights[:, 0] - weights[:, 1]).reshape(8, 8, 3)
    gradient = np.where((labels == 0)[:, None, None, None], rise, -rise)
    ball = epsilon[:, None, None, None]
    alpha = 2.5 * ball / steps if step_size is None else step_size
    expected = images
    for _ in range(steps):
        expected = expected - alpha * np.sign(gradient)
        expected = np.clip(np.clip(expected, images - ball, images + ball), 0, 255)
    attacked = np.asarray(
        jitted(ifgsm, steps=steps, step_size=step_size)((two,), images, labels, epsilon)
    )
    np.testing.assert_allclose(attacked, expected, atol=1e-4)
    fall = np.asarray(margin(two(images), labels) - margin(two(attacked), labels))
    np.testing.assert_allclose(
        fall, np.sum((images - expected) * gradient, axis=(1, 2, 3)), rtol=1e-3
    )


@pytest.mark.parametrize("targeted", [False, True])
def test_ifgsm_moves_the_margin_and_stays_inside(targeted):
    nets, images = (curved(0), curved(1)), images_of()
    epsilon = np.float32([0.5, 1, 2, 4, 8, 16])
    attack = jitted(ifgsm, steps=10)
    attacked = np.asarray(attack(nets, images, LABELS, epsilon, targeted=targeted))
    before, after = (mean_margin(nets, x) for x in (images, attacked))
    assert np.all(after > before if targeted else after < before)
    assert (attacked.shape, attacked.dtype) == (SHAPE, np.float32)
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    change = np.abs(attacked.astype(np.float64) - images)
    # Half a unit in the last place of a float32 near 255.
    assert np.all(change <= epsilon[:, None, None, None] + 1e-5)
    np.testing.assert_allclose(change.max(axis=(1, 2, 3)), epsilon, rtol=1e-4)


def test_more_steps_of_ifgsm_attack_better():
    nets, images = (curved(0),), images_of()
    one, ten = (
        mean_margin(nets, jitted(ifgsm, steps=n)(nets, images, LABELS, 6.0)).mean() for n in (1, 10)
    )
    assert ten < one - 0.01


def test_radius_zero_and_zero_gradient_leave_the_images(attack):
    images = images_of()
    np.testing.assert_array_equal(attack((curved(),), images, LABELS, np.zeros(6)), images)


@pytest.mark.parametrize("name", ["fgsm", "pgd_10"])
def test_a_flat_classifier_gives_no_nan(name):
    def flat(x):
        return jnp.zeros((len(x), 4)) * jnp.sum(x)

    images = images_of()
    attacked = ATTACKS[name]((flat,), images, LABELS, 50.0)
    np.testing.assert_array_equal(attacked, images)


def test_tiny_gradients_attack_as_well_as_large_ones():
    images = images_of(120, 135)
    large, tiny = (
        ATTACKS["pgd_1"]((linear(0, scale),), images, LABELS, 50.0) for scale in (1.0, 1e-25)
    )
    np.testing.assert_allclose(distance(tiny, images), distance(large, images), rtol=1e-3)


def test_images_are_attacked_independently(attack):
    """A padded last batch gives its real images what they get in any other company."""
    images, radius = images_of(), np.full(6, 80, np.float32)
    others = np.where(np.arange(6)[:, None, None, None] < 3, images, 0)
    one, other = (attack((curved(),), x, LABELS, radius) for x in (images, others))
    np.testing.assert_allclose(one[:3], other[:3], atol=1e-2)
    assert np.all(distance(one[3:], other[3:]) > 0)


@pytest.mark.parametrize("name", EAGER)
def test_jit_gives_the_same(name):
    arguments = ((curved(),), images_of(), LABELS, np.full(6, 80, np.float32))
    np.testing.assert_allclose(EAGER[name](*arguments), ATTACKS[name](*arguments), atol=1e-2)


def test_the_random_start_depends_on_the_key():
    images, attack = images_of(), jitted(pgd_l2, steps=2)
    one, again, other = (
        np.asarray(attack((curved(),), images, LABELS, 80.0, key=jax.random.key(seed)))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


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
        fgsm([], images, LABELS, 1.0)


@pytest.mark.parametrize("name", ["fgsm", "pgd_1"])
def test_images_of_8_bits_and_lists_of_labels_are_taken(name):
    images = images_of().astype(np.uint8)
    found = EAGER[name]((linear(),), images, LABELS.tolist(), 50.0)
    np.testing.assert_array_equal(
        found, EAGER[name]((linear(),), images.astype(np.float32), LABELS, 50.0)
    )


@pytest.mark.parametrize(
    "attack", [fgsm, functools.partial(pgd_l2, steps=1), functools.partial(ifgsm, steps=1)]
)
def test_what_are_no_images_or_labels_is_refused(attack):
    with pytest.raises(ValueError, match=r"within 0\.\.1.*multiply them by 255"):
        attack((linear(),), images_of() / 255, LABELS, 5.0)
    with pytest.raises(ValueError, match=r"one whole number for each of 6 images, not int32 \[5\]"):
        attack((linear(),), images_of(), LABELS[:5].tolist(), 5.0)
