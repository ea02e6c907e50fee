import dataclasses
import math

import jax
import numpy as np
import pytest

from raeg_jax import hiding
from raeg_jax.errors import UserError
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.image import metrics
from raeg_jax.payload.key import Token
from raeg_jax.payload.overflow import unclip
from raeg_jax.payload.payload import SourceMode
from raeg_jax.payload.seal import open_sealed
from raeg_jax.protection import passes, protect
from raeg_jax.protection.predict import predict_labels
from raeg_jax.protection.protect import Protector, UnrecoverableError
from raeg_jax.protection.recover import Recoverer
from tests.networks import tiny_published
from tests.payload.payloads import KEY
from tests.protection.generators import BOTH, WITH_CLASSES, make, photographs, published, quick


@pytest.fixture(scope="module")
def generator():
    return quick()


@pytest.fixture(scope="module")
def protector(generator):
    return Protector(generator, KEY, batch_size=3, tile=32)


def blobs(protected):
    """What must be kept beside the pixels."""
    return [None if one.in_pixels else one.blob for one in protected]


def check_round_trip(generator, protector, images, labels):
    before = [image.copy() for image in images]
    protected = protector.protect(images, labels)
    recoverer = Recoverer(generator, KEY, batch_size=3)
    recovered = recoverer.recover([one.pixels for one in protected], blobs(protected))
    for image, own, one, found in zip(images, before, protected, recovered, strict=True):
        np.testing.assert_array_equal(image, own)
        assert one.pixels.shape == image.shape
        assert one.pixels.dtype == np.uint8
        assert np.any(one.pixels != image)
        np.testing.assert_array_equal(found.pixels, image)
        assert found.in_pixels == one.in_pixels
        psnr = metrics.psnr(one.pixels[None], image[None])[0]
        np.testing.assert_allclose(one.psnr, psnr, rtol=1e-6)
    return protected, recovered


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (32, 32), (70, 41)])
def test_images_of_any_size_come_back_exactly(generator, protector, size):
    images, labels = photographs(4, *size), [2, 0, np.int64(1), 2]
    protected, recovered = check_round_trip(generator, protector, images, labels)
    assert [one.label for one in protected] == labels
    assert [one.label for one in recovered] == labels
    assert all(type(one.label) is int for one in protected)
    assert all(one.in_pixels == (min(size) >= 32) for one in protected)


def test_a_learned_stage_needs_no_label_and_no_classifier():
    generator = make(("learned",), ())
    protector = Protector(generator, KEY, batch_size=3, tile=32)
    protected, recovered = check_round_trip(generator, protector, photographs(2, 35, 32), [1, None])
    assert [one.label for one in protected] == [1, None]
    assert [one.label for one in recovered] == [None, None]


def test_a_shortcut_stage_goes_there_and_back_with_classes_said_or_read():
    generator = make(("shortcut",), **{"generator.gradient.rounds": 3})
    protector = Protector(generator, KEY, batch_size=3, tile=32)
    images = photographs(2, 35, 32)
    (read,) = predict_labels(generator, images[1:], 3)
    protected, recovered = check_round_trip(generator, protector, images, [1, None])
    assert [one.label for one in protected] == [one.label for one in recovered] == [1, read]


def test_class_planes_are_those_of_classes_said_or_read():
    generator = make(("learned",), **WITH_CLASSES)
    protector = Protector(generator, KEY, batch_size=3, tile=32)
    images = photographs(2, 35, 32)
    (read,) = predict_labels(generator, images[1:], 3)
    protected, recovered = check_round_trip(generator, protector, images, [1, None])
    assert [one.label for one in protected] == [one.label for one in recovered] == [1, read]
    payload = open_sealed(protected[0].blob, KEY)
    assert payload.side_info.tolist() == [[1], [1]]
    # Without the class nobody recovers.
    values = unclip(hiding.extract(protected[0].pixels)[0], payload.overflow)
    tokens = [token(generator, nonce=payload.nonce)]
    for label in (1, 2):
        table = np.full_like(payload.side_info, label)
        (found,) = passes.inverse(generator.chain, [values], [table], tokens, [32], 3)
        assert np.array_equal(found, images[0]) == (label == 1)


@pytest.mark.slow
def test_stages_and_classifiers_of_all_kinds_work_on_tiles_narrower_than_they_take():
    generator = make(BOTH)
    check_round_trip(generator, Protector(generator, KEY, batch_size=2), photographs(1, 21, 5), [2])


@pytest.mark.parametrize(
    "generator",
    [
        pytest.param(make(("learned",)), id="learned", marks=pytest.mark.slow),
        pytest.param(quick(), id="gradient"),
    ],
)
def test_another_key_or_nonce_undoes_nothing(generator):
    (image,) = photographs(1, 37, 35)
    values, table = passes.forward(
        generator.chain, [image], np.array([1], np.int32), [token(generator)], [0], 1
    )

    def undo(*changes):
        return passes.inverse(generator.chain, values, table, [token(generator, *changes)], [0], 1)[
            0
        ]

    np.testing.assert_array_equal(undo(), image)
    assert np.any(undo(bytes(32)) != image)
    assert np.any(undo(KEY.token_key, bytes(12)) != image)


def token(generator, key=KEY.token_key, nonce=b"twelve bytes"):
    return Token(key, nonce, generator.chain.token_planes)


@pytest.mark.slow
def test_of_several_tries_the_one_that_misleads_most_is_kept(monkeypatch):
    generator, images, seen = make(("learned",)), photographs(3, 33, 40), []

    def brightness(_, attempts, labels, batch_size):
        assert labels.tolist() == [0, 1, 2]
        seen.append([image.mean() for image in attempts])
        return np.array(seen[-1])

    monkeypatch.setattr(protect, "attack_losses", brightness)
    protected = Protector(generator, KEY, batch_size=3, tries=4).protect(images, [0, 1, 2])
    assert len(seen) == 4
    assert np.all(np.ptp(seen, axis=0) > 0)
    kept = [hiding.extract(one.pixels)[0].mean() for one in protected]
    np.testing.assert_array_equal(kept, np.min(seen, axis=0))
    found = Recoverer(generator, KEY).recover([one.pixels for one in protected], blobs(protected))
    for image, one in zip(images, found, strict=True):
        np.testing.assert_array_equal(one.pixels, image)


@pytest.mark.parametrize(
    ("tries", "stage", "changes", "message"),
    [
        (0, "learned", {}, "tries=0 is impossible"),
        (2, "learned", {"classifiers": ()}, "lacks resnet_small.*--classifier resnet_small"),
        (2, "gradient", {"generator.token_planes": 0}, "no token planes"),
    ],
)
def test_tries_that_make_no_sense_are_told(tries, stage, changes, message):
    with pytest.raises(UserError, match=message):
        Protector(make((stage,), **changes), KEY, tries=tries)


def test_sizes_may_be_mixed(generator, protector):
    images = [*photographs(2, 32, 32), *photographs(1, 5, 7), *photographs(2, 32, 32)]
    labels = [0, 1, 2, 2, 1]
    protected, _ = check_round_trip(generator, protector, images, labels)
    assert [one.label for one in protected] == labels


def test_no_images_are_no_work(protector):
    assert protector.protect([]) == []


def test_a_label_that_nobody_says_is_read_from_the_image(generator, protector):
    images = photographs(4, 32, 32)
    protected = protector.protect(images, [None, 1, None, None])
    read = predict_labels(generator, images, 3).tolist()
    expected = [read[0], 1, *read[2:]]
    assert [one.label for one in protected] == expected
    assert [open_sealed(one.blob, KEY).side_info[0, 0] for one in protected] == expected


def test_the_payload_has_all_that_recovery_needs(generator, protector):
    images = photographs(2, 70, 41)
    modes, orientations = [SourceMode.GREY, SourceMode.RGBA], [6, 1]
    protected = protector.protect(images, [1, 2], modes, orientations)
    payloads = [open_sealed(one.blob, KEY) for one in protected]
    for payload, mode, orientation in zip(payloads, modes, orientations, strict=True):
        assert (payload.height, payload.width, payload.tile) == (70, 41, 32)
        assert payload.side_info.shape == (6, 3)
        assert (payload.mode, payload.orientation) == (mode, orientation)
        assert payload.generator_id == generator.id
    assert payloads[0].nonce != payloads[1].nonce
    recovered = Recoverer(generator, KEY).recover([one.pixels for one in protected])
    assert [one.mode for one in recovered] == modes
    assert [one.orientation for one in recovered] == orientations


def test_a_generator_in_floating_point_is_recovered_in_batches_of_the_same_size(
    generator, protector, monkeypatch
):
    sizes = []
    inverse = passes.inverse
    monkeypatch.setattr(passes, "inverse", lambda *a: sizes.append(a[-1]) or inverse(*a))
    (one,) = protector.protect(photographs(1, 32, 32), [0])
    assert open_sealed(one.blob, KEY).batch == 3
    Recoverer(generator, KEY, batch_size=2).recover([one.pixels])
    monkeypatch.setattr(GradientCoupling, "portable", True)
    (one,) = protector.protect(photographs(1, 32, 32), [0])
    assert open_sealed(one.blob, KEY).portable
    Recoverer(generator, KEY, batch_size=2).recover([one.pixels])
    assert sizes == [3, 3, 3, 2]


def test_an_image_without_room_keeps_its_payload_beside_it(generator, protector):
    image = np.random.RandomState(0).randint(0, 256, (12, 12, 3)).astype(np.uint8)
    (one,) = protector.protect([image], [0])
    assert not one.in_pixels
    # The values of the generator, without marks.
    payload = open_sealed(one.blob, KEY)
    values = unclip(one.pixels, payload.overflow)
    own = [token(generator, nonce=payload.nonce)]
    back = passes.inverse(generator.chain, [values], [payload.side_info], own, [0], 3)
    np.testing.assert_array_equal(back[0], image)


def test_a_payload_that_would_harm_the_image_stays_beside_it(generator, monkeypatch):
    # The same token for both.
    protector = Protector(generator, KEY, batch_size=3, nonces=lambda: b"twelve bytes")
    images = photographs(1, 32, 32)
    (inside,) = protector.protect(images, [0])
    plain, _ = hiding.extract(inside.pixels)
    cost = metrics.psnr(inside.pixels[None], plain[None])[0]
    monkeypatch.setattr(protect, "MIN_MARKED_PSNR", cost + 1)
    (beside,) = protector.protect(images, [0])
    assert inside.in_pixels
    assert not beside.in_pixels
    np.testing.assert_array_equal(beside.pixels, plain)


def test_equal_images_have_an_infinite_psnr(monkeypatch):
    monkeypatch.setattr(protect, "MIN_MARKED_PSNR", math.inf)
    generator = make(("learned",), ())
    identity = dataclasses.replace(generator, params=jax.tree.map(np.zeros_like, generator.params))
    (one,) = Protector(identity, KEY, batch_size=3).protect(photographs(1, 32, 32))
    assert one.psnr == math.inf


def test_what_would_not_come_back_is_not_given_out(protector, monkeypatch):
    """Backwards, something else is computed for one image."""
    images = photographs(5, 32, 32)
    inverse = passes.inverse

    def faulty(*args):
        found = inverse(*args)
        found[-1][3, 4, 1] ^= 1
        return found

    monkeypatch.setattr(passes, "inverse", faulty)
    with pytest.raises(
        UnrecoverableError, match=r"images 4 \(the first has 32 x 32 .* report it"
    ) as caught:
        protector.protect(images, [0] * 5)
    assert caught.value.indices == (4,)
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), r"image 1 is float64 \[4, 4, 3\]: convert it to uint8"),
        (np.zeros((4, 4), np.uint8), r"image 1 is uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"image 1 is uint8 \[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"image 1 is uint8 \[0, 4, 3\]"),
        ("photo.jpg", "image 1 is str, not a NumPy array"),
        (np.broadcast_to(np.uint8(0), (1, 2**24, 3)), "has 16777216 x 1 pixels: sides have"),
    ],
)
def test_what_is_no_image_is_told(generator, protector, image, message):
    images = [*photographs(1, 32, 32), image]
    with pytest.raises(UserError, match=message):
        protector.protect(images, [0, 0])
    with pytest.raises(UserError, match=message):
        Recoverer(generator, KEY).recover(images)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_of_no_class_is_told(protector, label):
    assert len(protector.classes) == 3
    with pytest.raises(UserError, match=f"label {label} of image 1 is no class: they are 0 to 2"):
        protector.protect(photographs(2, 32, 32), [0, label])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"tile": 31}, "tile=31 is impossible: it must be 32 at least"),
        ({"tile": 0}, "tile=0 is impossible"),
        ({"batch_size": 0}, "batch_size=0 is impossible"),
        ({"batch_size": 2**24}, "batch_size=16777216 is impossible"),
    ],
)
def test_impossible_numbers_are_told(generator, numbers, message):
    with pytest.raises(UserError, match=message):
        Protector(generator, KEY, **numbers)


@pytest.mark.parametrize("kind", [Protector, Recoverer])
def test_generators_of_fractions_are_refused(kind):
    generator = make(("learned",), (), **{"generator.coupling": "affine"})
    with pytest.raises(UserError, match="coupling='affine' can't be undone exactly: use"):
        kind(generator, KEY)


def test_published_targets_say_the_class_whatever_the_owner_says(monkeypatch):
    tiny_published.register(monkeypatch)
    generator = published(("gradient",), tiny_published.classifier())
    protector = Protector(generator, KEY, batch_size=3, tile=32)
    images = photographs(3, 50, 40)
    read = predict_labels(generator, images, 3).tolist()
    # Not those of tiles, and no data set has so many classes.
    protected, recovered = [], []
    for labels in ([0, 1, None], [5000, None, 2]):
        protected, recovered = check_round_trip(generator, protector, images, labels)
        assert [one.label for one in protected] == read
        assert [one.label for one in recovered] == read
