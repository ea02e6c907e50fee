"""ImageNet's classes: their order, names that are used once, and where other data sets' are."""

import numpy as np
import pytest

from raeg_jax.networks import imagenet


def test_classes_are_in_the_order_of_their_ids():
    wnids = list(imagenet.classes())
    assert len(wnids) == 1000
    assert wnids == sorted(wnids)
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids)


@pytest.mark.parametrize(
    ("index", "wnid", "name"),
    [
        (0, "n01440764", "tench"),
        (99, "n01855672", "goose"),
        (207, "n02099601", "golden retriever"),
        (963, "n07873807", "pizza"),
        (999, "n15075141", "toilet"),
    ],
)
def test_known_classes_are_where_published_networks_have_them(index, wnid, name):
    assert list(imagenet.classes())[index] == wnid
    assert name in imagenet.class_names(1000)[index]
    np.testing.assert_array_equal(imagenet.indices([wnid]), [index])


def test_names_are_used_once():
    names = imagenet.class_names(1000)
    assert len(set(names)) == 1000
    cranes = [name for name in names if name.startswith("crane")]
    assert sorted(cranes) == ["crane (n02012849)", "crane (n03126707)"]


def test_other_numbers_of_classes_have_numbers_for_names():
    assert imagenet.class_names(3) == ("class 0", "class 1", "class 2")


def test_classes_of_a_data_set_are_found_by_id_and_by_name():
    found = imagenet.indices(["n15075141", "crane (n02012849)", "tench, Tinca tinca"])
    np.testing.assert_array_equal(found, [999, 134, 0])
    assert found.dtype == np.int32
    found = imagenet.indices(["tench", "goose", "maillot (n03710637)", "crane (n03126707)"])
    np.testing.assert_array_equal(found, [0, 99, 638, 517])


@pytest.mark.parametrize(
    "names",
    [["goose", "house"], ["goose", "n01855672"], ["crane"], ["cock"] * 2, ["n99999999"]],
)
def test_a_class_that_is_not_there_or_twice_is_none(names):
    assert imagenet.indices(names) is None
