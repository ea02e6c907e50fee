"""Whole images, protected by both methods and recovered with nothing but the key."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax import hiding
from raeg_jax.attacks.gradient import margin
from raeg_jax.baselines import superpixels
from raeg_jax.baselines.ids import method_id
from raeg_jax.baselines.protector import BaselineProtector
from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.recover import estimate, recover
from raeg_jax.baselines.rit import RIT
from raeg_jax.errors import UserError
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NotAPayloadError,
    OtherGeneratorError,
    TamperedPixelsError,
    WrongKeyError,
)
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import SourceMode
from raeg_jax.payload.seal import open_sealed, read_public_header, seal
from raeg_jax.protection.protect import UnrecoverableError
from tests.baselines.toys import Linear, picture
from tests.payload.payloads import KEY

HEIGHT, WIDTH = 40, 33
METHODS = {"rae": RAE((4, 8)), "rit": RIT((4,), classes=6, aware=False)}
LABELS = [0, 1, 3]


@functools.cache
def net():
    return Linear(HEIGHT, WIDTH)


def pictures(kind="natural"):
    return [picture(kind, HEIGHT, WIDTH, seed) for seed in range(3)]


def protect(method, images=None, key=KEY, **settings):
    settings = {"strength": 6.0, "steps": 3, "batch_size": 3} | settings
    images = pictures() if images is None else images
    return BaselineProtector(METHODS.get(method, method), [net()], key, **settings).protect(
        images, LABELS
    )


@functools.cache
def protected(method):
    return protect(method)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.mark.parametrize("kind", ["natural", "on white"])
def test_protected_images_come_back_exactly(method, kind):
    images = pictures(kind)
    made = protect(method, images, strength=3.0)
    for image, label, one in zip(images, LABELS, made, strict=True):
        assert one.failure == ""
        assert one.label == label
        assert one.pixels.dtype == np.uint8
        np.testing.assert_allclose(one.psnr, psnr(one.pixels, image))
        unmarked, blob = hiding.extract(one.pixels)
        np.testing.assert_array_equal(unmarked, one.unmarked)
        assert blob == one.blob
        assert len(open_sealed(blob, KEY).auxiliary) == one.auxiliary_size
        np.testing.assert_array_equal(recover(one.pixels, KEY).pixels, image)


def test_what_is_hidden_in_is_adversarial(method):
    for image, label, one in zip(pictures(), LABELS, protected(method), strict=True):
        logits = net()(np.stack([image, one.adversarial, one.unmarked]).astype(np.float32))
        assert np.all(logits[1:, label] < logits[0, label])
        assert psnr(one.adversarial, image) < 45


def test_rae_hides_in_the_adversarial_image_itself():
    for one in protected("rae"):
        np.testing.assert_array_equal(one.unmarked, one.adversarial)


@pytest.mark.parametrize("attack", ["ifgsm", "cw"])
def test_other_attacks_protect_too(attack):
    before = net()(np.stack(pictures()).astype(np.float32))
    labels = np.argmax(before, axis=-1)
    protector = BaselineProtector(
        METHODS["rae"], [net()], KEY, attack=attack, strength=2.0, steps=3, batch_size=3
    )
    made = protector.protect(pictures(), labels.tolist())
    after = net()(np.stack([one.adversarial for one in made]).astype(np.float32))
    assert np.all(margin(after, labels) < margin(before, labels))


def test_confidence_is_such_that_attacks_outlive_rounding():
    protector = BaselineProtector(
        METHODS["rae"], [net()], KEY, attack="cw", psnr=30, steps=3, batch_size=3
    )
    made = protector.protect(pictures(), LABELS)
    assert [one.strength for one in made] == [1.0] * len(made)


def test_the_source_comes_back_with_the_pixels():
    protector = BaselineProtector(METHODS["rae"], [net()], KEY, strength=6.0, steps=3, batch_size=3)
    (one,) = protector.protect(pictures()[:1], [2], [SourceMode.GREY], [6])
    found = recover(one.pixels, KEY)
    assert (found.mode, found.orientation, found.in_pixels) == (SourceMode.GREY, 6, True)


@pytest.mark.parametrize("smooth_one", [RAE((4, 8)), RIT(classes=1)])
def test_the_asked_psnr_is_met(smooth_one):
    """With several classes RIT may jump over it, where a stronger attack moves blocks."""
    for one in protect(smooth_one, psnr=30, strength=None):
        assert one.failure == ""
        assert abs(one.psnr - 30) <= 0.5


def test_an_image_without_room_is_a_counted_failure(method):
    """Noise has none; the others of its batch are protected all the same."""
    images = pictures()
    images[1] = picture("noise", HEIGHT, WIDTH)
    made = protect(method, images)
    assert "no room" in made[1].failure
    assert (made[1].pixels, made[1].blob) == (None, None)
    assert made[1].adversarial.shape == images[1].shape
    assert [one.failure for one in (made[0], made[2])] == ["", ""]


def test_a_psnr_out_of_reach_is_a_counted_failure(method):
    for one in protect(method, psnr=70, strength=None):
        assert "no strength of the attack gives 70 dB" in one.failure
        assert one.pixels is None


def test_larger_superpixels_are_tried_where_smaller_ones_find_no_room():
    fine = BaselineProtector(RAE((1,)), [net()], KEY, strength=6.0, steps=3, batch_size=3)
    assert all("no room" in one.failure for one in fine.protect(pictures(), LABELS))
    both = BaselineProtector(RAE((1, 8)), [net()], KEY, strength=6.0, steps=3, batch_size=3)
    made = both.protect(pictures(), LABELS)
    assert [(one.failure, one.side) for one in made] == [("", 8)] * 3


def test_a_payload_that_takes_most_of_the_distance_counts_as_one_that_does_not_fit():
    """Hiding the fine one costs nearly 35 dB: what it leaves attacks nobody."""
    settings = {"psnr": 34.0, "strength": None}
    fine = protect(RAE((2,)), **settings)
    assert any("takes most of what 34 dB allow" in one.failure for one in fine)
    both = protect(RAE((2, 8)), **settings)
    for one, alone in zip(both, fine, strict=True):
        assert (one.failure, one.side) == ("", 8 if alone.failure else 2)


def test_large_images_are_attacked_in_tiles_of_whole_superpixels(monkeypatch):
    """The last tiles are moved inwards, and superpixels stay those of the image."""
    seen = []
    own = RAE.disguise
    monkeypatch.setattr(
        RAE, "disguise", lambda *given: seen.append(given[2] - given[1]) or own(*given)
    )
    weights = np.random.RandomState(0).randn(256, 256, 3, 2).astype(np.float32)

    def logits(images):
        height, width = images.shape[1:3]
        return jnp.tensordot(images, jnp.resize(weights, (height, width, 3, 2)), 3) / 1000

    image = np.clip(picture("natural", 300, 301), 60, 190)
    protector = BaselineProtector(RAE((24,)), [logits], KEY, strength=6.0, steps=2, batch_size=4)
    (one,) = protector.protect([image], [0])
    assert one.failure == ""
    change = seen[0].astype(np.float64)
    assert np.all(np.any(np.abs(change) > 1, axis=-1).mean((0, 1)) > 0.9)
    grid = superpixels.spread(superpixels.means(change, 24), 300, 301, 24)
    np.testing.assert_allclose(change, grid, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "sizes"), [(8, [(256, 60), (300, 60)]), (24, [(256, 256), (300, 300)])]
)
def test_images_just_as_large_as_a_tile_share_a_batch_with_larger_ones(side, sizes):
    def mean(images):
        return images.mean((1, 2))

    images = [picture("natural", *size) for size in sizes]
    protector = BaselineProtector(RAE((side,)), [mean], KEY, strength=4.0, steps=1, batch_size=2)
    for image, one in zip(images, protector.protect(images, [0, 1]), strict=True):
        np.testing.assert_array_equal(recover(one.pixels, KEY).pixels, image)


def test_what_was_changed_since_gives_something_near_the_original():
    """Where its payload was kept: the perturbation is taken off, the change and the marks stay."""
    for image, one in zip(pictures(), protected("rae"), strict=True):
        changed = one.pixels ^ 1
        found = estimate(changed, KEY, one.blob)
        assert psnr(changed, image) + 3 < psnr(found, image) < 60
        with pytest.raises(TamperedPixelsError, match="had 33 x 40 when it was protected"):
            estimate(changed[1:], KEY, one.blob)


def test_images_of_several_sizes_keep_their_order():
    def mean(images):
        return images.mean((1, 2))

    images = [picture("natural", *size) for size in ((24, 30), (30, 24), (24, 30), (2, 2))]
    protector = BaselineProtector(RAE((8,)), [mean], KEY, strength=4.0, steps=2, batch_size=2)
    made = protector.protect(images, [0, 1, 2, 0])
    assert [one.adversarial.shape for one in made] == [image.shape for image in images]
    assert [one.label for one in made] == [0, 1, 2, 0]
    assert [bool(one.failure) for one in made] == [False, False, False, True]


def test_a_wrong_key_is_told(method):
    with pytest.raises(WrongKeyError, match="give the owner's key"):
        recover(protected(method)[0].pixels, Key(bytes(32)))


def test_a_changed_pixel_is_told_or_undone(method):
    """Where hiding writes over a sample, what it says there does not matter."""
    told = 0
    for place in [(0, 20, 1), (10, 7, 2), (20, 20, 0), (39, 32, 2)]:
        changed = protected(method)[0].pixels.copy()
        changed[place] ^= 1
        try:
            np.testing.assert_array_equal(recover(changed, KEY).pixels, pictures()[0])
        except (TamperedPixelsError, NotAPayloadError):
            told += 1
    assert told >= 3


def marked_anew(method, **change):
    """A protected image whose payload was changed by one who has the key."""
    unmarked, blob = hiding.extract(protected(method)[0].pixels)
    payload = dataclasses.replace(open_sealed(blob, KEY), **change)
    return hiding.embed(unmarked, seal(payload, KEY))


def test_malformed_auxiliary_data_are_told(method):
    for auxiliary in (b"\0", b"\4\0", bytes(40)):
        with pytest.raises(DamagedPayloadError, match="auxiliary data make no sense"):
            recover(marked_anew(method, auxiliary=auxiliary), KEY)


def test_another_size_is_told(method):
    with pytest.raises(TamperedPixelsError, match="33 x 40 pixels and had 33 x 41"):
        recover(marked_anew(method, height=HEIGHT + 1), KEY)


def test_other_auxiliary_data_never_give_a_near_miss(method):
    auxiliary = open_sealed(protected(method)[1].blob, KEY).auxiliary
    with pytest.raises((TamperedPixelsError, DamagedPayloadError)):
        recover(marked_anew(method, auxiliary=auxiliary), KEY)


def test_an_image_of_a_generator_is_told():
    with pytest.raises(OtherGeneratorError, match="neither by RAE nor by RIT"):
        recover(marked_anew("rae", generator_id=bytes(8)), KEY)


def test_ids_stay_what_they_are():
    assert [method_id(name).hex() for name in ("rae", "rit")] == [
        "b54a84912c9de27c",
        "88ebc24563bcd9b7",
    ]
    assert read_public_header(protected("rit")[0].blob).generator_id == method_id("rit")


def test_what_does_not_come_back_is_not_given_out(monkeypatch):
    monkeypatch.setattr(RAE, "reveal", staticmethod(lambda values, auxiliary: values))
    with pytest.raises(UnrecoverableError, match="images 0, 1, 2"):
        protect("rae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "fgsm"}, "attack='fgsm' is unknown: use one of pgd, ifgsm, cw"),
        ({"steps": 0}, "steps=0 is impossible"),
        ({"batch_size": 0}, "batch_size=0 is impossible"),
        ({"strength": 0}, "strength=0 is impossible"),
        ({"psnr": 3}, "psnr=3 is impossible: it must be 5 to 80"),
        ({"strength": None}, "neither strength nor psnr is given"),
    ],
)
def test_impossible_settings_are_told(change, message):
    with pytest.raises(UserError, match=message):
        protect("rae", **change)


def test_no_classifier_is_told():
    with pytest.raises(UserError, match="name at least one classifier"):
        BaselineProtector(RAE(), [], KEY, strength=1.0)


@pytest.mark.parametrize("label", [-1, 4, None])
def test_a_label_of_no_class_is_told(label):
    protector = BaselineProtector(RAE(), [net()], KEY, strength=1.0)
    with pytest.raises(UserError, match=f"label {label} of image 1 is no class: they are 0 to 3"):
        protector.protect(pictures(), [0, label, 1])


def test_what_is_no_image_is_told():
    with pytest.raises(UserError, match="image 1 is float64"):
        protect("rae", [pictures()[0], pictures()[1] * 1.0, pictures()[2]])
