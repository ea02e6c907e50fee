"""Whole photographs: any size, any batch, one function, undone to the bit."""

import jax
import numpy as np
import pytest

from raeg_jax.adversarial.losses import margin
from raeg_jax.exact.folding import fold_classifier
from raeg_jax.generator import photograph
from raeg_jax.generator.gradient_coupling import PARTS, GradientCoupling, SideInfo
from raeg_jax.generator.photograph import COLUMNS
from raeg_jax.generator.photograph_guide import PhotographGuide, View
from raeg_jax.payload.payload import MAX_SIDE_INFO
from tests.exact.random_classifiers import TINY_LITE, pictures, variables_of
from tests.oracles import integer_classifiers, integer_photograph

# Smaller and larger than a square of pixels and than a working image.
SIZES = [(33, 47), (340, 300), (7, 700), (1, 3)]
VIEWS = (View("crop"), View("whole", 75), View("centre"))
GUIDE = {"steps": 6, "others": 20, "momentum": 0.9, "views": VIEWS}
COUPLING = {"bound": 64, "margin": 8}


@pytest.fixture(scope="module")
def stage():
    classifiers = tuple(
        fold_classifier("tiny", TINY_LITE, variables_of(TINY_LITE, seed)) for seed in (0, 1)
    )
    guide = PhotographGuide(classifiers, reach=6.0, **GUIDE)
    return GradientCoupling(guide, step=6.0, max_mse=36.0, rounds=8, token_planes=2, **COUPLING)


def tokens(sizes, seed=0):
    random = np.random.RandomState(seed)
    cells = [random.choice([-1, 1], (-(-h // 4), -(-w // 4), 2)) for h, w in sizes]
    return [
        np.repeat(np.repeat(each, 4, 0), 4, 1)[:h, :w].astype(np.int8)
        for each, (h, w) in zip(cells, sizes, strict=True)
    ]


def logits(classifier, images):
    seen = np.stack([TINY_LITE.preprocessing.fit(np.asarray(image)) for image in images])
    return np.asarray(classifier(seen.astype(np.float32)))


@pytest.fixture(scope="module")
def originals():
    return [pictures(*size, count=1)[0].astype(np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def protected(stage, originals):
    labels = np.argmax(logits(stage.conditioner.classifiers[0], originals), -1)
    return photograph.forward(stage, originals, originals, labels, tokens(SIZES), 2)


def test_photographs_of_all_sizes_come_back_at_the_requested_distance(stage, originals, protected):
    values, table = protected
    for value, original in zip(values, originals, strict=True):
        assert value.dtype == np.int16
        assert value.shape == original.shape
        error = np.mean((np.clip(value, 0, 255).astype(float) - original) ** 2)
        # Whole numbers of nine samples don't come as near.
        assert abs(error / 36 - 1) < (0.05 if original.size > 9 else 0.9)
    # In other batches.
    back = photograph.inverse(stage, values[::-1], table[::-1], tokens(SIZES)[::-1], 2)
    for value, original in zip(back[::-1], originals, strict=True):
        np.testing.assert_array_equal(value, original)


@pytest.mark.slow
def test_it_lowers_the_lead_of_the_label_more_than_noise_does(stage, originals, protected):
    values, table = protected
    random = np.random.RandomState(0)
    noisy = [original + random.normal(0, 6, original.shape) for original in originals]
    files, noisy = ([np.clip(x, 0, 255).astype(np.uint8) for x in each] for each in (values, noisy))

    def leads(images):
        # The strips are too narrow for these networks' own preprocessing.
        read = (logits(classifier, images[:2]) for classifier in stage.conditioner.classifiers)
        return np.array([margin(each, table[:2, 0], 20) for each in read])

    before, noise, after = (leads(each) for each in (originals, noisy, files))
    assert np.all(after < before)
    assert np.mean(before - after) > 3 * np.mean(np.abs(before - noise))


@pytest.mark.slow
def test_it_is_the_gradient_coupling_of_whole_arrays(stage, originals, protected):
    number = 1
    values, table = (each[number] for each in protected)
    x = originals[number][None].astype(np.float32)
    token = tokens(SIZES)[number][None]
    info = SideInfo(*(np.int32(column)[None] for column in table[:3]))
    np.testing.assert_array_equal(
        jax.jit(GradientCoupling.inverse)(stage, values[None].astype(np.float32), info, token), x
    )


def test_numpy_s_integers_recover_the_same_bits(originals, protected):
    networks = [
        (integer_classifiers.lite(TINY_LITE, variables_of(TINY_LITE, seed)), 40) for seed in (0, 1)
    ]
    values, table = protected
    assert np.all(table[:3, COLUMNS.index("rounds")] > 2)
    assert np.any(table[:, COLUMNS.index("part")] < PARTS)
    recovered = integer_photograph.inverse(
        values, table, tokens(SIZES), networks, **COUPLING, **GUIDE
    )
    for each, original in zip(recovered, originals, strict=True):
        np.testing.assert_array_equal(each, original)


def test_no_side_information_of_a_payload_ends_in_an_error(stage, protected):
    values = protected[0][:1] * 2
    table = np.array([[MAX_SIDE_INFO, 1, *[MAX_SIDE_INFO] * 3], [0, 1, 32, 0, 0]])
    changed = photograph.inverse(stage, values, table, tokens(SIZES[:1]) * 2, 2)
    assert np.any(changed[0] != values[0])
    np.testing.assert_array_equal(changed[1], values[1])


def test_neither_another_token_nor_other_crops_undo_it(stage, originals, protected):
    values, table = protected
    # Two of them, as three pixels have few tokens.
    others = photograph.inverse(stage, values[:2], table[:2], tokens(SIZES, seed=1)[:2], 2)
    for other, original in zip(others, originals, strict=False):
        assert np.mean((np.clip(other, 0, 255).astype(float) - original) ** 2) > 0.2 * 36
