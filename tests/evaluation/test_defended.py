"""Accuracy and hits under defences, worked out by hand on toys."""

import json

import jax
import numpy as np
import pytest

from raeg_jax.evaluation import compiled, defended
from raeg_jax.evaluation.defended import evaluate_defended
from raeg_jax.networks.classifiers import FrozenClassifier
from tests.evaluation.evaluation_toys import Brightness, flat_images, shift

LABELS = np.array([0, 0, 1, 1, 2, 0, 1])
GOALS = (LABELS + 1) % 3
IMAGES = flat_images([60, 86, 120, 146, 180, 60, 118])


def brightness(offset):
    return FrozenClassifier(
        Brightness(), {"params": {"offset": offset}, "batch_stats": {"count": 0.0}}
    )


# Means up to 90, up to 150 and above are the classes of the first; the second's are 60 higher.
CLASSIFIERS = {"near": brightness(0.0), "off": brightness(60.0)}
DEFENCES = {"none": lambda x: x, "darker": lambda x: x - np.uint8(10)}


def brighter(index, images, labels):
    """Half of the image brighter by 20, so its mean by 10: 86 and 146 become the next class."""
    return compiled.protect(shift(20), images, labels)[0]


def evaluate(protect=brighter, images=IMAGES, labels=LABELS, goals=GOALS, batch_size=3):
    return evaluate_defended(
        protect, CLASSIFIERS, images, labels, goals, batch_size, defences=DEFENCES
    )


@pytest.fixture(scope="module")
def result():
    return evaluate()


def test_accuracy_is_counted_after_each_defence(result):
    # The last batch has one image of three; it is read correctly and must not count three times.
    assert result["accuracy"] == {
        "none": {"near": 5 / 7, "off": 4 / 7},
        "darker": {"near": 1, "off": 3 / 7},
    }


def test_hits_are_images_read_as_their_goal(result):
    assert result["hits"] == {
        "none": {"near": 2 / 7, "off": 0},
        "darker": {"near": 0, "off": 0},
    }
    read_by_first = np.array([0, 1, 1, 2, 2, 0, 1])
    assert evaluate(goals=read_by_first)["hits"]["none"]["near"] == 1


@pytest.mark.parametrize("batch_size", [1, 7, 10])
def test_batches_change_nothing(result, batch_size):
    again = evaluate(batch_size=batch_size)
    np.testing.assert_array_equal(
        again["per_image"].pop("distance"), result["per_image"]["distance"]
    )
    for name in ("accuracy", "hits"):
        assert again[name] == result[name]


def test_distance_and_psnr_are_those_of_each_image():
    def by_number(index, images, labels):
        return images + index.astype(np.uint8)[:, None, None, None]

    result = evaluate(by_number)
    added = np.arange(7)
    expected = added * np.sqrt(IMAGES[0].size)
    np.testing.assert_allclose(result["per_image"]["distance"], expected, rtol=1e-6)
    psnr = 20 * np.log10(255 / added[1:])
    np.testing.assert_allclose(result["per_image"]["psnr"][1:], psnr, rtol=1e-6)
    # The first is not changed and has no PSNR.
    np.testing.assert_allclose(result["psnr"], psnr.mean(), rtol=1e-6)


def test_originals_have_no_psnr_and_no_hits():
    result = evaluate(lambda index, images, labels: images)
    result.pop("per_image")
    assert result["psnr"] is None
    assert result["accuracy"]["none"] == {"near": 1, "off": 3 / 7}
    assert result["hits"]["none"] == {"near": 0, "off": 0}
    json.dumps(result, allow_nan=False)


def test_labels_and_numbers_reach_the_protection_in_batches_of_one_size():
    seen = []

    def look(index, images, labels):
        seen.append((index.tolist(), labels.tolist(), images.shape[0]))
        return images

    evaluate(look)
    assert seen == [([0, 1, 2], [0, 0, 1], 3), ([3, 4, 5], [1, 2, 0], 3), ([6, 6, 6], [1, 1, 1], 3)]


def test_what_is_measured_was_read_back_from_files(monkeypatch):
    monkeypatch.setattr(defended, "png_roundtrip", lambda y: (np.full_like(y, 60), None))
    assert evaluate()["accuracy"]["none"]["near"] == 3 / 7


def test_a_split_compiles_once(result, caplog):
    with jax.log_compiles():
        evaluate()
    assert "Compiling" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goals": GOALS[:3]}, "as many goals as labels, got 3 and 7"),
        ({"images": IMAGES[:2]}, "got 2 and 7"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
    ids=["goals", "images", "batch_size"],
)
def test_impossible_requests_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**changes)
