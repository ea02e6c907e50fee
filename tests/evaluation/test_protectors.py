import dataclasses

import numpy as np
import pytest

from configs import base
from raeg_jax.errors import DivergedError
from raeg_jax.evaluation import protectors
from raeg_jax.evaluation.protectors import FileProtector, PixelProtector, protector_of
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.learned_pattern import LearnedPattern
from raeg_jax.payload.key import Token
from tests.evaluation.evaluation_toys import files, flat_images, shift
from tests.oracles import integer_pattern
from tests.protection import generators

LABELS = np.zeros(3, np.int32)
INDEX = np.arange(3)
# Half of the second one leaves 0..255; so many clipped values find no room in the pixels.
IMAGES = flat_images([120, 245, 60], 64)


@pytest.fixture(scope="module")
def protected():
    protector = files(shift(20), 3, 64)
    return protector, protector.protect(INDEX, IMAGES, LABELS)


def test_files_come_back_bit_for_bit_from_pixels_and_from_a_chunk(protected):
    protector, batch = protected
    np.testing.assert_array_equal(protector.recover(batch), IMAGES)
    assert batch.measured["payload/in_pixels"].tolist() == [True, False, True]
    assert (batch.measured["payload/bytes"] >= 80).all()
    np.testing.assert_allclose(batch.measured["outside"], [0, 0.5, 0], atol=0.25)
    assert batch.measured["outside"][1] > 0.1
    assert (batch.sizes > 100).all()


def test_pixels_alone_lose_what_was_clipped(protected):
    protector, batch = protected
    recovered = protector.recover_from_pixels(batch)
    equal = [np.array_equal(*pair) for pair in zip(recovered, IMAGES, strict=True)]
    assert equal == [True, False, True]


def test_both_protectors_agree_up_to_the_payload(protected):
    protector, batch = protected
    pixels = PixelProtector(shift(20))
    alone = pixels.protect(INDEX, IMAGES, LABELS)
    changed = (batch.images != alone.images).any(axis=(1, 2, 3))
    assert changed.tolist() == batch.measured["payload/in_pixels"].tolist()
    # Tokens differ, and this generator has none.
    np.testing.assert_array_equal(protector.recover_from_pixels(batch), pixels.recover(alone))


def test_the_first_stages_alone_have_no_payload():
    chain = Chain((*shift(8).stages, *shift(20).stages))
    for protector in (files(chain, 3, 64), PixelProtector(chain)):
        batch = protector.protect(INDEX, IMAGES[:1].repeat(3, 0), LABELS)
        recovered = protector.first_stages(1, batch, IMAGES[:1].repeat(3, 0), LABELS)
        np.testing.assert_array_equal(recovered[:, :, :32], IMAGES[:1].repeat(3, 0)[:, :, :32] + 8)
        np.testing.assert_array_equal(recovered[:, :, 32:], IMAGES[:1].repeat(3, 0)[:, :, 32:])


def test_files_are_the_same_again_and_a_wrong_key_recovers_something_else():
    bundle = generators.quick()
    images = np.stack(generators.photographs(2, 32, 32))
    index, labels = np.array([3, 8]), np.array([0, 2], np.int32)
    first, second = (
        FileProtector(bundle, 0, 2).protect(index, images, labels),
        FileProtector(bundle, 0, 2).protect(index, images, labels),
    )
    np.testing.assert_array_equal(first.images, second.images)
    other = FileProtector(bundle, 1, 2).protect(index, images, labels)
    assert not np.array_equal(other.images, first.images)
    protector = FileProtector(bundle, 0, 2)
    np.testing.assert_array_equal(protector.recover(first), images)
    wrong = protector.recover_from_pixels(first, wrong_key=True)
    assert (wrong != images).any(axis=(1, 2, 3)).all()
    assert (first.measured["code/rounds"] >= 1).all()


def test_a_generator_that_diverged_is_named():
    with pytest.raises(DivergedError, match=r"with a lower config.optimizer.learning_rate"):
        files(shift(1e6), 3, 64).protect(INDEX, IMAGES, LABELS)


def test_fractions_have_no_payload():
    stage = shift(0.5).stages[0]

    class Fractions(type(stage.module)):
        exact = portable = False

    chain = Chain((dataclasses.replace(stage, module=Fractions()),))
    config = base.get_config()
    config.classifiers.targets = ()
    protector = protector_of(config, (), chain, {}, 4)
    assert isinstance(protector, PixelProtector)
    assert not protector.has_payload


def test_an_exact_generator_makes_files():
    bundle = generators.make(("gradient",))
    protector = protector_of(bundle.config, bundle.class_names, bundle.chain, bundle.classifiers, 4)
    assert isinstance(protector, FileProtector)
    assert protector.chain.stages[0].rounds == bundle.chain.stages[0].rounds


def chain(planes):
    stage = GradientCoupling(None, step=1.0, max_mse=1.0, token_planes=planes)
    return Chain((stage,))


def test_an_images_token_depends_on_its_number_and_the_key():
    right = protectors.draw_token(chain(2), np.array([3, 7, 7]), 16, 12)
    assert right.shape == (3, 16, 12, 2)
    np.testing.assert_array_equal(right[1], right[2])
    assert np.any(right[0] != right[1])
    wrong = protectors.draw_token(chain(2), np.array([3, 7, 7]), 16, 12, protectors.WRONG_KEY)
    assert np.all(np.any(right != wrong, axis=(1, 2, 3)))


def learned_patterns():
    patterns = LearnedPattern(generators.PATTERNS)
    return Chain((GradientCoupling(patterns, step=6.0, max_mse=30.0),))


def test_images_draw_their_pattern_by_their_number_and_the_key():
    place = protectors.draw_place(learned_patterns(), np.array([3, 7, 7]), 16, 12)
    assert np.asarray(place.box).tolist() == [[0, 0, 16, 12]] * 3
    draws = np.asarray(place.draw)
    assert draws[0] != draws[1] == draws[2]
    assert draws[0] == Token(protectors.RIGHT_KEY, protectors.nonce_of(3), 0).draw
    wrong = protectors.draw_place(learned_patterns(), INDEX, 16, 12, protectors.WRONG_KEY)
    right = protectors.draw_place(learned_patterns(), INDEX, 16, 12)
    assert np.all(np.asarray(wrong.draw) != right.draw)
    assert protectors.draw_place(chain(2), INDEX, 16, 12) is None


def test_images_get_the_pattern_that_they_drew():
    index, labels = np.arange(4), np.ones(4, np.int32)
    images = np.random.RandomState(0).randint(100, 156, (4, 16, 16, 3)).astype(np.uint8)
    protector = PixelProtector(learned_patterns())
    batch = protector.protect(index, images, labels)
    draws = np.asarray(protectors.draw_place(protector.chain, index, 16, 16).draw)
    assert len(set(draws % 2)) == 2
    found = integer_pattern.directions(generators.PATTERNS, labels, 16, 16, draws)
    for added, expected in zip(batch.images - np.float32(images), found, strict=True):
        assert np.corrcoef(added.ravel(), expected.ravel())[0, 1] > 0.85
    np.testing.assert_array_equal(protector.recover(batch), images)


def test_an_exact_generator_keeps_its_learned_patterns():
    bundle = generators.make(("shortcut",), **generators.LEARNED)
    protector = protector_of(bundle.config, bundle.class_names, bundle.chain, bundle.classifiers, 4)
    kept = protector.chain.stages[0].conditioner.patterns
    np.testing.assert_array_equal(kept, generators.PATTERNS)


def test_a_generator_without_planes_has_no_token():
    assert protectors.draw_token(chain(0), np.array([0]), 8, 8) is None
