"""Accuracy and attack success of images whose classes are known."""

import numpy as np

from raeg_jax.evaluation.scores import correct, mean, mean_score, read, scores
from raeg_jax.networks.classifiers import as_pytree
from tests.evaluation.evaluation_toys import brightness_reader, flat_images

LABELS = np.array([0, 0, 1, 1])


def test_images_of_the_right_class_are_correct():
    nets = {"bright": as_pytree(lambda x: np.array([1.0, 0]) * (x.mean((1, 2, 3)) < 100)[:, None])}
    images = {"original": flat_images([50, 60, 200, 210]), "dark": flat_images([10] * 4)}
    per_image = correct(nets, images, LABELS)
    assert per_image["dark", "bright"].tolist() == [True, True, False, False]
    per_image["original", "bright"] = np.array([True, False, True, True])
    found = scores(per_image, nets, ("original", "dark"))["bright"]
    assert found["accuracy"] == {"original": 0.75, "dark": 0.5}
    # The second image, wrong before, says nothing about the attack.
    assert found["attack_success"] == {"dark": 2 / 3}
    per_image["original", "bright"] = np.zeros(4, bool)
    assert scores(per_image, nets, ("original", "dark"))["bright"]["attack_success"] == {
        "dark": None
    }


def test_a_reader_of_other_classes_keeps_readings_or_not():
    nets = {"mine": brightness_reader()}
    images = {"original": flat_images([50, 60, 200, 210]), "dark": flat_images([10, 120, 90, 255])}
    found = scores(correct(nets, images, LABELS), nets, ("original", "dark"))
    assert found == {
        "mine": {
            "accuracy": {"original": 1.0, "dark": 0.5},
            "attack_success": {"dark": 0.5},
        }
    }


def test_closed_set_accuracy_is_of_the_data_sets_classes_alone():
    """Of four classes the data set's are the second, which draws with the first, and the last."""
    reader = brightness_reader(class_names=("a", "b", "c", "d"), data_classes=np.array([1, 3]))
    images = {"original": flat_images([50, 60, 200, 210]), "dark": flat_images([50, 120, 90, 255])}
    found = scores(correct({"mine": reader}, images, LABELS), ["mine"], ("original", "dark"))
    assert found["mine"]["closed_set"] == {"original": 1.0, "dark": 0.5}
    assert found["mine"]["accuracy"] == {"original": 1.0, "dark": 0.5}
    reading = read({"mine": reader}, images["dark"])["mine"]
    assert reading.classes.tolist() == [0, 3, 0, 3]
    assert reading.closed_set.tolist() == [0, 1, 0, 1]


def test_a_mean_score_is_of_some_classifiers():
    classifiers = {
        name: {"accuracy": {"file": value}, "attack_success": {"file": None}}
        for name, value in (("a", 0.25), ("b", 0.75), ("c", 1.0))
    }
    assert mean_score(classifiers, "accuracy", "file", ("a", "b")) == 0.5
    assert mean_score(classifiers, "accuracy", "file", ("c", "elsewhere")) == 1
    assert mean_score(classifiers, "accuracy", "file", ()) is None
    assert mean_score(classifiers, "attack_success", "file", ("a",)) is None


def test_a_mean_leaves_out_what_json_cannot_hold():
    assert mean(np.array([1.0, np.inf, 3.0])) == 2
    assert mean(np.array([np.inf])) is None
    assert mean(np.zeros(0)) is None
