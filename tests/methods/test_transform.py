"""What holds for both transforms: exact inverses, and faults of their data told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raeg_jax.methods.rae import RAE
from raeg_jax.methods.rit import RIT
from tests.methods.toys import KINDS, PICTURES, SEEDS, disturbed, picture

RITS = st.builds(
    RIT,
    classes=st.sampled_from([1, 2, 6, 255]),
    quantum=st.sampled_from([1, 8]),
    limit=st.sampled_from([0, 8, 255]),
    smooth=st.sampled_from([0, 6]),
    stay=st.booleans(),
)


@pytest.mark.parametrize("transforms", [st.builds(RAE), RITS], ids=["rae", "rit"])
@settings(derandomize=True, max_examples=60)
@given(st.data(), PICTURES, st.sampled_from([1, 8, 60]), SEEDS)
def test_any_image_comes_back(transforms, data, image, size, seed):
    transform, side = data.draw(transforms), data.draw(st.sampled_from([1, 2, 3, 4, 5, 6, 16, 255]))
    made = transform.apply(image, disturbed(image, size, seed), side)
    np.testing.assert_array_equal(transform.invert(made.values, made.auxiliary), image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [RAE(), RIT(classes=6)])
def test_changed_auxiliary_data_are_told_or_read(transform, kind):
    image = picture(kind, 13, 10)
    made = transform.apply(image, disturbed(image), 4)
    with pytest.raises(ValueError, match="1 bytes too many"):
        transform.invert(made.values, made.auxiliary + b"\0")
    for position in range(len(made.auxiliary)):
        with pytest.raises((ValueError, IndexError)):
            transform.invert(made.values, made.auxiliary[:position])
        for flipped in (1, 255):
            changed = bytearray(made.auxiliary)
            changed[position] ^= flipped
            try:
                found = transform.invert(made.values, bytes(changed))
            except (ValueError, IndexError):
                continue
            assert found.shape == image.shape
