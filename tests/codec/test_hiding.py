"""Hiding: what went in comes out, to the bit, and all else is refused."""

import functools
import hashlib
import pathlib

import numpy as np
import pytest
import skimage.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from raeg_jax.codec import bands, body, header, marking, plan
from raeg_jax.codec.hiding import (
    ChangedError,
    NoRoomError,
    NotMarkedError,
    capacity,
    embed,
    extract,
)

EXAMPLES = settings(
    derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
# Written by the first version: all later ones must read it.
MARKED = pathlib.Path(__file__).with_name("marked.png")
MESSAGE = b"reversible"


@functools.cache
def astronaut():
    return skimage.data.astronaut()


def of_seed(kind, seed, height, width, channels):
    """An image of some kind: what hypothesis varies bit by bit is all noise."""
    generator = np.random.default_rng(seed)
    shape = height, width, channels
    if kind == "noise":
        return generator.integers(0, 256, shape).astype(np.uint8)
    if kind == "flat":
        return np.full(shape, generator.integers(0, 256), np.uint8)
    if kind == "saturated":
        ends = generator.choice([0, 255], (1, width, 1)) + generator.normal(0, 3, shape)
        return np.clip(ends, 0, 255).astype(np.uint8)
    photograph = astronaut()
    top, left = generator.integers(0, 512 - np.array([height, width]))
    image = photograph[top : top + height, left : left + width, :channels].copy()
    if kind == "on white":
        image[: height // 3], image[:, : width // 3] = 255, 255
    return image


SIDES = st.integers(6, 40)
LARGER = st.builds(
    of_seed,
    st.sampled_from(["noise", "flat", "saturated", "natural", "on white"]),
    st.integers(0, 2**32),
    SIDES,
    SIDES,
    st.sampled_from([1, 3]),
)
TINY = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])).flatmap(
    lambda shape: hnp.arrays(np.uint8, shape)
)


def check_round_trip(image, message):
    before = image.copy()
    marked = embed(image, message)
    np.testing.assert_array_equal(image, before)
    assert marked.shape == image.shape
    assert marked.dtype == np.uint8
    recovered, found = extract(marked)
    np.testing.assert_array_equal(recovered, image)
    assert recovered.dtype == np.uint8
    assert found == message


def golden_image():
    """A slope with some noise, the same everywhere."""
    slope = np.add.outer(3 * np.arange(32), 2 * np.arange(32))[..., None] + [0, 20, 90]
    noise = np.frombuffer(hashlib.shake_256(b"golden").digest(slope.size), np.uint8)
    return np.minimum(slope + noise.reshape(slope.shape) % 4, 255).astype(np.uint8)


def check_round_trip_or_refusal(image, message):
    try:
        check_round_trip(image, message)
    except NoRoomError:
        assert capacity(image) < len(message) or not capacity(image)


@EXAMPLES
@given(LARGER, st.binary(max_size=60))
def test_image_and_message_come_back(image, message):
    check_round_trip_or_refusal(image, message)


@EXAMPLES
@given(TINY, st.binary(max_size=3))
def test_tiny_images_come_back_or_are_refused(image, message):
    check_round_trip_or_refusal(image, message)


@EXAMPLES
@given(LARGER, st.sampled_from([0, 255]) | st.none())
def test_what_surely_fits_does_fit(image, fill):
    size = capacity(image)
    generator = np.random.default_rng(size)
    if size:
        check_round_trip(image, generator.bytes(size) if fill is None else bytes([fill]) * size)


@pytest.mark.parametrize("kind", ["flat", "natural", "on white"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_64_pixels_has_room_for_a_hundred_bytes(kind, channels):
    image = of_seed(kind, 1, 64, 64, channels)
    assert capacity(image) >= 100
    check_round_trip(image, bytes(range(100)))


@pytest.mark.parametrize(("size", "least"), [(20, 66.5), (100, 61), (400, 52)])
def test_distortion_is_small(size, least):
    image = of_seed("natural", 1, 64, 64, 3)
    marked = embed(image, np.random.default_rng(0).bytes(size))
    error = np.mean((marked.astype(float) - image) ** 2)
    assert 10 * np.log10(255**2 / error) > least


def test_marks_keep_to_what_is_smooth():
    image = of_seed("noise", 0, 40, 60, 3)
    image[:, :30] = image[:, :30] % 4 + 100
    marked = embed(image, MESSAGE)
    # The first row has the header, and at the border there is no telling.
    changed = np.any(marked != image, axis=-1)[2:]
    assert changed[:, :30].any()
    assert not changed[:, 32:].any()


@EXAMPLES
@given(LARGER | TINY)
def test_more_than_a_bit_a_sample_is_refused(image):
    with pytest.raises(NoRoomError, match="no room"):
        embed(image, bytes(image.size // 8 + 1))


def test_noise_has_no_room():
    image = of_seed("noise", 0, 64, 64, 3)
    assert capacity(image) == 0
    with pytest.raises(NoRoomError):
        embed(image, MESSAGE)


@EXAMPLES
@given(LARGER | TINY)
def test_a_foreign_image_is_told(image):
    with pytest.raises(NotMarkedError):
        extract(image)


@EXAMPLES
@given(
    LARGER | TINY,
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(plan.BASES),
        st.tuples(*[st.integers(0, len(plan.WAYS) - 1)] * plan.CLASSES),
    ),
    st.integers(1, bands.PARTS),
)
def test_a_foreign_image_with_a_good_header_is_told(image, values, parts):
    if image.size < header.BITS:
        return
    forged = header.with_low_bits(image, header.pack(plan.Plan(*values), parts))
    with pytest.raises(NotMarkedError):
        extract(forged)


@EXAMPLES
@given(st.integers(0, 64 * 64 * 3 - 1), st.integers(1, 255))
def test_any_changed_sample_is_told(position, difference):
    marked = embed(of_seed("natural", 1, 64, 64, 3), MESSAGE)
    marked.reshape(-1)[position] ^= difference
    # The header's other seven bits don't count as the header.
    header_changed = position < header.BITS and difference & 1
    with pytest.raises(NotMarkedError) as raised:
        extract(marked)
    assert raised.type is (NotMarkedError if header_changed else ChangedError)


def test_a_cropped_image_is_told():
    marked = embed(of_seed("natural", 1, 64, 64, 3), MESSAGE)
    with pytest.raises(ChangedError):
        extract(marked[:60])


@pytest.mark.parametrize(("size", "first", "last"), [(17, 0, 34), (200, 35, 69)])
def test_large_images_are_marked_band_by_band(monkeypatch, size, first, last):
    monkeypatch.setattr(bands, "_PIXELS", 200)
    monkeypatch.setattr(marking, "_CHOICE", 4)
    image = of_seed("natural", 2, 70, 30, 3)
    assert len(bands.rows_of(70, 30)) > 5
    message = np.random.default_rng(0).bytes(size)
    check_round_trip(image, message)
    changed_rows = np.flatnonzero(np.any(embed(image, message) != image, axis=(1, 2)))
    assert first <= changed_rows.max() <= last


def test_memory_order_does_not_matter():
    image = of_seed("natural", 1, 20, 24, 3)
    marked = embed(np.asfortranarray(image), MESSAGE)
    np.testing.assert_array_equal(marked, embed(image, MESSAGE))
    np.testing.assert_array_equal(extract(np.asfortranarray(marked))[0], image)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 1), (1, 1000, 3), (1000, 2, 1)])
def test_a_side_too_short_has_no_room(shape):
    image = np.zeros(shape, np.uint8)
    assert capacity(image) == 0
    with pytest.raises(NoRoomError):
        embed(image, b"")
    with pytest.raises(NotMarkedError):
        extract(image)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.int16), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)],
)
def test_other_arrays_are_refused(image):
    for call in (capacity, extract, lambda array: embed(array, b"")):
        with pytest.raises(ValueError, match=r"needs uint8 \[H, W, 1 or 3\]"):
            call(image)


def test_marks_are_the_same_everywhere():
    marked = embed(golden_image(), MESSAGE)
    assert (
        hashlib.sha256(marked.tobytes()).hexdigest()
        == "dbb3a20131734bc87e65e26d664062071c79f79bda6a494c4b7a2745e0edd2dc"
    )


def test_bands_lie_the_same_everywhere():
    """Where an image is cut decides what its samples are predicted from."""
    assert [rows.start for rows in bands.rows_of(4000, 6000)[:4]] == [0, 47, 94, 141]
    assert len(bands.rows_of(4000, 6000)) == 85
    assert bands.rows_of(700, 800) == [range(0, 329), range(329, 700)]
    assert bands.rows_of(256, 2048) == [range(0, 128), range(128, 256)]
    assert bands.rows_of(512, 512) == [range(0, 512)]


def test_marks_of_two_bands_are_the_same_everywhere():
    """A slope with noise as the small one, whose message reaches into the second band."""
    height, width = 700, 800
    slope = np.add.outer(np.arange(height), 2 * np.arange(width))[..., None] // 9 + [0, 20, 1]
    noise = np.frombuffer(hashlib.shake_256(b"bands").digest(slope.size), np.uint8)
    image = np.minimum(slope + noise.reshape(slope.shape) % 16, 255).astype(np.uint8)
    message = hashlib.shake_256(b"message").digest(20_000)
    marked = embed(image, message)
    assert np.any(marked != image, axis=(1, 2))[len(bands.rows_of(height, width)[0]) :].any()
    assert (
        hashlib.sha256(marked.tobytes()).hexdigest()
        == "9617e456b2efd93b620f2930c0f555509b9b59e2c88684d8a86a38a5e871ba9d"
    )
    assert extract(marked)[1] == message


def test_images_marked_by_the_first_version_are_read():
    image, message = extract(np.asarray(Image.open(MARKED)))
    np.testing.assert_array_equal(image, golden_image())
    assert message == MESSAGE


@pytest.mark.parametrize("length", [0, 1, 127, 128, 20_000])
def test_messages_of_any_length_are_packed_with_few_bytes(length):
    image = of_seed("noise", 0, 8, 8, 3)
    message = np.random.default_rng(0).bytes(length)
    bits = body.pack(image, message)
    assert len(bits) <= 8 * (length + body.MOST_BYTES)
    blank = header.with_low_bits(image, bytes(header.BITS // 8))
    found = body.unpack(blank, np.concatenate([bits, np.zeros(100, np.uint8)]))
    np.testing.assert_array_equal(found[0], image)
    assert found[1] == message
