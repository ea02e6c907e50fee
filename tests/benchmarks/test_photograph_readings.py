"""What readers make of photographs: kept, ranked and counted as meant, and never read twice."""

import dataclasses

import numpy as np
import photograph_readings
import pytest
from photograph_readings import Facts, Seen, kept, read, summary, ways
from skimage.data import astronaut

from raeg_jax.evaluation.readers import Reader
from raeg_jax.networks.preprocessing import Preprocessing


def mean_reader(**preprocessing):
    """Reads the brightest third of an image: 0 the top, 1 the middle, 2 the bottom; then more."""

    def network(images):
        thirds = images.reshape(len(images), 3, -1).mean(axis=2)
        return np.concatenate([thirds, thirds.min(axis=1, keepdims=True) - 1], axis=1)

    fit = Preprocessing(30, 24, **preprocessing)
    return Reader(
        "thirds", ("a", "b", "c", "d"), "", fit.to_json(), fit.fit, network, lambda: "digest"
    )


def bright(third, other=0):
    image = np.full((60, 60, 3), other, np.uint8)
    image[20 * third : 20 * third + 20] = 200
    return image


def seen(folder, name, image, original=None):
    facts = Facts.of(folder / name)
    return Seen(lambda: image, facts, original.facts if original else facts)


def test_unchanged_images_keep_all_readings(tmp_path):
    reader = mean_reader()
    original = seen(tmp_path, "original.png", astronaut())
    same = seen(tmp_path, "same.png", astronaut(), original)
    read({"thirds": reader}, [original, same])
    assert kept(reader, [original, same]) == [True, True]
    of_original, of_same = (summary(reader, [each], None) for each in (original, same))
    assert of_original == of_same
    assert of_same["bilinear"] == {"kept": 1, "median_rank": 1}
    assert list(of_same) == ways(reader)


def test_readings_are_compared_with_the_originals_and_true_classes_counted(tmp_path):
    # The data set has the classes d, c and b.
    reader = dataclasses.replace(mean_reader(), data_classes=np.array([3, 2, 1]))
    originals = [seen(tmp_path, f"{third}.png", bright(third)) for third in (2, 1)]
    changed = [
        # Reads the top; the bottom comes after it, then the middle, which is best of b, c and d.
        seen(tmp_path, "0-2.png", np.maximum(bright(0), bright(1) // 2), originals[0]),
        seen(tmp_path, "1-1.png", bright(1), originals[1]),
    ]
    read({"thirds": reader}, [*originals, *changed])
    assert kept(reader, changed) == [False, True]
    results = summary(reader, changed, [1, 2])
    # Of 4 classes the first image's own, the bottom, is third.
    assert results["bilinear"] == {"kept": 0.5, "median_rank": 2, "closed_set_accuracy": 0.5}


def test_nothing_is_read_twice_and_new_ways_are_added(tmp_path, monkeypatch):
    reader = mean_reader(interpolation="bicubic")
    original = seen(tmp_path, "original.png", bright(1))
    read({"thirds": reader}, [original], every_way=False)
    assert list(original.facts.readings(reader)) == ["bicubic"]
    # As after an interruption.
    original = seen(tmp_path, "original.png", bright(1))
    made = []
    inputs = photograph_readings._inputs
    monkeypatch.setattr(
        photograph_readings, "_inputs", lambda *args: (made.append(x) or x for x in inputs(*args))
    )
    read({"thirds": reader}, [original])
    assert sorted(way for (_, way), _ in made) == sorted(set(ways(reader)) - {"bicubic"})
    assert {fitted.shape for _, fitted in made} == {(24, 24, 3)}
    read({"thirds": reader}, [seen(tmp_path, "original.png", bright(1))])
    assert len(made) == len(ways(reader)) - 1


@pytest.mark.parametrize("name", photograph_readings.DEFENCES)
def test_defences_change_a_photograph_and_not_its_size(name):
    image = astronaut()[:65, :48]
    defended = photograph_readings.DEFENCES[name](image)
    assert defended.shape == image.shape
    assert defended.dtype == np.uint8
    assert 0 < np.abs(defended.astype(int) - image).mean() < 12
