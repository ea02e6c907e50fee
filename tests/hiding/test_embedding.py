"""Embedding: image and message come back to the bit, and all other images are refused."""

import hashlib
import pathlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from raeg_jax.hiding import (
    CapacityError,
    ChangedError,
    NotMarkedError,
    capacity,
    embed,
    embedding,
    extract,
    marking,
    plan,
)
from tests.hiding.images import check_round_trip, image_of_kind, noisy

EXAMPLES = settings(
    derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
# Written by the first version: all later ones must read it.
MARKED = pathlib.Path(__file__).with_name("marked.png")
GOLDEN = noisy(
    np.add.outer(3 * np.arange(32), 2 * np.arange(32))[..., None] + [0, 20, 90], b"golden", 4
)
MESSAGE = b"reversible"

KINDS = st.sampled_from(["noise", "flat", "saturated", "natural", "on white"])
SIDES, CHANNELS = st.integers(6, 40), st.sampled_from([1, 3])
LARGER = st.builds(image_of_kind, KINDS, st.integers(0, 2**32), SIDES, SIDES, CHANNELS)
TINY = st.tuples(st.integers(1, 9), st.integers(1, 9), CHANNELS).flatmap(
    lambda shape: hnp.arrays(np.uint8, shape)
)


@settings(EXAMPLES, max_examples=100)
@given(
    st.tuples(LARGER, st.binary(max_size=60)) | st.tuples(TINY, st.binary(max_size=3)),
)
def test_image_and_message_come_back_or_are_refused(image_and_message):
    image, message = image_and_message
    try:
        check_round_trip(image, message)
    except CapacityError:
        assert capacity(image) < len(message) or not capacity(image)


@EXAMPLES
@given(LARGER, st.sampled_from([0, 255]) | st.none())
def test_messages_up_to_the_capacity_fit(image, fill):
    size = capacity(image)
    if size:
        random = np.random.default_rng(size).bytes(size)
        check_round_trip(image, random if fill is None else bytes([fill]) * size)


@pytest.mark.parametrize("kind", ["flat", "natural", "on white"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_64_pixels_has_a_capacity_of_a_hundred_bytes(kind, channels):
    image = image_of_kind(kind, 1, 64, 64, channels)
    assert capacity(image) >= 100
    check_round_trip(image, bytes(range(100)))


@pytest.mark.parametrize(("size", "min_psnr"), [(20, 66.5), (100, 61), (400, 52)])
def test_distortion_is_small(size, min_psnr):
    image = image_of_kind("natural", 1, 64, 64, 3)
    marked = embed(image, np.random.default_rng(0).bytes(size))
    error = np.mean((marked.astype(float) - image) ** 2)
    assert 10 * np.log10(255**2 / error) > min_psnr


def test_marks_keep_to_what_is_smooth():
    image = image_of_kind("noise", 0, 40, 60, 3)
    image[:, :30] = image[:, :30] % 4 + 100
    marked = embed(image, MESSAGE)
    # The first row has the header, and the columns at the border see both sides.
    changed = np.any(marked != image, axis=-1)[2:]
    assert changed[:, :30].any()
    assert not changed[:, 32:].any()


@EXAMPLES
@given(LARGER | TINY)
def test_more_than_a_bit_a_sample_is_refused(image):
    with pytest.raises(CapacityError, match="no room"):
        embed(image, bytes(image.size // 8 + 1))


@pytest.mark.parametrize("shape", [(64, 64, 3), (0, 4, 3), (4, 0, 1), (1, 1000, 3), (1000, 2, 1)])
def test_noise_and_sides_too_short_have_no_capacity(shape):
    image = image_of_kind("noise", 0, *shape)
    assert capacity(image) == 0
    with pytest.raises(CapacityError):
        embed(image, b"" if min(shape[:2]) < 3 else MESSAGE)
    with pytest.raises(NotMarkedError):
        extract(image)


@EXAMPLES
@given(LARGER | TINY)
def test_a_foreign_image_is_refused(image):
    with pytest.raises(NotMarkedError):
        extract(image)


@EXAMPLES
@given(
    (LARGER | TINY).filter(lambda image: image.size >= marking.HEADER_BITS),
    st.integers(0, 3),
    st.sampled_from(plan.BASES),
    st.tuples(*[st.integers(0, len(plan.BINS) - 1)] * plan.CLASSES),
    st.integers(1, marking.PARTS),
)
def test_a_foreign_image_with_a_good_header_is_refused(image, weight, base, bins, parts):
    header = embedding.pack_header(plan.Plan(weight, base, bins), parts)
    with pytest.raises(NotMarkedError):
        extract(embedding.with_low_bits(image, header))


@EXAMPLES
@given(st.integers(0, 64 * 64 * 3 - 1), st.integers(1, 255))
def test_any_changed_sample_is_noticed(position, difference):
    marked = embed(image_of_kind("natural", 1, 64, 64, 3), MESSAGE)
    marked.reshape(-1)[position] ^= difference
    # The other seven bits of the header's samples are part of the image.
    header_changed = position < marking.HEADER_BITS and difference & 1
    with pytest.raises(NotMarkedError) as raised:
        extract(marked)
    assert raised.type is (NotMarkedError if header_changed else ChangedError)


def test_a_cropped_image_is_noticed():
    with pytest.raises(ChangedError):
        extract(embed(image_of_kind("natural", 1, 64, 64, 3), MESSAGE)[:60])


def test_memory_order_does_not_matter():
    image = image_of_kind("natural", 1, 20, 24, 3)
    marked = embed(np.asfortranarray(image), MESSAGE)
    np.testing.assert_array_equal(marked, embed(image, MESSAGE))
    np.testing.assert_array_equal(extract(np.asfortranarray(marked))[0], image)


@pytest.mark.parametrize("dtype_and_shape", [(int, (8, 8, 3)), ("u1", (8, 8)), ("u1", (8, 8, 4))])
def test_other_arrays_are_refused(dtype_and_shape):
    dtype, shape = dtype_and_shape
    for call in (capacity, extract, lambda array: embed(array, b"")):
        with pytest.raises(ValueError, match=r"needs uint8 \[H, W, 1 or 3\]"):
            call(np.zeros(shape, dtype))


def test_marks_are_the_same_everywhere():
    digest = "dbb3a20131734bc87e65e26d664062071c79f79bda6a494c4b7a2745e0edd2dc"
    assert hashlib.sha256(embed(GOLDEN, MESSAGE).tobytes()).hexdigest() == digest


def test_images_marked_by_the_first_version_are_read():
    image, message = extract(np.asarray(Image.open(MARKED)))
    np.testing.assert_array_equal(image, GOLDEN)
    assert message == MESSAGE


@pytest.mark.parametrize("length", [0, 1, 127, 128, 20_000])
def test_messages_of_any_length_are_packed_with_few_bytes(length):
    image = image_of_kind("noise", 0, 8, 8, 3)
    message = np.random.default_rng(0).bytes(length)
    bits = embedding.pack_body(image, message)
    assert len(bits) <= 8 * (length + embedding.OVERHEAD_BYTES)
    without_header = embedding.with_low_bits(image, bytes(marking.HEADER_BITS // 8))
    restored = embedding.unpack_body(without_header, np.pad(bits, (0, 100)))
    np.testing.assert_array_equal(restored[0], image)
    assert restored[1] == message
