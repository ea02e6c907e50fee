import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.adversarial.losses import ensemble_loss
from raeg_jax.data.decode import fit
from raeg_jax.networks.classifiers import FrozenClassifier, mean_reading
from raeg_jax.networks.preprocessing import Preprocessing
from raeg_jax.protection import predict
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.predict import attack_losses, predict_labels, target_readings
from raeg_jax.protection.tiles import pad_batch as pad
from tests.networks import tiny_published
from tests.protection.generators import NAMES, make, photographs, published, settings


class Always(nn.Module):
    """The same logits for all images."""

    logits: tuple[float, ...]

    def __call__(self, images, train):
        return jnp.tile(jnp.array(self.logits), (len(images), 1))


def test_targets_see_images_at_the_size_of_their_training():
    generator = make(("gradient",))
    images = [*photographs(3, 32, 32), *photographs(2, 90, 70)]
    squares = jnp.asarray(np.stack([fit(image, 32) for image in images]), jnp.float32)
    target = FrozenClassifier(*generator.classifiers["resnet_small"])
    found = predict_labels(generator, images, 3)
    np.testing.assert_array_equal(found, np.argmax(target(squares), axis=-1))
    assert found.dtype == np.int32
    labels = np.array([2, 0, 1, 1, 0], np.int32)
    losses = attack_losses(generator, images, labels, 3)
    expected = ensemble_loss((target,), squares, labels, kappa=5.0)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_published_targets_see_images_as_each_expects(monkeypatch):
    tiny_published.register(monkeypatch)
    larger = Preprocessing(64, 48, "bilinear", (120.0, 110.0, 100.0))
    pairs = tiny_published.classifier(), tiny_published.classifier(1, preprocessing=larger)
    generator = published(("gradient",), *pairs)
    images = [*photographs(3, 300, 200), *photographs(2, 40, 70)]
    inputs = [
        jnp.asarray(np.stack([p.fit(image) for image in images]), jnp.float32)
        for p in (tiny_published.PREPROCESSING, larger)
    ]
    frozen = [FrozenClassifier(*pair) for pair in pairs]
    targets = [lambda _, c=c, x=x: c(x) for c, x in zip(frozen, inputs, strict=True)]
    found = predict_labels(generator, images, 3)
    assert len(set(found.tolist())) > 2
    np.testing.assert_array_equal(found, mean_reading(targets, inputs[0]))
    losses = attack_losses(generator, images, found, 3)
    expected = ensemble_loss(targets, inputs[0], found, kappa=5.0)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_each_target_reads_for_itself_and_published_ones_few_images_at_a_time(monkeypatch):
    tiny_published.register(monkeypatch)
    generator = published(("gradient",), tiny_published.classifier(), tiny_published.classifier(1))
    images, sizes = photographs(5, 40, 50), []
    monkeypatch.setattr(
        predict, "pad_batch", lambda rows, size: sizes.append(size) or pad(rows, size)
    )
    together, *each = found = target_readings(generator, images, 16)
    assert (found.shape, found.dtype, set(sizes)) == ((3, 5), np.int32, {4})
    np.testing.assert_array_equal(together, predict_labels(generator, images, 16))
    for pair, classes in zip(generator.classifiers.values(), each, strict=True):
        inputs = np.stack([tiny_published.PREPROCESSING.fit(image) for image in images])
        logits = FrozenClassifier(*pair)(jnp.asarray(inputs, jnp.float32))
        np.testing.assert_array_equal(classes, np.argmax(logits, axis=-1))
    assert np.any(each[0] != each[1])


def test_several_targets_agree_on_the_most_probable_class():
    """One is almost sure; of the sums of logits others would be the largest."""
    sure, torn = Always((0.0, 5.0, 0.0)), Always((7.0, 0.0, 7.0))
    names = {"classifiers.targets": ("sure", "torn")}
    classifiers = {"sure": (sure, {}), "torn": (torn, {}), "other": (Always((99.0, 0.0, 0.0)), {})}
    generator = LoadedGenerator(settings(("gradient",), **names), NAMES, None, classifiers)
    assert predict_labels(generator, photographs(1, 32, 32), 2).tolist() == [1]
