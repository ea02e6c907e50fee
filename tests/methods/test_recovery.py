"""Originals come back with the key alone, and whatever is wrong has its own error."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax import hiding
from raeg_jax.methods.recovery import TRANSFORMS, ShippedRecoverer, estimate, recover
from raeg_jax.methods.transform import NAMES, name_of, transform_id
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NotAPayloadError,
    OtherGeneratorError,
    TamperedPixelsError,
    WrongKeyError,
)
from raeg_jax.payload.key import Key
from raeg_jax.payload.seal import open_sealed, read_public_header, seal
from raeg_jax.protection import shipped
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recoverer
from tests.methods.protected import HEIGHT, pictures, protected
from tests.payload.payloads import KEY
from tests.protection import generators

# Never change these files: owners have such images. A later format adds files of its own.
GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(params=TRANSFORMS)
def method(request):
    return request.param


@pytest.mark.parametrize("name", ["rae_4", "rit_2", "rit_4_classes_stay", "rit_4_classes_move"])
def test_old_images_are_recovered(name):
    image, original = (np.asarray(Image.open(GOLDEN / f"{x}.png")) for x in (name, "original"))
    assert not np.array_equal(image, original)
    np.testing.assert_array_equal(recover(image, KEY).pixels, original)


def test_ids_stay_what_they_are(method):
    expected = {"rae": "b54a84912c9de27c", "rit": "88ebc24563bcd9b7"}[method]
    assert transform_id(method).hex() == expected
    assert name_of(read_public_header(protected(method)[0].blob).generator_id) == method
    assert name_of(bytes(8)) is None
    assert tuple(TRANSFORMS) == NAMES


def test_changed_images_give_something_near_the_original_where_their_payload_was_kept():
    """The perturbation is taken off; the change and the marks of hiding stay."""

    def error(image, original):
        return np.mean((image.astype(float) - original) ** 2)

    for original, attempt in zip(pictures(), protected("rae"), strict=True):
        changed = attempt.pixels ^ 1
        found = estimate(changed, KEY, attempt.blob)
        assert 0 < error(found, original) < error(changed, original) / 2
        with pytest.raises(TamperedPixelsError, match="had 33 x 40 when it was protected"):
            estimate(changed[1:], KEY, attempt.blob)


def test_a_wrong_key_is_told(method):
    with pytest.raises(WrongKeyError, match="give the owner's key"):
        recover(protected(method)[0].pixels, Key(bytes(32)))


def test_a_changed_pixel_is_told_or_undone(method):
    """Where hiding writes over a sample, its value does not matter."""
    told = 0
    for place in [(0, 20, 1), (10, 7, 2), (20, 20, 0), (39, 32, 2)]:
        changed = protected(method)[0].pixels.copy()
        changed[place] ^= 1
        try:
            np.testing.assert_array_equal(recover(changed, KEY).pixels, pictures()[0])
        except (TamperedPixelsError, NotAPayloadError):
            told += 1
    assert told >= 3


def test_shipped_generators_recover_their_images_beside_those_of_other_methods(monkeypatch):
    """In whatever order, payload in the pixels or beside them; each is made once, if needed."""
    one, other = (
        generators.quick(),
        generators.make(("gradient",), **{"generator.gradient.kappa": 3.0}),
    )
    vars(other)["chain"] = one.chain
    known = {"one": one, "other": other, "unused": None}
    ids = {"one": one.id, "other": other.id, "unused": bytes(8)}
    monkeypatch.setattr(shipped, "SHIPPED", ids)
    originals = [*generators.photographs(3, 32, 32), *generators.photographs(1, 5, 7)]
    first, second = (
        Protector(each, KEY, batch_size=3).protect(originals, [0, 1, 2, 1]) for each in (one, other)
    )
    unknown = dataclasses.replace(open_sealed(first[3].blob, KEY), generator_id=b"stranger")
    made = []

    def make(name):
        made.append(name)
        return Recoverer(known[name], KEY, batch_size=3)

    recoverer = ShippedRecoverer(KEY, make)
    images = [first[0].pixels, second[3].pixels, protected("rae")[0].pixels, second[1].pixels]
    images += [first[2].pixels, first[3].pixels, originals[0], first[1].pixels ^ 1]
    blobs = [None, second[3].blob, None, None, None, seal(unknown, KEY), None, None]
    results = recoverer.recover(images, blobs)
    expected = [originals[0], originals[3], pictures()[0], originals[1], originals[2]]
    for result, original in zip(results, expected, strict=False):
        np.testing.assert_array_equal(result.pixels, original)
    assert [result.in_pixels for result in results[:5]] == [True, False, True, True, True]
    assert [result.generator_id for result in results[:5]] == [
        *(one.id, other.id, transform_id("rae"), other.id, one.id)
    ]
    assert [result.label for result in results[:5]] == [0, 1, None, 1, 2]
    stranger, none, changed = results[5:]
    assert isinstance(stranger, OtherGeneratorError)
    assert f"generator {b'stranger'.hex()}, and raeg-jax comes with one and other" in str(stranger)
    assert isinstance(none, NotAPayloadError)
    assert isinstance(changed, TamperedPixelsError | NotAPayloadError)
    assert made == ["one", "other"]
    recoverer.recover(images[:1], blobs[:1])
    assert made == ["one", "other"]
    (refused,) = ShippedRecoverer(Key(bytes(32)), make).recover(images[:1], blobs[:1])
    assert isinstance(refused, WrongKeyError)
    assert made == ["one", "other"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"auxiliary": b"\0"}, DamagedPayloadError, "auxiliary data make no sense"),
        ({"auxiliary": b"\4\0"}, DamagedPayloadError, "auxiliary data make no sense"),
        ({"auxiliary": bytes(40)}, DamagedPayloadError, "auxiliary data make no sense"),
        ({"height": HEIGHT + 1}, TamperedPixelsError, "33 x 40 pixels and had 33 x 41"),
        ({"generator_id": bytes(8)}, OtherGeneratorError, "neither by RAE nor by RIT"),
        # Never a near miss.
        ({"auxiliary": None}, (TamperedPixelsError, DamagedPayloadError), None),
    ],
)
def test_payloads_that_do_not_fit_are_told(method, change, error, message):
    """Changed by one who has the key; None stands for the auxiliary data of another image."""
    if None in change.values():
        change = {"auxiliary": open_sealed(protected(method)[1].blob, KEY).auxiliary}
    unmarked, blob = hiding.extract(protected(method)[0].pixels)
    payload = dataclasses.replace(open_sealed(blob, KEY), **change)
    with pytest.raises(error, match=message):
        recover(unmarked, KEY, seal(payload, KEY))
