import numpy as np
import pytest

from configs import base
from raeg_jax import data
from raeg_jax.data.decode import encode_png
from raeg_jax.evaluation.images import open_split

SIZE = 16
_RANDOM = np.random.default_rng(0)
SPLIT = [
    {
        "image": encode_png(_RANDOM.integers(0, 256, (20, 24, 3), np.uint8)),
        "label": i % 3,
        "file_name": f"{i}.png",
    }
    for i in range(10)
]


@pytest.fixture
def settings():
    settings = base.get_config().data
    settings.image_size = SIZE
    return settings


@pytest.mark.parametrize("max_images", [0, 4, 100])
def test_images_are_the_same_in_memory_and_on_demand(settings, max_images):
    expected, labels, names = data.arrays(SPLIT, SIZE, settings, max_images)
    opened = open_split(SPLIT, settings, max_images)
    assert isinstance(opened[0], np.ndarray)
    settings.memory_mib = 0
    on_demand = open_split(SPLIT, settings, max_images)
    assert not isinstance(on_demand[0], np.ndarray)
    for images, now_labels, now_names in (opened, on_demand):
        assert len(images) == len(expected)
        index = np.array([2, 0, 2])
        np.testing.assert_array_equal(images[index], expected[index])
        np.testing.assert_array_equal(now_labels, labels)
        assert now_names == names


def test_on_demand_nothing_else_is_decoded(settings):
    settings.memory_mib = 0
    broken = [*SPLIT[:9], {**SPLIT[9], "image": b"no image"}]
    images, _, _ = open_split(broken, settings)
    assert images[np.arange(9)].shape == (9, SIZE, SIZE, 3)
    with pytest.raises(ValueError, match="UnidentifiedImage"):
        images[np.array([9])]
