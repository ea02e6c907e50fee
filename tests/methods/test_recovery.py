"""Originals come back with the key alone, and whatever is wrong has its own error."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax import hiding
from raeg_jax.methods.recovery import TRANSFORMS, estimate, recover
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
from tests.methods.protected import HEIGHT, pictures, protected
from tests.payload.payloads import KEY

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
