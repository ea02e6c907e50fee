import dataclasses
import hashlib

import numpy as np
import pytest

from raeg_jax import hiding
from raeg_jax.cli.inspect import _generator_lines, _payload_lines
from raeg_jax.image_file.read import read_image_file
from raeg_jax.payload.payload import SourceMode, digest
from raeg_jax.payload.seal import seal
from tests.cli.conftest import KEY, pixels, save
from tests.payload.payloads import SMALL
from tests.protection import generators


def shown(result):
    pairs = (line.split(":", 1) for line in result.out.splitlines())
    return {name: text.strip() for name, text in pairs}


@pytest.fixture
def protected(raeg, tmp_path):
    original = save(tmp_path / "a.png", pixels(height=30)[..., 0])
    raeg("protect", original, tmp_path / "protected.png")
    return tmp_path / "protected.png"


PUBLIC = {"file", "metadata", "payload", "payload format", "generator", "key", "nonce"}


def test_no_codes_are_none():
    payload = dataclasses.replace(SMALL, tile=16, side_info=np.zeros((16, 0)))
    assert _payload_lines(payload)["codes"] == "none"


def test_without_key_only_the_outside_is_reported(raeg, protected):
    lines = shown(raeg("inspect", protected))
    assert lines.keys() == PUBLIC
    assert lines["file"] == "PNG, 24 x 30 pixels"
    assert lines["payload"].endswith(" bytes hidden in the pixels")
    assert lines["generator"] == b"generato".hex()
    assert lines["key"] == KEY.id
    grey = pixels(height=30)[..., :1].repeat(3, axis=-1)
    assert lines["nonce"] == hashlib.sha256(grey.tobytes()).hexdigest()[:24]


def test_with_key_all_is_reported(raeg, protected):
    lines = shown(raeg("inspect", protected, "--key", raeg.key))
    grey = pixels(height=30)[..., :1].repeat(3, axis=-1)
    assert {name: text for name, text in lines.items() if name not in PUBLIC} == {
        "original": "grey, 24 x 30 pixels, EXIF orientation 1",
        "SHA-256 of its pixels": digest(grey).hex(),
        "recovery": "on any machine",
        "tiles": "one",
        "codes": "3",
        "values outside 0..255": "0",
    }


def test_tiles_and_machines_are_reported(raeg, tmp_path):
    payload = dataclasses.replace(
        SMALL, tile=16, batch=8, mode=SourceMode.GREY_ALPHA, side_info=np.arange(16)[:, None]
    )
    image = pixels(height=64, width=64)
    save(tmp_path / "a.png", hiding.embed(image, seal(payload, KEY)))
    lines = shown(raeg("inspect", tmp_path / "a.png", "--key", raeg.key))
    assert lines["original"] == "grey with alpha, 64 x 64 pixels, EXIF orientation 1"
    assert lines["recovery"] == "on the same machine only, in batches of 8"
    assert lines["tiles"] == "16 of 16 pixels a side"
    assert lines["codes"] == "0; 1; 2; 3; and 12 more"
    assert lines["values outside 0..255"] == "3"


def test_a_payload_beside_the_pixels_is_reported(raeg, tmp_path):
    original = save(tmp_path / "a.png", pixels(height=8))
    raeg("protect", original, tmp_path / "b.png")
    assert shown(raeg("inspect", tmp_path / "b.png"))["payload"].endswith(" bytes in a PNG chunk")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("original", "a.png: no payload is in the pixels, and none is beside them: give an"),
        (
            "changed",
            "protected.png: the pixels have been changed since the image was protected: take",
        ),
        ("key", "protected.png: locked by the key"),
        ("missing", "missing.png doesn't exist"),
    ],
)
def test_what_is_wrong_is_reported(raeg, protected, tmp_path, change, message):
    path = {"original": tmp_path / "a.png", "missing": tmp_path / "missing.png"}.get(
        change, protected
    )
    arguments = []
    if change == "changed":
        image = np.array(read_image_file(protected).pixels)
        image[-2, -2] ^= 1
        save(protected, image)
    if change == "key":
        raeg("keygen", tmp_path / "other.key")
        arguments = ["--key", tmp_path / "other.key"]
    result = raeg("inspect", path, *arguments, status=2)
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_generator_says_how_many_patterns_it_learned():
    lines = _generator_lines(generators.make(("shortcut",), **generators.LEARNED))
    assert lines["patterns"] == "2 for each of 3 classes, 8 x 8 cells"
    assert "patterns" not in _generator_lines(generators.make(("shortcut",)))
