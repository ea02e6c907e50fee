"""Payloads written once are read for ever.

Never change the files in golden/: owners have images with such payloads. A later format adds files
of its own.
"""

import json
import pathlib

import numpy as np
import pytest

from raeg_jax.payload.key import read_key
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import Payload, SourceMode
from raeg_jax.payload.seal import open_sealed, seal
from tests.payload.payloads import equal

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = ["version_1_small", "version_1_tiled", "version_1_auxiliary"]


def golden(name):
    """The bytes and the expected content."""
    blob = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    content = json.loads((GOLDEN / f"{name}.json").read_text())
    for field in {"nonce", "generator_id", "sha256", "auxiliary"} & content.keys():
        content[field] = bytes.fromhex(content[field])
    content["mode"] = SourceMode[content["mode"]]
    content["side_info"] = np.array(content.pop("codes"))
    content["overflow"] = Overflow(content.pop("ranks"), content.pop("amounts"))
    return blob, Payload(**content)


@pytest.mark.parametrize("name", NAMES)
def test_old_payloads_are_read(name):
    blob, content = golden(name)
    assert equal(open_sealed(blob, read_key(GOLDEN / "owner.key")), content)


@pytest.mark.parametrize("name", NAMES)
def test_the_writer_has_not_changed_within_its_version(name):
    blob, content = golden(name)
    assert seal(content, read_key(GOLDEN / "owner.key")) == blob
