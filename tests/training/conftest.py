"""Toy networks, and the training loop around toys for test_generator.py and test_resume.py."""

import jax
import jax.numpy as jnp
import pytest

from configs import smoke
from raeg_jax.training import generator
from tests.training.loop_toys import SPLITS, ToyGenerator, ToyNet, make_toy_step
from tests.training.toy_networks import register


@pytest.fixture
def toy_networks(monkeypatch):
    """The classifiers 'toy' and 'flat'."""
    register(monkeypatch)


@pytest.fixture
def toys(monkeypatch):
    """Everything that compiles or trains for long is replaced."""
    images = jnp.zeros((1, 32, 32, 3))
    nets = {
        name: (ToyNet(), ToyNet().init(jax.random.key(i), images, train=False))
        for i, name in enumerate(("resnet_small", "vgg_small"))
    }
    accuracies = {name: {"train": 0.75, "test": 0.5} for name in nets}
    monkeypatch.setattr(generator.data, "load", lambda settings: SPLITS)
    monkeypatch.setattr(generator, "ensure_classifiers", lambda *args: nets)
    monkeypatch.setattr(generator, "clean_accuracies", lambda *args: accuracies)
    monkeypatch.setattr(generator, "make_train_step", make_toy_step)
    monkeypatch.setattr(
        generator, "unet_from_config", lambda settings, memory: ToyGenerator(settings.widths[0])
    )


@pytest.fixture
def evaluations(monkeypatch):
    """Evaluations during training: step -> metrics; made up, and ever better."""
    seen = {}

    def evaluate(self, step, params, log):
        values = {"psnr": 40.0, "protected_accuracy": 1 / (1 + len(seen))}
        seen[step] = values
        log.scalars(step, {f"eval/{name}": value for name, value in values.items()})
        return values

    monkeypatch.setattr(generator.Monitor, "evaluate", evaluate)
    return seen


@pytest.fixture
def toy_config():
    config = smoke.get_config()
    config.loss.kappa = 0.0
    config.generator.update(blocks=(1,), widths=(4,))
    config.train.update(steps=12, log_every=2, eval_every=6, checkpoint_every=3, keep_last=2)
    return config
