"""What published networks expect: as text and JSON, and the resized and cropped photograph."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from raeg_jax.errors import UserError
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.layers import network_input
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing

OTHER = Preprocessing(40, 33, "bicubic", (127.5, 0.0, 1e-3), (1.5, 2.0, 300.25))


def test_a_head_sees_images_of_a_run():
    headed = OTHER.for_run(96)
    expected = dataclasses.replace(OTHER, resize=96, crop=96, of_run=True, interpolates=True)
    assert headed == expected == Preprocessing.from_json(headed.to_json())
    # Ids of generators from before there were heads stay.
    assert {"of_run", "interpolates"}.isdisjoint(OTHER.to_json())


def test_heads_of_before_interpolation_still_see_pixels_repeated():
    former = dataclasses.replace(OTHER.for_run(96), interpolates=False)
    x = np.float32(np.random.RandomState(0).randint(0, 256, (1, 30, 40, 3)))
    np.testing.assert_array_equal(network_input(x, former), x.repeat(3, 1).repeat(3, 2))
    assert "interpolates" not in former.to_json()
    assert Preprocessing.from_json(former.to_json()) == former


def photograph(height, width):
    """Brighter to the right and downwards: uint8 [height, width, 3]."""
    rows, columns, colours = np.mgrid[:height, :width, :3]
    return np.uint8(100 * rows / height + 100 * columns / width + 20 * colours)


def test_all_networks_but_our_own_small_ones_have_one():
    assert set(PUBLISHED) == {name for name in CLASSIFIERS if not name.endswith("_small")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "resnet50",
            "resize=256,crop=224,interpolation=bilinear,mean=123.675:116.28:103.53,"
            "std=58.395:57.12:57.375",
        ),
        (
            "efficientnet_lite3",
            "resize=312,crop=280,interpolation=bicubic,mean=127:127:127,std=128:128:128",
        ),
    ],
)
def test_published_ones_are_those_of_torchvision_and_google(name, expected):
    assert str(PUBLISHED[name]) == expected


@pytest.mark.parametrize("value", [Preprocessing(), OTHER, PUBLISHED["efficientnet_lite0"]])
def test_text_and_json_bring_it_back(value):
    assert Preprocessing.parse(str(value)) == value
    assert Preprocessing.from_json(value.to_json()) == value


def test_what_the_text_leaves_out_is_the_default():
    assert Preprocessing.parse("") == Preprocessing()
    assert Preprocessing.parse("", OTHER) == OTHER
    assert Preprocessing.parse("crop=7,std=1:2:3", OTHER) == dataclasses.replace(
        OTHER, crop=7, std=(1.0, 2.0, 3.0)
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("size=3", "'size=3' must be one of resize=..., crop=..., interpolation=..., mean"),
        ("crop=9,crop=9", "'crop=9' must be one of .*, each once"),
        ("crop", "crop= must be a whole number"),
        ("crop=1.5", "crop=1.5 must be a whole number"),
        ("crop=0", "crop=0, resize=256 is impossible"),
        ("crop=257", "crop=257, resize=256 is impossible"),
        ("resize=5000", "crop=224, resize=5000 is impossible"),
        ("interpolation=box", "'box' is unknown: write one of bilinear, bicubic, lanczos"),
        ("mean=1:b:3", "mean=1:b:3 must be three numbers, such as 1:2:3"),
        ("mean=1:2", "mean=1:2 is impossible: it must be three numbers"),
        ("mean=1:nan:2", "mean=1:nan:2 is impossible"),
        ("std=1:0:1", "std=1:0:1 is impossible: it must be three numbers of at least 1"),
        ("std=1:inf:1", "std=1:inf:1 is impossible"),
    ],
)
def test_bad_text_is_told(text, complaint):
    with pytest.raises(UserError, match=complaint):
        Preprocessing.parse(text)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"crop": 300}, UserError),
        ({"std": []}, UserError),
        ({"crop": "large"}, ValueError),
        ({"mean": None}, TypeError),
        ({"padding": 3}, TypeError),
    ],
)
def test_bad_json_is_told(change, error):
    with pytest.raises(error):
        Preprocessing.from_json(Preprocessing().to_json() | change)


@pytest.mark.parametrize("shape", [(64, 64), (51, 97), (97, 51), (20, 61), (33, 400)])
def test_the_middle_of_the_resized_photograph_is_cut_out(shape):
    image = photograph(*shape)
    fitted = Preprocessing(40, 32, "bicubic").fit(image)
    assert (fitted.shape, fitted.dtype) == ((32, 32, 3), np.uint8)
    # The same area, straight from the photograph; its brightness grows by 2.5 a pixel.
    scale, (height, width) = min(shape) / 40, shape
    y, x = height / 2, width / 2
    box = (x - 16 * scale, y - 16 * scale, x + 16 * scale, y + 16 * scale)
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC, box)
    np.testing.assert_allclose(fitted, np.float32(expected), atol=1)


def test_a_photograph_of_the_right_size_stays_as_it_is():
    image = photograph(33, 33)
    np.testing.assert_array_equal(Preprocessing(33, 33).fit(image), image)
    np.testing.assert_array_equal(Preprocessing(33, 31).fit(image), image[1:32, 1:32])
