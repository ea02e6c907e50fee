"""Large images are marked band by band, and bands lie the same everywhere."""

import hashlib

import numpy as np
import pytest

from raeg_jax.hiding import marking
from raeg_jax.hiding.plan import CLASSES, Plan
from tests.hiding.images import check_round_trip, image_of_kind, noisy


@pytest.fixture
def many_bands(monkeypatch):
    """Makes an image of 70 x 30 pixels a large one."""
    monkeypatch.setattr(marking, "_BAND_PIXELS", 200)
    monkeypatch.setattr(marking, "_SAMPLES_PER_BIT", 4)
    assert len(marking.bands_of(70, 30)) > 5


@pytest.mark.usefixtures("many_bands")
@pytest.mark.parametrize(
    ("noisy_rows", "size", "first", "last"), [(0, 17, 0, 34), (0, 200, 35, 69), (40, 17, 41, 69)]
)
def test_large_images_are_marked_as_far_down_as_needed(noisy_rows, size, first, last):
    image = image_of_kind("natural", 2, 70, 30, 3)
    image[:noisy_rows] = image_of_kind("noise", 0, noisy_rows, 30, 3)
    marked = check_round_trip(image, np.random.default_rng(0).bytes(size))
    changed_rows = np.flatnonzero(np.any(marked != image, axis=(1, 2)))
    assert first <= changed_rows.max() <= last


def test_flags_of_a_full_layer_move_on_to_later_ones():
    image = np.full((24, 24, 3), 100, np.uint8)
    image[..., 0] = np.random.default_rng(0).choice([0, 20], (24, 24))
    plan, bits = Plan(0, 1, (1,) * CLASSES), np.ones(100, np.uint8)
    planes, left = marking.Band(image, range(24)).mark(plan, 24, marking.BitQueue(bits))
    assert not left.size
    marked = planes.transpose(1, 2, 0).astype(np.uint8)
    original, read = marking.restore(marked, plan, marking.PARTS)
    np.testing.assert_array_equal(original, image)
    np.testing.assert_array_equal(read[:100], bits)
    # Without later layers there is nothing to read them from.
    assert marking.restore(image[..., :1], plan, marking.PARTS) is None


def test_bands_lie_the_same_everywhere():
    """Where an image is cut decides what its samples are predicted from."""
    assert [rows.start for rows in marking.bands_of(4000, 6000)[:4]] == [0, 47, 94, 141]
    assert len(marking.bands_of(4000, 6000)) == 85
    assert marking.bands_of(700, 800) == [range(0, 329), range(329, 700)]
    assert marking.bands_of(256, 2048) == [range(0, 128), range(128, 256)]
    assert marking.bands_of(512, 512) == [range(0, 512)]


def test_marks_of_two_bands_are_the_same_everywhere():
    """The message reaches into the second band."""
    slope = np.add.outer(np.arange(700), 2 * np.arange(800))[..., None] // 9 + [0, 20, 1]
    image = noisy(slope, b"bands", 16)
    marked = check_round_trip(image, hashlib.shake_256(b"message").digest(20_000))
    assert np.any(marked[329:] != image[329:])
    digest = "9617e456b2efd93b620f2930c0f555509b9b59e2c88684d8a86a38a5e871ba9d"
    assert hashlib.sha256(marked.tobytes()).hexdigest() == digest
