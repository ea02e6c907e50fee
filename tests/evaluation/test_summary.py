import re

import numpy as np
import pytest

from raeg_jax.evaluation.summary import divergence, summarise

LABELS = np.array([0, 1, 2, 1])


def per_image(**changes):
    """Four images, of which the third is not changed by the generator."""
    values = {
        "outside": np.array([0.0, 0.5, 0.0, 0.1]),
        "read/net/original": np.array([0, 1, 2, 0]),
        "read/net/protected": np.array([1, 2, 2, 1]),
        "read/net/recovered": np.array([0, 1, 2, 2]),
        "bytes/original": np.array([100, 200, 300, 400]),
        "bytes/protected": np.array([110, 210, 310, 410]),
        "bytes/recovered": np.array([100, 200, 300, 400]),
        "psnr/protected": np.array([30.0, 40.0, np.inf, 35.0]),
        "ssim/protected": np.array([0.8, 0.9, 1.0, 0.9]),
        "equal/protected": np.array([0.25, 0.5, 1.0, 0.25]),
        "exact/protected": np.array([False, False, True, False]),
        "psnr/recovered": np.full(4, np.inf),
        "ssim/recovered": np.ones(4),
        "equal/recovered": np.ones(4),
        "exact/recovered": np.ones(4, bool),
    }
    return values | changes


def test_accuracies_are_shares_of_images_read_as_labelled():
    result = summarise(per_image(), LABELS, {"net": "target"})
    net = result["classifiers"]["net"]
    assert net["role"] == "target"
    assert net["accuracy"] == {"original": 0.75, "protected": 0.5, "recovered": 0.75}
    assert result["images"] == 4


def test_success_counts_only_images_that_were_read_correctly():
    net = summarise(per_image(), LABELS, {"net": "target"})["classifiers"]["net"]
    # The fourth was misread before and is read correctly after: it says nothing about the attack.
    np.testing.assert_allclose(net["attack_success"]["protected"], 2 / 3)
    assert net["attack_success"]["recovered"] == 0
    assert "original" not in net["attack_success"]


def test_quality_leaves_equal_images_out_of_the_mean_psnr():
    quality = summarise(per_image(), LABELS, {"net": "target"})["quality"]
    np.testing.assert_allclose(quality["protected"]["psnr"], 35.0)
    assert quality["protected"]["psnr_range"] == [30.0, 40.0]
    np.testing.assert_allclose(quality["protected"]["ssim"], 0.9)
    np.testing.assert_allclose(quality["protected"]["exact_pixels"], 0.5)
    assert quality["protected"]["exact_images"] == 0.25
    assert quality["recovered"] == {
        "psnr": None,
        "psnr_range": None,
        "ssim": 1.0,
        "exact_pixels": 1.0,
        "exact_images": 1.0,
    }


def test_range_and_file_sizes_are_means():
    result = summarise(per_image(), LABELS, {"net": "target"})
    np.testing.assert_allclose(result["outside_range"], 0.15)
    assert result["png_bytes"] == {"original": 250.0, "protected": 260.0}


def test_a_payload_is_in_the_pixels_or_beside_them():
    assert summarise(per_image(), LABELS, {"net": "target"})["payload"] is None
    values = {
        "payload/in_pixels": np.array([True, True, False, True]),
        "payload/bytes": np.array([80, 84, 88, 80]),
    }
    result = summarise(per_image(**values), LABELS, {"net": "target"})
    assert result["payload"] == {"in_pixels": 3, "beside_pixels": 1, "bytes": 83.0}


@pytest.mark.parametrize("left_out", ["noise", "pgd"])
def test_variants_that_were_not_measured_do_not_appear(left_out):
    result = summarise(per_image(), LABELS, {"net": "target"})
    assert left_out not in result["quality"]
    assert left_out not in result["classifiers"]["net"]["accuracy"]


@pytest.mark.parametrize(
    ("psnr", "outside", "message"),
    [
        (33.1, 0.003, None),
        (None, 0.0, None),
        (6.0, 1.0, "protected images have 6.0 dB .* is 34.*, and 100% of their samples"),
        (33.1, 0.2, "20% of their samples are outside"),
        (20.0, 0.0, "have 20.0 dB"),
    ],
)
def test_a_diverged_generator_is_told_by_its_numbers(psnr, outside, message):
    sentence = divergence(psnr, outside, target_psnr=34.0)
    assert (sentence is None) == (message is None)
    if message:
        assert re.search(f"{message}.*lower config.optimizer.learning_rate$", sentence)
