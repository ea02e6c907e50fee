"""Whole images, protected by RAE and RIT and recovered with nothing but the key."""

import numpy as np
import pytest

from raeg_jax import hiding
from raeg_jax.adversarial.losses import margin
from raeg_jax.errors import UserError
from raeg_jax.methods.protector import TransformProtector
from raeg_jax.methods.rae import RAE
from raeg_jax.methods.recovery import recover
from raeg_jax.payload.payload import SourceMode
from raeg_jax.protection.protect import UnrecoverableError
from tests.methods.protected import HEIGHT, LABELS, WIDTH, net, pictures, protect, protected
from tests.methods.toys import picture
from tests.payload.payloads import KEY


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.fixture(params=["rae", "rit"])
def method(request):
    return request.param


@pytest.mark.parametrize(("kind", "asked"), [("natural", 30), ("on white", 36)])
def test_protected_images_have_the_psnr_and_come_back_exactly(method, kind, asked):
    images = pictures(kind)
    attempts = protect(method, images, psnr=asked)
    for image, label, attempt in zip(images, LABELS, attempts, strict=True):
        assert (attempt.failure, attempt.label) == ("", label)
        assert attempt.pixels.dtype == np.uint8
        np.testing.assert_allclose(attempt.psnr, psnr(attempt.pixels, image))
        assert abs(attempt.psnr - asked) <= 0.5
        unmarked, blob = hiding.extract(attempt.pixels)
        np.testing.assert_array_equal(unmarked, attempt.unmarked)
        assert blob == attempt.blob
        np.testing.assert_array_equal(recover(attempt.pixels, KEY).pixels, image)


def test_the_payload_is_hidden_in_an_adversarial_image(method):
    for image, label, attempt in zip(pictures(), LABELS, protected(method), strict=True):
        logits = net()(np.stack([image, attempt.adversarial, attempt.unmarked]).astype(np.float32))
        assert np.all(logits[1:, label] < logits[0, label])
        assert psnr(attempt.adversarial, image) < 45
        same = np.array_equal(attempt.unmarked, attempt.adversarial)
        assert same == (method == "rae")


@pytest.mark.parametrize("attack", ["ifgsm", "cw"])
def test_other_attacks_protect_too(attack):
    before = net()(np.stack(pictures()).astype(np.float32))
    labels = np.argmax(before, axis=-1)
    attempts = protect("rae", labels=labels.tolist(), attack=attack)
    after = net()(np.stack([x.adversarial for x in attempts]).astype(np.float32))
    assert np.all(margin(after, labels) < margin(before, labels))
    if attack == "cw":
        # With this confidence attacks outlive rounding.
        assert [x.strength for x in attempts] == [1.0] * len(attempts)


def test_the_source_comes_back_with_the_pixels():
    protector = TransformProtector(RAE((4, 8)), [net()], KEY, psnr=30, steps=3)
    (attempt,) = protector.protect(pictures()[:1], [2], [SourceMode.GREY], [6])
    found = recover(attempt.pixels, KEY)
    assert (found.mode, found.orientation, found.in_pixels) == (SourceMode.GREY, 6, True)


def test_an_image_without_room_is_a_counted_failure(method):
    """Noise has none; the others of its batch are protected all the same."""
    images = pictures()
    images[1] = picture("noise", HEIGHT, WIDTH)
    attempts = protect(method, images)
    assert "no room" in attempts[1].failure
    assert (attempts[1].pixels, attempts[1].blob) == (None, b"")
    assert attempts[1].adversarial.shape == images[1].shape
    assert [attempts[i].failure for i in (0, 2)] == ["", ""]


def test_a_psnr_out_of_reach_is_a_counted_failure(method):
    for attempt in protect(method, psnr=70):
        assert "no strength of the attack gives 70 dB" in attempt.failure
        assert attempt.pixels is None


@pytest.mark.parametrize(
    ("fine", "psnr", "message"),
    [(1, 32.0, "no room"), (2, 34.0, "takes most of what 34 dB allow")],
)
def test_larger_superpixels_are_tried_where_smaller_ones_fail(fine, psnr, message):
    """For lack of room, or as hiding takes most of the distance and what is left attacks nobody."""
    alone = protect(RAE((fine,)), psnr=psnr)
    assert any(message in attempt.failure for attempt in alone)
    for attempt, before in zip(protect(RAE((fine, 8)), psnr=psnr), alone, strict=True):
        assert (attempt.failure, attempt.side) == ("", 8 if before.failure else fine)


def test_images_of_several_sizes_keep_their_order():
    images = [picture("natural", *size) for size in ((24, 30), (30, 24), (24, 30), (2, 2))]
    protector = TransformProtector(
        RAE((8,)), [lambda x: x.mean((1, 2))], KEY, psnr=32, steps=2, batch_size=2
    )
    attempts = protector.protect(images, [0, 1, 2, 0])
    assert [x.adversarial.shape for x in attempts] == [image.shape for image in images]
    assert [x.label for x in attempts] == [0, 1, 2, 0]
    assert [bool(x.failure) for x in attempts] == [False, False, False, True]
    assert protector.protect([], []) == []


@pytest.mark.parametrize("wrong", ["values", "auxiliary"])
def test_an_image_that_does_not_come_back_is_not_released(monkeypatch, wrong):
    def invert(values, auxiliary):
        if wrong == "auxiliary":
            raise ValueError
        return values

    monkeypatch.setattr(RAE, "invert", staticmethod(invert))
    with pytest.raises(UnrecoverableError, match="images 0, 1, 2"):
        protect("rae")


@pytest.mark.parametrize("label", [-1, 4, None])
def test_a_label_of_no_class_is_named(label):
    with pytest.raises(UserError, match=f"label {label} of image 1 is no class: they are 0 to 3"):
        protect("rae", labels=[0, label, 1])


def test_what_is_no_image_is_named():
    with pytest.raises(UserError, match="image 1 is float64"):
        protect("rae", [pictures()[0], pictures()[1] * 1.0, pictures()[2]])
