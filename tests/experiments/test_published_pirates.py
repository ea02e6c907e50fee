"""Pirates with a tiny published network: features, linear classifiers and fine-tuning."""

import jax
import numpy as np
import pytest
import skimage.transform

from raeg_jax.experiments import published_pirates as lib
from raeg_jax.experiments.published_pirates import train_frozen, train_whole
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
    monkeypatch.setattr(lib, "features_of", None)
    again = lib._Pirate(toy, tmp_path, NAME).features(images.images)
    np.testing.assert_array_equal(again, features)


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
    more = Images(*(np.tile(array, (6,) + (1,) * (array.ndim - 1)) for array in images[:3]))
    curve = train_whole(toy, tmp_path, tmp_path / "model", more, NAME, seed=1)
    # Of 18 images 16 are a batch that the eight devices share.
    assert [step for step, _ in curve] == [1, 2]
    assert all(0 <= accuracy <= 1 for _, accuracy in curve)
    assert (seen["config"].seed, seen["config"].classifiers.batch_size) == (2, 16)
    assert toy.config.seed == 0
    assert not (tmp_path / "model").exists()
