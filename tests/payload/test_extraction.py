"""Where a payload is found, and the errors where there is none."""

import numpy as np
import pytest
from skimage.data import astronaut

from raeg_jax import hiding
from raeg_jax.payload.errors import NotAPayloadError, TamperedPixelsError
from raeg_jax.payload.extraction import extract_payload

PLAIN = astronaut()[:48, 200:260].copy()
MARKED = hiding.embed(PLAIN, b"payload")
CHANGED = MARKED.copy()
CHANGED[-1, -1] ^= 1


@pytest.mark.parametrize("beside", [None, b"payload"])
def test_a_payload_in_the_pixels_is_found_and_its_marks_taken_away(beside):
    pixels, blob, in_pixels = extract_payload(MARKED, beside)
    np.testing.assert_array_equal(pixels, PLAIN)
    assert (blob, in_pixels) == (b"payload", True)


@pytest.mark.parametrize("image", [PLAIN, MARKED, CHANGED], ids=["plain", "marked", "changed"])
def test_what_is_beside_the_pixels_counts(image):
    pixels, blob, in_pixels = extract_payload(image, b"another")
    assert pixels is image
    assert (blob, in_pixels) == (b"another", False)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (PLAIN, NotAPayloadError, "no payload is in the pixels, and none is beside"),
        (CHANGED, TamperedPixelsError, "the pixels have been changed since"),
    ],
    ids=["plain", "changed"],
)
def test_pixels_without_a_payload_are_refused(image, error, message):
    with pytest.raises(error, match=message):
        extract_payload(image, None)
