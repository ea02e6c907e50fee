"""Accuracy and attack success of images whose classes are known."""

import numpy as np

from raeg_jax.evaluation.scores import correct, mean, mean_score, scores
from raeg_jax.networks.classifiers import as_pytree
from tests.evaluation.evaluation_toys import flat_images

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


def test_a_mean_score_is_of_targets_or_of_the_others():
    classifiers = {
        name: {"accuracy": {"file": value}, "attack_success": {"file": None}}
        for name, value in (("a", 0.25), ("b", 0.75), ("c", 1.0))
    }
    assert mean_score(classifiers, "accuracy", "file", ("a", "b")) == 0.5
    assert mean_score(classifiers, "accuracy", "file", ("a", "b"), held_out=True) == 1
    assert mean_score(classifiers, "accuracy", "file", ("a", "b", "c"), held_out=True) is None
    assert mean_score(classifiers, "attack_success", "file", ("a",)) is None


def test_a_mean_leaves_out_what_json_cannot_hold():
    assert mean(np.array([1.0, np.inf, 3.0])) == 2
    assert mean(np.array([np.inf])) is None
    assert mean(np.zeros(0)) is None
