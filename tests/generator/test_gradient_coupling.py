"""Gradient couplings: exact inverses with any conditioner, at the requested distance."""

import pathlib

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage
from PIL import Image

from configs import base
from raeg_jax.data.photographs import FILES
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import PARTS, GradientCoupling
from raeg_jax.generator.guide import Guide
from raeg_jax.generator.masking import MASKS

LABELS = np.array([0, 1, 2], np.int32)


@flax.struct.dataclass
class Pattern:
    """A conditioner that depends on every sample of the filled image and on the label."""

    frequency: jax.Array

    def __call__(self, images, labels):
        phase = images / 40 + labels[:, None, None, None]
        return jnp.sin(self.frequency * phase + jnp.roll(phase, 1, axis=1))


@flax.struct.dataclass
class Linear:
    """Logits of a fixed random linear map: margins whose gradient is known."""

    weights: jax.Array

    def __call__(self, images):
        return jnp.einsum("bhwc,hwck->bk", images, self.weights)


def images(height, width, low=0, high=256, seed=0):
    return np.random.RandomState(seed).randint(low, high, (3, height, width, 3)).astype(np.float32)


def coupling(**changes):
    settings = {"conditioner": Pattern(jnp.float32(1)), "step": 1.5, "max_mse": 2.0, "rounds": 9}
    return GradientCoupling(**(settings | changes))


@jax.jit
def forward(stage, x, labels, token=None, editable=None):
    return stage.forward(x, labels, x, token, editable)


@jax.jit
def inverse(stage, y, info, token=None, editable=None):
    return stage.inverse(y, info, token, editable)


def test_64_bits_change_nothing():
    x = images(8, 8)
    y, info = forward(coupling(), x, LABELS)
    with jax.enable_x64(True):
        again, _ = forward(coupling(), x, LABELS)
        np.testing.assert_array_equal(again, y)
        np.testing.assert_array_equal(inverse(coupling(), y, info), x)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 12), (16, 16)])
@pytest.mark.parametrize("mask", MASKS)
def test_round_trip_of_every_mask_and_size(mask, size):
    stage = coupling(mask=mask)
    x = images(*size)
    y, info = forward(stage, x, LABELS)
    if min(size) > 1:
        assert np.all(np.any(np.asarray(y) != x, axis=(1, 2, 3)))
    np.testing.assert_array_equal(y, np.round(y))
    np.testing.assert_array_equal(inverse(stage, y, info), x)


@pytest.mark.parametrize("mask", MASKS)
def test_the_token_chooses_the_masks_and_undoes_them(mask):
    stage, x = coupling(mask=mask, token_planes=2), images(9, 12)
    right, wrong = np.random.RandomState(0).choice([-1, 1], (2, *x.shape[:3], 2))
    y, info = forward(stage, x, LABELS, right)
    np.testing.assert_array_equal(inverse(stage, y, info, right), x)
    assert np.all(np.any(np.asarray(inverse(stage, y, info, wrong)) != x, axis=(1, 2, 3)))


def test_pixels_that_are_not_editable_stay_and_do_not_count():
    x, stage = images(16, 16, low=60, high=196), coupling()
    editable = np.ones((3, 16, 16, 1), bool)
    editable[:, :12] = False
    y, info = forward(stage, x, LABELS, None, editable)
    np.testing.assert_array_equal(np.where(editable, 0, y - x), 0)
    np.testing.assert_array_equal(inverse(stage, y, info, None, editable), x)
    error = np.mean(np.square(np.asarray(y - x)[:, 12:]), axis=(1, 2, 3))
    np.testing.assert_allclose(error, stage.max_mse, rtol=0.1)


def test_round_trip_from_outside_the_range_of_a_file():
    x = images(8, 8, low=-20, high=276)
    y, info = forward(coupling(), x, LABELS)
    np.testing.assert_array_equal(inverse(coupling(), y, info), x)


@pytest.mark.slow
def test_jit_and_batch_size_change_nothing():
    stage, x = coupling(), images(8, 8)
    y, info = forward(stage, x, LABELS)
    with jax.disable_jit():
        eager, eager_info = stage.forward(x, LABELS, x)
        np.testing.assert_array_equal(stage.inverse(y, info), x)
    np.testing.assert_array_equal(eager, y)
    jax.tree.map(np.testing.assert_array_equal, eager_info, info)
    one, _ = forward(stage, x[1:2], LABELS[1:2])
    np.testing.assert_array_equal(one, y[1:2])


@pytest.mark.slow
def test_images_of_one_batch_end_in_different_rounds():
    x, stage = images(16, 16, low=100, high=156), coupling()
    # Between black and white neighbours there is no room for a shift.
    x[1, 6:] = np.where(x[1, 6:] < 128, 0, 255)
    x[2] = np.where(x[2] < 128, 0, 255)
    y, info = forward(stage, x, LABELS)
    assert len(set(np.asarray(info.rounds).tolist())) > 1
    assert np.any(info.rounds < stage.rounds)
    assert np.any((info.part > 0) & (info.part < PARTS))
    np.testing.assert_array_equal(inverse(stage, y, info), x)
    with jax.disable_jit():
        np.testing.assert_array_equal(stage.inverse(y, info), x)
    for i in range(3):
        own_info = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], info)
        np.testing.assert_array_equal(inverse(stage, y[i : i + 1], own_info), x[i : i + 1])
        alone, alone_info = forward(stage, x[i : i + 1], LABELS[i : i + 1])
        np.testing.assert_array_equal(alone, y[i : i + 1])
        jax.tree.map(np.testing.assert_array_equal, alone_info, own_info)


def as_configured(psnr):
    """A coupling of the base configuration's settings, but for its conditioner."""
    settings = base.get_config().generator.gradient
    max_mse = 255**2 / 10 ** (psnr / 10)
    return coupling(
        max_mse=max_mse,
        step=max(settings.step * np.sqrt(max_mse), settings.least_step),
        rounds=settings.rounds,
        bound=settings.bound,
        margin=settings.margin,
        mask=settings.mask,
    )


@pytest.mark.parametrize("psnr", [30, 38, 46])
def test_every_image_gets_the_target_psnr(psnr):
    stage = as_configured(psnr)
    x = images(16, 16, low=40, high=216)
    y, info = forward(stage, x, LABELS)
    reached = 10 * np.log10(255**2 / np.mean((np.asarray(y) - x) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(reached, psnr, atol=0.3)
    assert np.all(info.rounds < stage.rounds)
    assert np.all((info.part >= 0) & (info.part <= PARTS))
    np.testing.assert_array_equal(inverse(stage, y, info), x)


def photographs_of(size):
    """The quickstart's photographs from scikit-image, scaled: float32 [8, size, size, 3]."""
    whole = [Image.open(pathlib.Path(skimage.data_dir) / file) for file in FILES.values()]
    small = [image.convert("RGB").resize((size, size), Image.Resampling.BOX) for image in whole]
    return np.stack(small).astype(np.float32)


def test_few_samples_of_photographs_leave_the_range():
    x, stage = photographs_of(64), as_configured(34)
    labels = np.arange(len(x), dtype=np.int32)
    y, info = forward(stage, x, labels)
    assert np.mean((np.asarray(y) < 0) | (np.asarray(y) > 255)) < 1e-3
    np.testing.assert_array_equal(inverse(stage, y, info), x)


def test_an_image_that_is_too_far_from_the_start_gets_one_round_at_most():
    x = images(16, 16, low=40, high=216)
    _, info = jax.jit(lambda x, r: coupling().forward(x, LABELS, r))(x, x + 8.0)
    np.testing.assert_array_equal(info.rounds, 1)


@pytest.mark.parametrize("field", ["label", "rounds", "part"])
def test_recovery_needs_all_side_information(field):
    x = images(16, 16)
    y, info = forward(coupling(), x, LABELS)
    wrong = info.replace(**{field: getattr(info, field) - 1})
    assert np.any(np.asarray(inverse(coupling(), y, wrong)) != x)


def test_rounds_and_shifts_are_bounded():
    x = images(16, 16, low=60, high=196)
    stage = coupling(step=50.0, bound=3, max_mse=1e4, rounds=3)
    y, info = forward(stage, x, LABELS)
    np.testing.assert_array_equal(info.rounds, 3)
    np.testing.assert_array_equal(inverse(stage, y, info), x)
    # Each sample is masked once in three rounds.
    assert np.max(np.abs(np.asarray(y) - x)) == 3


def test_saturated_areas_stay_in_range():
    x = images(16, 16)
    x[:, 4:12] = 255
    x[:, 12:] = 0
    y, _ = forward(coupling(rounds=30, max_mse=50.0), x, LABELS)
    inner = np.asarray(y)[:, 5:11]
    assert np.all(inner <= 255)
    assert np.all(np.asarray(y)[:, 13:] >= 0)
    assert np.any(inner < 255)


def test_the_attack_lowers_the_margin():
    weights = np.random.RandomState(1).randn(16, 16, 3, 3).astype(np.float32) / 100
    guide = Guide((Linear(jnp.asarray(weights)),), reach=5.0)
    x = images(16, 16, low=60, high=196)
    logits = np.einsum("bhwc,hwck->bk", x, weights)
    labels = logits.argmax(-1).astype(np.int32)
    y, _ = forward(coupling(conditioner=guide, max_mse=30.0, rounds=60), x, labels)
    after = np.einsum("bhwc,hwck->bk", np.asarray(y), weights)
    best = np.max(np.where(np.eye(3, dtype=bool)[labels], -np.inf, after), axis=-1)
    assert np.all(after[np.arange(3), labels] < best)


def test_chain_of_two_stages_is_undone_backwards():
    second = coupling(conditioner=Pattern(jnp.float32(3)), step=3.0, max_mse=8.0)
    chain = Chain((coupling(max_mse=2.0), second))
    x = images(16, 16, low=40, high=216)
    y, info = jax.jit(lambda x: chain.forward(x, LABELS))(x)
    assert chain.exact
    np.testing.assert_array_equal(jax.jit(chain.inverse)(y, info), x)
    # The second stage measures the distance from the original, not from the first stage's result.
    np.testing.assert_allclose(np.mean((y - x) ** 2, axis=(1, 2, 3)), 8, rtol=0.07)
