"""The functions for arrays, as users call them."""

import numpy as np
import pytest

import raeg_jax
from raeg_jax.codec.errors import NotAPayloadError
from tests.codec.bundles import photographs, quick
from tests.codec.payloads import KEY


def test_arrays_of_any_sizes_are_protected_and_come_back():
    bundle = quick()
    images = [*photographs(2, 32, 32), *photographs(1, 5, 7)]
    protected = raeg_jax.protect(images, bundle, KEY, labels=[0, 1, 2], batch_size=3)
    assert all(np.any(one.pixels != x) for one, x in zip(protected, images, strict=True))
    given = [one.pixels for one in protected]
    recovered = raeg_jax.recover(given, bundle, KEY, blobs=[one.blob for one in protected])
    for image, found in zip(images, recovered, strict=True):
        np.testing.assert_array_equal(found.pixels, image)
    assert [one.label for one in recovered] == [0, 1, 2]
    with pytest.raises(NotAPayloadError, match="image 2: no payload is in the pixels"):
        raeg_jax.recover(given, bundle, KEY)


def test_other_names_are_still_unknown():
    with pytest.raises(AttributeError, match="'raeg_jax' has no attribute 'recovery'"):
        _ = raeg_jax.recovery
