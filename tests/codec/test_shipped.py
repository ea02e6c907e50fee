"""The generator that comes with the package: the same for ever, and its images come back."""

import numpy as np
import pytest
from skimage.data import astronaut

from raeg_jax import hiding
from raeg_jax.codec import tiles
from raeg_jax.codec.bundle import default_bundle
from raeg_jax.codec.picture import read_picture
from raeg_jax.codec.recover import Recoverer
from raeg_jax.payload import overflow
from raeg_jax.payload.key import read_key
from raeg_jax.payload.seal import open_sealed
from raeg_jax.payload.token import Token
from tests.codec.test_golden import GOLDEN
from tests.oracles import integer_generator

KEY = read_key(GOLDEN / "owner.key")
# Protected on one machine, once; 96 x 90 pixels are four tiles, three of which overlap others.
PROTECTED = GOLDEN / "small_astronaut.png"
ORIGINAL = astronaut()[20:116, 180:270]


@pytest.fixture(scope="module")
def bundle():
    return default_bundle()


def test_it_is_the_one_that_files_know(bundle):
    assert bundle.id.hex() == "10bcc0c63b6efb77"
    assert bundle.portable
    assert bundle.chain.token_planes == 2


def test_numpy_integers_recover_an_image_protected_long_ago(bundle):
    pixels, blob = hiding.extract(read_picture(PROTECTED).pixels)
    payload = open_sealed(blob, KEY)
    image = overflow.unclip(pixels, payload.overflow).astype(np.int32)
    layout = tiles.layout(*image.shape[:2], payload.tile)
    token = Token(KEY.token_key, payload.nonce, bundle.chain.token_planes)
    settings = bundle.config.generator
    for number, tile in sorted(enumerate(layout), key=lambda pair: -pair[1].turn):
        values, free = tiles.take([image], [layout], [(0, number)], 1)
        planes = token.planes(*values.shape[1:3], number)[None]
        (image[tile.rows, tile.columns],) = integer_generator.inverse(
            bundle.params, values, planes, free, blocks=settings.blocks, depth=settings.depth
        )
    np.testing.assert_array_equal(image, ORIGINAL)


@pytest.mark.slow
def test_an_image_protected_long_ago_is_recovered(bundle):
    (found,) = Recoverer(bundle, KEY).recover([read_picture(PROTECTED).pixels])
    np.testing.assert_array_equal(found.pixels, ORIGINAL)
