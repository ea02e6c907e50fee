"""Fixtures of the data tests: settings with a cache of their own, and small trees of images."""

import numpy as np
import pytest
from PIL import Image

from configs.base import get_config


@pytest.fixture
def config(tmp_path):
    """The base configuration, with an empty cache."""
    config = get_config()
    config.data.cache_dir = str(tmp_path / "cache")
    config.data.image_size = 16
    return config


@pytest.fixture
def settings(config):
    """`config.data`."""
    return config.data


@pytest.fixture
def make_tree():
    """Function that writes images `<folder>/<class>/<number>.<suffix>`, all different."""

    def make(folder, sizes, suffix="jpg", first=0):
        for label, (name, count) in enumerate(sizes.items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(first, first + count):
                generator = np.random.default_rng([label, number])
                pixels = generator.integers(0, 256, (20, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number:04d}.{suffix}")
        return folder

    return make
