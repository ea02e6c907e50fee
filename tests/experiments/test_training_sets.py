"""The images that models are trained on. No model is trained."""

import numpy as np
import pytest

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.experiments import training_sets as sets_lib
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.experiments.training_sets import load_images, training_sets, without_class_means
from tests.experiments.experiment_toys import FloatRun, alone, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = alone(tmp_path_factory.mktemp("suite"), FloatRun)
    context.run.config.suite.pirates.update(
        shares=(0.5,), defences=("bits_3", "class_mean"), trainings=("crops", "augmented+grey")
    )
    context.run.config.suite.update(remover_pairs=(2,), remover_steps=1)
    return context


def test_training_sets_have_the_images_that_their_names_say(context):
    originals, labels = context.run.images("train")
    files = context.leaked("raeg").files.images
    sets = {(s.name, s.defence, s.training): s.load() for s in training_sets(context)}
    assert list(sets) == [
        ("honest", "", ""), ("raeg", "", ""), ("authorised", "", ""),
        ("honest", "bits_3", ""), ("raeg", "bits_3", ""),
        ("honest", "class_mean", ""), ("raeg", "class_mean", ""),
        ("honest", "remover_2", ""), ("raeg", "remover_2", ""),
        ("share_0.5", "", ""),
        ("honest", "", "crops"), ("raeg", "", "crops"),
        ("honest", "grey", "augmented"), ("raeg", "grey", "augmented"),
    ]  # fmt: skip
    for images in sets.values():
        np.testing.assert_array_equal(images.originals, originals)
        np.testing.assert_array_equal(images.labels, labels)
    images = {key: each.images for key, each in sets.items()}
    np.testing.assert_array_equal(images["authorised", "", ""], originals)
    for name, plain in (("honest", originals), ("raeg", files)):
        np.testing.assert_array_equal(images[name, "", ""], plain)
        np.testing.assert_array_equal(images[name, "", "crops"], plain)
        np.testing.assert_array_equal(images[name, "bits_3", ""], DEFENCES["bits_3"](plain))
        np.testing.assert_array_equal(images[name, "grey", "augmented"], DEFENCES["grey"](plain))
        means = without_class_means(plain, labels)
        np.testing.assert_array_equal(images[name, "class_mean", ""], means)
    changed = np.any(images["share_0.5", "", ""] != originals, axis=(1, 2, 3))
    assert changed.sum() == 2
    np.testing.assert_array_equal(images["share_0.5", "", ""][changed], files[changed])
    cleaned = [images[name, "remover_2", ""] for name in ("honest", "raeg")]
    assert cleaned[0].shape == cleaned[1].shape == files.shape
    assert np.any(cleaned[0] != cleaned[1])


def test_only_what_depends_on_the_generator_says_so(context):
    assert {
        (each.name, each.defence) for each in training_sets(context) if not each.of_generator
    } == {("honest", ""), ("honest", "bits_3"), ("honest", "class_mean"), ("honest", "grey")}


def test_class_means_are_taken_away():
    images = np.random.default_rng(0).integers(60, 190, (9, 4, 5, 3), np.uint8)
    labels = np.array([0, 1, 2] * 3)
    left = without_class_means(images, labels)
    assert left.dtype == np.uint8
    for label in range(3):
        # Within the rounding, all classes have the mean of all images.
        mean = left[labels == label].mean(axis=0)
        np.testing.assert_allclose(mean, images.mean(axis=0), atol=0.5)
    one = images[4] - images[labels == 1].mean(axis=0) + images.mean(axis=0)
    np.testing.assert_allclose(left[4], one, atol=0.5)


def test_defences_of_images_and_of_sets_follow_one_another(context):
    originals, labels = context.run.images("train")
    found = load_images(context, "honest", "class_mean+bits_3").images
    expected = DEFENCES["bits_3"](without_class_means(originals, labels))
    np.testing.assert_array_equal(found, expected)


def test_what_was_made_of_files_is_kept(context, monkeypatch):
    first = {name: load_images(context, name, "bits_3").images for name in ("honest", "raeg")}
    monkeypatch.setattr(ProtectedSet, "change", None)
    for name, images in first.items():
        np.testing.assert_array_equal(load_images(context, name, "bits_3").images, images)
    cleaned = sets_lib.load_cleaned(context, "raeg", 2).images
    monkeypatch.setattr(sets_lib, "remover", None)
    np.testing.assert_array_equal(sets_lib.load_cleaned(context, "raeg", 2).images, cleaned)


def test_exact_generators_have_no_authorised_models_and_methods_plain_ones(tmp_path):
    assert "authorised" not in [each.name for each in training_sets(alone(tmp_path))]
    context = Context(run(), tmp_path, ("rae", "pgd"), compared=True)
    sets = list(training_sets(context))
    assert [(each.name, each.defence, each.training) for each in sets] == [
        ("honest", "", ""), ("rae", "", ""), ("pgd", "", ""),
    ]  # fmt: skip
    assert sets[1].depends.keys() == {"attack", "steps", "rae", "psnr"}
