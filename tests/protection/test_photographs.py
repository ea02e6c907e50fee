"""Generators whose gradient stage sees whole photographs: protecting and recovering with them.

`Protector` recovers what it gives out, and raises an error where that isn't the original.
"""

import numpy as np
import pytest

from raeg_jax import hiding
from raeg_jax.errors import DivergedError, UserError
from raeg_jax.generator.photograph import COLUMNS
from raeg_jax.image.metrics import file_mse, psnr_of_mse
from raeg_jax.payload.errors import WrongKeyError
from raeg_jax.payload.key import Key, Token
from raeg_jax.payload.overflow import unclip
from raeg_jax.payload.seal import open_sealed
from raeg_jax.protection import passes
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from raeg_jax.protection.predict import predict_labels
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recoverer
from tests.networks import tiny_published
from tests.payload.payloads import KEY
from tests.protection.generators import BOTH, make, photographs, published

SETTINGS = {
    "generator.gradient.arithmetic": "fixed",
    "generator.gradient.views": ("crop", "whole+jpeg:75"),
    "generator.gradient.attack_steps": 2,
    "generator.gradient.momentum": 0.9,
    "generator.gradient.others": 20,
    "generator.gradient.rounds": 8,
    "generator.gradient.target_psnr": 38.0,
    "loss.target_psnr": 41.0,
}
# Smaller and larger than a working image.
IMAGES = [image for size in [(40, 52), (330, 300), (33, 90)] for image in photographs(1, *size)]


@pytest.fixture(autouse=True, scope="module")
def _tiny():
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny_published.register(monkeypatch)
        yield


@pytest.fixture(scope="module")
def generator(_tiny):
    return published(("gradient",), tiny_published.classifier(), **SETTINGS)


@pytest.fixture(scope="module")
def protected(generator):
    return Protector(generator, KEY).protect(IMAGES)


@pytest.fixture(scope="module")
def both(_tiny):
    return published(BOTH, tiny_published.classifier(), **SETTINGS)


def plain(one):
    """The pixels before hiding."""
    return hiding.extract(one.pixels)[0] if one.in_pixels else one.pixels


def psnr(one, image):
    return psnr_of_mse(file_mse(plain(one), image))


def recover(generator, protected, key=KEY):
    blobs = [None if one.in_pixels else one.blob for one in protected]
    return Recoverer(generator, key).recover([one.pixels for one in protected], blobs)


def test_photographs_of_several_sizes_come_back_with_the_generator_s_file(
    generator, protected, tmp_path
):
    save_generator(tmp_path / "generator", generator)
    loaded = load_generator(tmp_path / "generator")
    assert loaded.id == generator.id
    recovered = recover(loaded, protected[::-1])[::-1]
    read = predict_labels(generator, IMAGES, 3)
    for image, one, back, label in zip(IMAGES, protected, recovered, read, strict=True):
        np.testing.assert_array_equal(back.pixels, image)
        assert abs(psnr(one, image) - 38) < 0.3
        assert one.label == back.label == label
        payload = open_sealed(one.blob, KEY)
        assert (payload.tile, payload.portable) == (0, True)
        assert payload.side_info.shape == (1, len(COLUMNS))


def test_all_photographs_share_batches_whatever_tiles_somebody_asks_for(generator):
    shape, other = Protector(generator, KEY).shape, Protector(generator, KEY, tile=32).shape
    assert shape(5, 7) == shape(9000, 1) == other(33, 64)


@pytest.mark.parametrize("target", [42, 55.5])
def test_a_psnr_is_kept_and_payloads_name_the_strength(generator, target):
    """At 55.5 dB the step is `least_step` and not a share of the reach, as it is at 38."""
    (one,) = Protector(generator, KEY, psnr=target).protect(IMAGES[:1])
    assert abs(psnr(one, IMAGES[0]) - target) < 0.3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (58.5, r"psnr=58.5 is impossible: it must be a number between 5 and 58"),
        (float("nan"), "psnr=nan is impossible"),
        (57, "attack_steps=20 at target_psnr=57.0 .* use at most 14, a lower PSNR"),
    ],
)
def test_an_impossible_psnr_is_told(target, message):
    steps = {"generator.gradient.attack_steps": 20}
    generator = published(("gradient",), tiny_published.classifier(), **SETTINGS | steps)
    with pytest.raises(UserError, match=message):
        Protector(generator, KEY, psnr=target)


def test_a_psnr_of_tiles_or_above_that_of_the_stage_before_is_told(both):
    with pytest.raises(UserError, match="psnr=42 can't be chosen for this generator, which has"):
        Protector(make(("gradient",)), KEY, psnr=42)
    with pytest.raises(UserError, match=r"loss\.target_psnr=41\.0 must be above .*_psnr=42\.0"):
        Protector(both, KEY, psnr=42)


def test_after_a_learned_stage_of_tiles_each_tile_has_what_the_photograph_has(both):
    (one,) = Protector(both, KEY).protect(IMAGES[:1])
    payload = open_sealed(one.blob, KEY)
    assert (payload.tile, payload.side_info.shape) == (32, (4, len(COLUMNS)))
    assert len(np.unique(payload.side_info, axis=0)) == 1
    assert passes.kind(both.chain, 40, 52, 32) == (32, 32)


def test_neither_another_key_nor_another_nonce_undoes_it(generator, protected):
    (error,) = recover(generator, protected[:1], Key(bytes(32)))
    assert isinstance(error, WrongKeyError)
    payload = open_sealed(protected[0].blob, KEY)
    values, chain = unclip(plain(protected[0]), payload.overflow), generator.chain
    tokens = [
        Token(*each, chain.token_planes)
        for each in ((bytes(32), payload.nonce), (KEY.token_key, bytes(12)))
    ]
    undone = passes.inverse(chain, [values] * 2, [payload.side_info] * 2, tokens, [0] * 2, 2)
    assert all(file_mse(each, IMAGES[0]) > 1 for each in undone)


def test_values_beyond_16_bits_are_refused(both, monkeypatch):
    far = [np.full((40, 52, 3), 40_000)]
    monkeypatch.setattr(passes, "_forward_tiles", lambda *_: (far, [np.empty((4, 0))]))
    with pytest.raises(DivergedError, match=r"takes samples 39745 beyond 0\.\.255"):
        Protector(both, KEY).protect(IMAGES[:1])
