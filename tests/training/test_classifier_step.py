"""The step of a classifier: smoothed and blended labels, and attacks on its images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from raeg_jax.training import parallel
from raeg_jax.training.classifier_step import make_classifier_step
from raeg_jax.workdir import processes as state_lib

IMAGES = np.random.RandomState(0).randint(0, 256, (8, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(8, dtype=np.int32) % 3


class ToyNet(nn.Module):
    """Batch normalisation and two small layers, so that it compiles at once."""

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (4, 4), strides=4)(images / 255)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        return nn.Dense(3)(x.mean((1, 2)))


class Seen(nn.Module):
    """Keeps the mean of the images that it was shown; its weights say which way to attack."""

    @nn.compact
    def __call__(self, images, train):
        kernel = self.param("kernel", nn.initializers.normal(1.0), (8 * 8 * 3, 3))
        seen = self.variable("batch_stats", "seen", jnp.zeros, images.shape)
        if train:
            seen.value = images
        return images.reshape(len(images), -1) @ kernel / 255


def run(net, batch, devices=1, **settings):
    """The variables before and after one step, and its metrics."""
    optimizer = optax.adam(0.1)
    variables = net.init(jax.random.key(0), IMAGES[: 8 // devices] * 1.0, train=False)
    state = {**variables, "opt_state": optimizer.init(variables["params"])}
    used = jax.devices()[:devices]
    step = parallel.ParallelStep(make_classifier_step(net, optimizer, **settings), "pmap", used)
    after, metrics = step(state_lib.replicate(state, used), {}, batch)
    return variables, after, metrics


def test_parameters_and_statistics_move_by_the_smoothed_cross_entropy():
    net = ToyNet()
    before, after, metrics = run(net, {"image": IMAGES, "label": LABELS}, label_smoothing=0.1)
    for part in ("params", "batch_stats"):
        changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), after[part], before[part])
        assert max(jax.tree.leaves(changes)) > 0
    logits = net.apply(before, IMAGES * 1.0, train=True, mutable=["batch_stats"])[0]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    smoothed = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    np.testing.assert_allclose(metrics["loss"], -(smoothed * log_p).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(-1) == LABELS).mean())


def test_blended_images_have_blended_labels():
    net, other = ToyNet(), (LABELS + 1) % 3
    share = np.linspace(0, 1, 8, dtype=np.float32)
    batch = {"image": IMAGES, "label": LABELS, "other": other, "share": share}
    before, _, metrics = run(net, batch, label_smoothing=0.0)
    logits = net.apply(before, IMAGES * 1.0, train=True, mutable=["batch_stats"])[0]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    truth = share[:, None] * np.eye(3)[LABELS] + (1 - share[:, None]) * np.eye(3)[other]
    np.testing.assert_allclose(metrics["loss"], -(truth * log_p).sum(-1).mean(), rtol=1e-5)


@pytest.fixture(scope="module")
def attacked():
    return run(Seen(), {"image": IMAGES, "label": LABELS}, label_smoothing=0.0, adversarial=8.0)


def test_an_attack_stays_near_the_image_and_in_range(attacked):
    seen = np.asarray(attacked[1]["batch_stats"]["seen"])
    assert (seen.min(), seen.max()) == (0, 255)
    change = np.abs(seen - IMAGES)
    assert 7.5 < change.max() <= 8.001
    assert len(np.unique(change)) > 100


def test_an_attack_raises_the_loss(attacked):
    before, _, metrics = attacked
    _, _, clean = run(Seen(), {"image": IMAGES, "label": LABELS}, label_smoothing=0.0)
    assert metrics["loss"] > clean["loss"] + 1
    # Up the gradient, where the random start didn't begin at the other end of the range.
    kernel = np.asarray(before["params"]["kernel"])
    p = np.asarray(jax.nn.softmax(IMAGES.reshape(8, -1) @ kernel / 255))
    gradient = ((p - np.eye(3)[LABELS]) @ kernel.T).reshape(IMAGES.shape)
    change = np.asarray(attacked[1]["batch_stats"]["seen"]) - IMAGES
    certain = np.abs(gradient) > np.quantile(np.abs(gradient), 0.5)
    inside = (IMAGES > 8) & (IMAGES < 247) & certain
    assert np.mean(np.sign(change[inside]) == np.sign(gradient[inside])) > 0.9


def test_starts_differ_from_step_to_step_and_not_with_the_devices(attacked):
    batch = {"image": IMAGES, "label": LABELS}
    _, _, spread = run(Seen(), batch, devices=4, label_smoothing=0.0, adversarial=8.0)
    np.testing.assert_allclose(spread["loss"], attacked[2]["loss"], rtol=1e-5)
    _, _, other = run(Seen(), batch, label_smoothing=0.0, adversarial=8.0, seed=1)
    assert other["loss"] != attacked[2]["loss"]
