"""Images protected once are recovered for ever.

Never change the files in golden/: owners have such images. A later format adds files of its own.
"""

import pathlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax.baselines.recover import recover
from tests.payload.payloads import KEY

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = ("rae_4", "rit_2", "rit_4_classes_stay", "rit_4_classes_move")


@pytest.mark.parametrize("name", NAMES)
def test_old_images_are_recovered(name):
    image, original = (np.asarray(Image.open(GOLDEN / f"{x}.png")) for x in (name, "original"))
    assert not np.array_equal(image, original)
    np.testing.assert_array_equal(recover(image, KEY).pixels, original)
