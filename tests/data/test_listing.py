"""Listings: what they need, their fingerprint, and drawing the split."""

import pathlib

import pytest

from raeg_jax.data import listing
from raeg_jax.errors import UserError

NAMES = [f"image_{i:04d}.jpg" for i in range(500)]


def entry(name, label, train, size=1, digest=""):
    return listing.Entry(name, pathlib.Path(name), size, label, train, digest=digest)


def example(**changes):
    fields = {
        "dataset": "toy",
        "class_names": ("a", "b"),
        "entries": (entry("a/1", 0, True), entry("b/1", 1, True), entry("b/2", 1, False)),
    }
    return listing.Listing(**{**fields, **changes})


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_held_back_is_the_asked_share(fraction):
    assert len(listing.held_back(NAMES, fraction)) == 500 * fraction


def test_held_back_depends_on_names_only():
    chosen = listing.held_back(NAMES, 0.2)
    assert listing.held_back(reversed(NAMES), 0.2) == chosen
    # One file more moves at most one image between the splits.
    assert len(chosen ^ listing.held_back([*NAMES, "new.jpg"], 0.2)) <= 2
    # Not merely the first or the last ones.
    assert 30 < len(chosen & set(NAMES[:250])) < 70


@pytest.mark.parametrize(("count", "held"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_held_back_leaves_something_to_train_on(count, held):
    assert len(listing.held_back(NAMES[:count], 0.01)) == held
    assert len(listing.held_back(NAMES[:count], 0.99)) == max(count - 1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ("a", "c")},
        {"dataset": "other"},
        {"entries": (entry("a/1", 0, True, size=2), *example().entries[1:])},
        {"entries": (entry("a/1", 0, True, digest="0"), *example().entries[1:])},
        {"entries": (entry("a/2", 0, True), *example().entries[1:])},
        {"entries": (entry("a/1", 0, False), *example().entries[1:])},
        {"entries": (entry("a/1", 1, True), *example().entries[1:])},
    ],
)
def test_fingerprint_changes_with_what_matters(change):
    assert example().fingerprint == example(notes=("a note",)).fingerprint
    assert example(**change).fingerprint != example().fingerprint


def test_a_listing_needs_two_classes_and_two_splits():
    with pytest.raises(UserError, match="found 1 classes"):
        example(class_names=("a",))
    with pytest.raises(UserError, match="no test images"):
        example(entries=(entry("a/1", 0, True),))
    with pytest.raises(UserError, match="no training images"):
        example(entries=(entry("a/1", 0, False),))
