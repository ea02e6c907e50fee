"""Surrogates: how they are trained, and when new ones take their place."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.networks import classifiers as classifiers_lib
from raeg_jax.training.classifier_step import make_classifier_step
from raeg_jax.training.optimizers import classifier_optimizer
from raeg_jax.training.parallel import ParallelStep
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.processes import replicate

IMAGES = np.random.RandomState(0).randint(0, 256, (8, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(8, dtype=np.int32) % 3
INDEX = jnp.arange(8)
ONE = jax.devices()[:1]


pytestmark = pytest.mark.usefixtures("toy_networks")


@pytest.fixture
def config():
    config = base.get_config()
    config.data.image_size = 8
    config.patterns.update(surrogates=("toy", "flat"), renew_every=10)
    config.classifiers.update(warmup_steps=0, learning_rate=0.05)
    return config


def step_of(surrogates, weight=1.0, radius=0.0):
    """Trains surrogates alone; the objective has their loss with a weight."""

    def step(state, frozen, batch):
        x = batch["image"].astype(jnp.float32)

        def objective(params):
            loss, accuracy, statistics = surrogates.read(
                params, state, x, batch["label"], jax.random.key(0), INDEX, radius
            )
            return weight * loss, (loss, accuracy, statistics)

        params = tuple(each["params"] for each in state)
        (_, (loss, accuracy, statistics)), grads = jax.value_and_grad(objective, has_aux=True)(
            params
        )
        updated = surrogates.update(state, grads, statistics, weight)
        return updated, {"loss": loss, "accuracy": accuracy}

    return ParallelStep(step, "pmap", ONE)


BATCH = {"image": IMAGES, "label": LABELS}


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_each_takes_the_step_of_a_classifier(config, weight):
    surrogates = Surrogates(config, 3)
    states = surrogates.create()
    after, metrics = step_of(surrogates, weight)(replicate(states, ONE), {}, BATCH)
    losses = []
    for name, before, trained in zip(("toy", "flat"), states, after, strict=True):
        step = make_classifier_step(
            classifiers_lib.build_classifier(name, 3),
            classifier_optimizer(config.classifiers, 10, constant=True),
            config.classifiers.label_smoothing,
        )
        expected, alone = ParallelStep(step, "pmap", ONE)(replicate(before, ONE), {}, BATCH)
        losses.append(alone["loss"])
        chex.assert_trees_all_close(trained, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)


def test_an_attack_raises_the_loss_and_passes_gradients(config):
    config.patterns.surrogates = ("flat",)
    surrogates = Surrogates(config, 3)
    state = surrogates.create()

    def loss(images, radius):
        params = tuple(each["params"] for each in state)
        return surrogates.read(params, state, images, LABELS, jax.random.key(0), INDEX, radius)[0]

    images = IMAGES * 1.0
    clean, attacked = loss(images, 0.0), loss(images, 8.0)
    assert attacked > clean + 0.1
    gradients = [jax.grad(loss)(images, radius) for radius in (0.0, 8.0)]
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)
    assert np.any(gradients[0] != gradients[1])


def test_they_are_renewed_in_turn(config):
    surrogates = Surrogates(config, 3)
    states, renewed = surrogates.create(), []
    for step in range(1, 31):
        new = surrogates.renew(states, step)
        renewed += [
            (step, number)
            for number, (a, b) in enumerate(zip(new, states, strict=True))
            if a is not b
        ]
        states = new
    # The second has lived for half of its time at the start.
    assert renewed == [(6, 1), (11, 0), (16, 1), (21, 0), (26, 1)]


def kernels(states):
    return [np.asarray(jax.tree.leaves(each["params"])[-1]) for each in states]


def test_new_ones_depend_on_the_seed_and_the_step_alone(config):
    config.patterns.surrogates = ("flat", "flat")
    first, again = Surrogates(config, 3), Surrogates(config, 3)
    states = first.create()
    chex.assert_trees_all_equal(states, again.create())
    a, b = kernels(states)
    assert np.any(a != b)
    chex.assert_trees_all_equal(first.renew(states, 11)[0], again.renew(again.create(), 11)[0])
    drawn = [kernels(first.renew(states, step))[0] for step in (1, 11, 21)]
    assert np.any(drawn[0] != drawn[1])
    assert np.any(drawn[1] != drawn[2])
    config.seed = 1
    assert np.any(kernels(Surrogates(config, 3).create())[0] != a)
