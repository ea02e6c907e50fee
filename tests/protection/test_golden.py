"""Payloads and the shipped generator stay for ever: what was protected once is always recovered.

Never change the files in golden/: owners have images with such payloads. A later format adds files
of its own.
"""

import json
import pathlib

import numpy as np
import pytest
from skimage.data import astronaut

from raeg_jax import hiding
from raeg_jax.image_file.read import read_image_file
from raeg_jax.payload import overflow
from raeg_jax.payload.key import Token, read_key
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import Payload, SourceMode
from raeg_jax.payload.seal import open_sealed, seal
from raeg_jax.protection import tiles
from raeg_jax.protection.loaded_generator import load_generator
from raeg_jax.protection.recover import Recoverer
from raeg_jax.protection.shipped import path_of
from tests.oracles import integer_generator
from tests.payload.payloads import equal

GOLDEN = pathlib.Path(__file__).parent / "golden"
KEY = read_key(GOLDEN / "owner.key")
# Protected on one machine, once; 96 x 90 pixels are four tiles, three of which overlap others.
PROTECTED = GOLDEN / "small_astronaut.png"
ORIGINAL = astronaut()[20:116, 180:270]


@pytest.mark.parametrize("name", ["version_1_small", "version_1_tiled", "version_1_auxiliary"])
def test_old_payloads_are_read_and_written_as_ever(name):
    blob = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    for field in {"nonce", "generator_id", "sha256", "auxiliary"} & content.keys():
        content[field] = bytes.fromhex(content[field])
    content["mode"] = SourceMode[content["mode"]]
    content["overflow"] = Overflow(content.pop("ranks"), content.pop("amounts"))
    payload = Payload(side_info=np.array(content.pop("codes")), **content)
    assert equal(open_sealed(blob, KEY), payload)
    assert seal(payload, KEY) == blob


@pytest.fixture(scope="module")
def generator():
    return load_generator(path_of("small"))


def test_the_shipped_generator_is_the_one_that_files_know(generator):
    assert generator.id.hex() == "10bcc0c63b6efb77"
    assert generator.portable
    assert generator.chain.token_planes == 2


def test_numpy_integers_recover_an_image_protected_long_ago(generator):
    pixels, blob = hiding.extract(read_image_file(PROTECTED).pixels)
    payload = open_sealed(blob, KEY)
    image = overflow.unclip(pixels, payload.overflow).astype(np.int32)
    layout = tiles.layout(*image.shape[:2], payload.tile)
    token = Token(KEY.token_key, payload.nonce, generator.chain.token_planes)
    settings = generator.config.generator
    for number, tile in sorted(enumerate(layout), key=lambda pair: -pair[1].phase):
        values, editable = tiles.take_batch([image], [layout], [(0, number)], 1)
        planes = token.planes(*values.shape[1:3], number)[None]
        (image[tile.rows, tile.columns],) = integer_generator.inverse(
            generator.params, values, planes, editable, blocks=settings.blocks, depth=settings.depth
        )
    np.testing.assert_array_equal(image, ORIGINAL)


@pytest.mark.slow
def test_an_image_protected_long_ago_is_recovered(generator):
    (found,) = Recoverer(generator, KEY).recover([read_image_file(PROTECTED).pixels])
    np.testing.assert_array_equal(found.pixels, ORIGINAL)
