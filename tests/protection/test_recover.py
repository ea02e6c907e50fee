"""Either the original comes back or an error says why: each mistake has its own."""

import dataclasses

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given, settings
from hypothesis import strategies as st

from raeg_jax.errors import UserError
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NotAPayloadError,
    OtherGeneratorError,
    TamperedPixelsError,
    WrongKeyError,
)
from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.seal import open_sealed, seal
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recoverer
from tests.payload.payloads import KEY
from tests.protection.generators import make, photographs, quick

BATCH = 3
GENERATOR = quick()
ORIGINALS = [*photographs(4, 32, 32), *photographs(2, 5, 7)]
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.fixture(scope="module")
def protected():
    """Four images with their payloads inside, and two with them beside."""
    return Protector(GENERATOR, KEY, batch_size=BATCH).protect(ORIGINALS, LABELS)


@pytest.fixture(scope="module")
def recoverer():
    return Recoverer(GENERATOR, KEY)


def given_out(protected, indices):
    chosen = [protected[index] for index in indices]
    return [one.pixels for one in chosen], [None if one.in_pixels else one.blob for one in chosen]


@pytest.mark.parametrize("order", [range(6), (5, 3, 1, 4, 2, 0), (2,), (1, 1, 1, 1), ()])
def test_what_else_is_recovered_with_an_image_does_not_matter(protected, recoverer, order):
    recovered = recoverer.recover(*given_out(protected, order))
    assert len(recovered) == len(order)
    for index, found in zip(order, recovered, strict=True):
        np.testing.assert_array_equal(found.pixels, ORIGINALS[index])
        assert found.label == LABELS[index]
        assert found.in_pixels == (index < 4)


def test_networks_too_see_each_image_for_itself():
    generator = make(("learned",), ())
    images = photographs(BATCH + 1, 32, 32)
    protected = Protector(generator, KEY, batch_size=BATCH).protect(images)
    recoverer = Recoverer(generator, KEY, batch_size=BATCH)
    for order in ((3, 1, 0, 2), (2,)):
        recovered = recoverer.recover([protected[index].pixels for index in order])
        for index, found in zip(order, recovered, strict=True):
            np.testing.assert_array_equal(found.pixels, images[index])


def test_one_that_can_not_be_recovered_keeps_no_other_from_it(protected, recoverer):
    images, blobs = given_out(protected, range(6))
    images[1], images[4] = ORIGINALS[1], ORIGINALS[4]
    recovered = recoverer.recover(images, blobs)
    assert isinstance(recovered[1], NotAPayloadError)
    assert isinstance(recovered[4], TamperedPixelsError)
    for index in (0, 2, 3, 5):
        np.testing.assert_array_equal(recovered[index].pixels, ORIGINALS[index])


def test_a_payload_may_be_given_though_it_is_in_the_pixels(protected, recoverer):
    (found,) = recoverer.recover([protected[0].pixels], [protected[0].blob])
    np.testing.assert_array_equal(found.pixels, ORIGINALS[0])
    assert found.in_pixels


def check_refused(recoverer, image, blob, error, message):
    (found,) = recoverer.recover([image], [blob])
    assert type(found) is error
    assert message in str(found)
    # Kept errors would keep images alive.
    assert found.__traceback__ is None


def test_changed_images_give_something_near_where_payloads_were_kept(protected, recoverer):
    """Nothing but the size is compared."""
    blobs = [one.blob for one in protected]
    found = recoverer.estimate([one.pixels ^ 1 for one in protected], blobs)
    for original, one, near in zip(ORIGINALS, protected, found, strict=True):
        assert not np.array_equal(near, original)
        assert mean_change(near, original) < mean_change(one.pixels, original)
    with pytest.raises(TamperedPixelsError, match="when it was protected"):
        recoverer.estimate([protected[0].pixels[1:]], blobs[:1])


def mean_change(one, other):
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize("index", [0, 4])
def test_a_wrong_key_and_another_generator_are_told(protected, index):
    (image,), (blob,) = given_out(protected, [index])
    other = Recoverer(GENERATOR, Key(bytes(32)))
    check_refused(other, image, blob, WrongKeyError, "give the owner's key")
    other, message = Recoverer(make(("learned",), ()), KEY), f"generator {GENERATOR.id.hex()}"
    check_refused(other, image, blob, OtherGeneratorError, message)


def test_what_carries_no_payload_is_told(protected, recoverer):
    for image in (ORIGINALS[0], ORIGINALS[4], np.zeros((1, 1, 3), np.uint8)):
        check_refused(recoverer, image, None, NotAPayloadError, "give an image as raeg wrote it")
    image, blob = protected[4].pixels, protected[4].blob
    check_refused(recoverer, image, None, NotAPayloadError, "none is beside them")
    check_refused(recoverer, image, b"chunk", NotAPayloadError, "are no payload")
    check_refused(recoverer, image, blob[:-1], DamagedPayloadError, "checksum is wrong")


@pytest.mark.parametrize("place", [(0, 30, 0), (31, 31, 2)])
def test_changed_pixels_are_told_whether_marked_or_not(protected, recoverer, place):
    image = protected[0].pixels.copy()
    image[place] ^= 1
    check_refused(recoverer, image, None, TamperedPixelsError, "changed since")


@settings(max_examples=30, derandomize=True)
@given(
    st.integers(0, 5),
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 2), st.integers(1, 255)),
        min_size=1,
    ),
)
def test_no_change_of_pixels_is_overlooked(protected, recoverer, index, changes):
    (image,), (blob,) = given_out(protected, [index])
    changed = image.copy()
    for *place, by in changes:
        changed[tuple(place)] = (int(changed[tuple(place)]) + by) % 256
    (found,) = recoverer.recover([changed], [blob])
    if np.array_equal(changed, image):
        np.testing.assert_array_equal(found.pixels, ORIGINALS[index])
    else:
        assert type(found) in (TamperedPixelsError, NotAPayloadError)


def test_a_cropped_image_is_told(protected, recoverer):
    lower, right = protected[0].pixels[:-1], protected[0].pixels[:, 1:]
    check_refused(recoverer, lower, None, TamperedPixelsError, "changed since")
    check_refused(recoverer, right, None, NotAPayloadError, "cropped")
    small = protected[4]
    message = "has 7 x 4 pixels and had 7 x 5 when it was protected"
    check_refused(recoverer, small.pixels[:-1], small.blob, TamperedPixelsError, message)


def test_another_machine_may_be_the_reason_where_it_matters(protected, recoverer, monkeypatch):
    image = protected[4].pixels ^ 1
    message = "this machine computes otherwise"
    check_refused(recoverer, image, protected[4].blob, TamperedPixelsError, message)
    monkeypatch.setattr(GradientCoupling, "portable", True)
    (one,) = Protector(GENERATOR, KEY, batch_size=BATCH).protect([ORIGINALS[4]], [0])
    message = "the recovered pixels aren't the original's: the protected image has been changed"
    check_refused(recoverer, one.pixels ^ 1, one.blob, TamperedPixelsError, message)


def test_payloads_of_other_pixels_or_stages_are_told(protected, recoverer):
    image, payload = protected[4].pixels, open_sealed(protected[4].blob, KEY)
    many = dataclasses.replace(payload, overflow=Overflow(np.arange(100), np.ones(100, int)))
    message = "samples of 0 or 255, fewer than"
    check_refused(recoverer, image, seal(many, KEY), TamperedPixelsError, message)
    fewer = dataclasses.replace(payload, side_info=np.zeros((1, 2)))
    check_refused(recoverer, image, seal(fewer, KEY), DamagedPayloadError, "2 columns of")


@pytest.mark.parametrize("make_one", [Protector, Recoverer])
def test_a_machine_without_the_cipher_is_told_before_any_image(monkeypatch, make_one):
    def lacks(key):
        raise UnsupportedAlgorithm("no such cipher")

    monkeypatch.setattr("raeg_jax.payload.seal.AESGCMSIV", lacks)
    with pytest.raises(UserError, match="AES-GCM-SIV"):
        make_one(GENERATOR, KEY)


def test_every_image_needs_an_entry_for_its_payload(protected, recoverer):
    with pytest.raises(ValueError, match="shorter"):
        recoverer.recover([protected[0].pixels] * 2, [None])
