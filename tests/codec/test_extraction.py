"""Where a payload is found, and what is told where there is none."""

import numpy as np
import pytest
from skimage.data import astronaut

from raeg_jax.codec import hiding
from raeg_jax.codec.errors import NotAPayloadError, TamperedPixelsError
from raeg_jax.codec.extraction import extract

PLAIN = astronaut()[:48, 200:260].copy()
MARKED = hiding.embed(PLAIN, b"payload")


@pytest.mark.parametrize("beside", [None, b"payload"])
def test_a_payload_in_the_pixels_is_found_and_its_marks_taken_away(beside):
    pixels, blob, in_pixels = extract(MARKED, beside)
    np.testing.assert_array_equal(pixels, PLAIN)
    assert (blob, in_pixels) == (b"payload", True)


@pytest.mark.parametrize("image", [PLAIN, MARKED], ids=["plain", "marked"])
def test_what_is_beside_the_pixels_counts(image):
    pixels, blob, in_pixels = extract(image, b"another")
    assert pixels is image
    assert (blob, in_pixels) == (b"another", False)


def test_nothing_and_changed_pixels_are_told():
    with pytest.raises(NotAPayloadError, match="no payload is in the pixels, and none is beside"):
        extract(PLAIN, None)
    changed = MARKED.copy()
    changed[-1, -1] ^= 1
    with pytest.raises(TamperedPixelsError, match="the pixels have been changed since"):
        extract(changed, None)
    assert extract(changed, b"payload").blob == b"payload"
