"""Pirates with a tiny published network: features, linear classifiers and fine-tuning."""

import jax
import numpy as np
import pytest
import skimage.transform

from raeg_jax.experiments import published_pirates as lib
from raeg_jax.experiments.published_pirates import fit_linear, train_frozen, train_whole
from raeg_jax.experiments.training_sets import Images
from tests.experiments.experiment_toys import run
from tests.networks import tiny_published

NAME = "one.safetensors"
SIDE = 64


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        tiny_published.register(patch)
        tiny_published.write(folder / NAME)
        toy = run()
        toy.config.classifiers.weights = str(folder)
        toy.config.suite.pirates.published.update(side=SIDE, epochs=2)
        yield toy


@pytest.fixture
def images(toy):
    images, labels = toy.images("train")
    return Images(images, images, labels)


def test_images_are_enlarged_as_by_scikit_image(images):
    expected = skimage.transform.resize(
        images.images[0].astype(float), (SIDE, SIDE), order=1, mode="edge", anti_aliasing=False
    )
    enlarged = np.asarray(lib.enlarge(images.images, SIDE))
    assert enlarged.shape == (3, SIDE, SIDE, 3)
    np.testing.assert_allclose(enlarged[0], expected, atol=1e-2)


def test_features_give_the_logits_of_the_network_and_are_kept(toy, images, tmp_path, monkeypatch):
    features = lib._Pirate(toy, tmp_path, NAME).features(images.images)
    module, variables = tiny_published.classifier()
    dense = variables["params"]["Dense_0"]
    logits = module.apply(variables, lib.enlarge(images.images, SIDE), train=False)
    # They are kept in half precision.
    np.testing.assert_allclose(features @ dense["kernel"] + dense["bias"], logits, atol=0.05)
    monkeypatch.setattr(lib._Pirate, "_compute", None)
    again = lib._Pirate(toy, tmp_path, NAME).features(images.images)
    np.testing.assert_array_equal(again, features)


def test_linear_classifiers_are_where_the_objective_is_least():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    centres = random.normal(0, 3, (3, 4)) * (1, 5, 0, 0) + np.array((0, 100, 0, 0))
    x = random.normal(centres[labels], (1, 5, 0.2, 1)).astype(np.float32)
    kernel, bias = fit_linear(x, labels, 3, decay=0.1)
    assert np.mean((x @ kernel + bias).argmax(-1) == labels) > 0.9

    # Its gradient, in float64 and by hand, for standardised features.
    deviation = x.std(axis=0, dtype=np.float64)
    standard = (x - x.mean(axis=0, dtype=np.float64)) / deviation
    logits = x.astype(np.float64) @ kernel + bias
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    error = (probabilities - np.eye(3)[labels]) / len(x)
    np.testing.assert_allclose(standard.T @ error + 0.1 * kernel * deviation[:, None], 0, atol=1e-3)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-3)


def test_features_that_do_not_vary_do_no_harm():
    x = np.float32([[1, 5], [2, 5], [3, 5], [4, 5]])
    kernel, bias = fit_linear(x, np.array([0, 0, 1, 1]), 2, decay=0.01)
    assert np.isfinite(kernel).all()
    np.testing.assert_array_equal((x @ kernel + bias).argmax(-1), [0, 0, 1, 1])


def test_a_frozen_network_has_one_look(toy, images, tmp_path):
    ((step, accuracy),) = train_frozen(toy, tmp_path, images, NAME)
    assert step > 0
    pirate = lib._Pirate(toy, tmp_path, NAME)
    kernel, bias = pirate.head(images)
    clean, truth = toy.images("test")
    assert accuracy == np.mean((pirate.features(clean) @ kernel + bias).argmax(-1) == truth)
    own = pirate.features(images.images) @ kernel + bias
    np.testing.assert_array_equal(own.argmax(-1), images.labels)


def test_a_whole_network_starts_as_the_linear_classifier(toy, images, tmp_path, monkeypatch):
    pirate = lib._Pirate(toy, tmp_path, NAME)
    kernel, bias = pirate.head(images)
    module, start = pirate.whole(kernel, bias)
    logits = jax.jit(module.apply)(start, images.images.astype(np.float32))
    expected = pirate.features(images.images) @ kernel + bias
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.abs(expected).max())

    seen = {}
    fit = lib.learning_curve

    def watched(run, folder, images, config, *rest):
        seen["config"] = config
        return fit(run, folder, images, config, *rest)

    monkeypatch.setattr(lib, "learning_curve", watched)
    more = Images(*(np.tile(array, (6,) + (1,) * (array.ndim - 1)) for array in images))
    curve = train_whole(toy, tmp_path, tmp_path / "model", more, NAME, seed=1)
    # Of 18 images 16 are a batch that the eight devices share.
    assert [step for step, _ in curve] == [1, 2]
    assert all(0 <= accuracy <= 1 for _, accuracy in curve)
    assert (seen["config"].seed, seen["config"].classifiers.batch_size) == (2, 16)
    assert toy.config.seed == 0
    assert not (tmp_path / "model").exists()
