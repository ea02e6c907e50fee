import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.evaluation.protectors import PixelProtector
from raeg_jax.evaluation.split import divergence, evaluate_split, examples, quick, summarise
from raeg_jax.networks.classifiers import FrozenClassifier
from tests.evaluation.evaluation_toys import Brightness, brightness_reader, flat_images, shift

LEVELS = [60, 86, 120, 146, 180, 60, 118]
LABELS = np.array([0, 0, 1, 1, 2, 0, 1])
IMAGES = flat_images(LEVELS)
GENERATOR = shift(20)
TRUE = np.array([0, 1, 2, 1])


def brightness(offset=0.0):
    module = Brightness()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)), train=False)
    return FrozenClassifier(module, {**variables, "params": {"offset": jnp.float32(offset)}})


CLASSIFIERS = {"near": brightness(), "far": brightness(-2.0)}


def evaluate(generator=GENERATOR, images=IMAGES, labels=LABELS, batch_size=3, **changes):
    options = {"targets": ("near",), "held_out": ("far",), "pgd_steps": 3, "seed": 0}
    return evaluate_split(
        PixelProtector(generator), CLASSIFIERS, images, labels, batch_size, **(options | changes)
    )


def numbers(result):
    measured = {k: v for k, v in result.items() if k not in ("per_image", "speeds")}
    return json.loads(json.dumps(measured))


@pytest.fixture(scope="module")
def result():
    return evaluate()


def test_accuracies_are_those_worked_out_by_hand(result):
    # Adding 20 to half of the image lifts its mean by 10: 86 and 146 cross over to the next class.
    near = result["classifiers"]["near"]["accuracy"]
    np.testing.assert_allclose(near["original"], 1)
    np.testing.assert_allclose(near["protected"], 5 / 7)
    np.testing.assert_allclose(near["recovered"], 1)
    np.testing.assert_allclose(result["classifiers"]["near"]["attack_success"]["protected"], 2 / 7)
    assert result["classifiers"]["near"]["role"] == "target"
    assert result["classifiers"]["far"]["role"] == "held_out"


def test_readers_read_the_files_too_in_place_of_classifiers_of_their_name(result):
    reader = brightness_reader("far")
    found = evaluate(readers={"far": reader, "mine.onnx": brightness_reader()})["classifiers"]
    assert found["near"] == result["classifiers"]["near"]
    assert {name: one["role"] for name, one in found.items()} == {
        "near": "target", "far": "held_out", "mine.onnx": "reader",
    }  # fmt: skip
    assert {name: one["reference"] for name, one in found.items()} == {
        "near": "label", "far": "original", "mine.onnx": "original",
    }  # fmt: skip
    # It looks at the right half, which the generator leaves as it is.
    assert found["far"]["accuracy"]["protected"] == 1
    assert found["mine.onnx"]["accuracy"]["original"] == 1


def test_quality_of_protected_and_recovered(result):
    # Half of the samples off by 20: MSE 200.
    expected = 10 * np.log10(255**2 / 200)
    np.testing.assert_allclose(result["quality"]["protected"]["psnr"], expected, rtol=1e-5)
    np.testing.assert_allclose(result["quality"]["protected"]["exact_pixels"], 0.5)
    assert result["quality"]["recovered"]["exact_images"] == 1
    assert result["quality"]["recovered"]["psnr"] is None
    assert result["outside_range"] == 0


@pytest.mark.parametrize("control", ["noise", "pgd"])
def test_controls_are_as_far_away_as_the_protected_images(result, control):
    protected = result["quality"]["protected"]["psnr"]
    np.testing.assert_allclose(result["quality"][control]["psnr"], protected, atol=0.3)


def test_numbers_are_valid_json_and_the_same_again(result):
    assert numbers(evaluate()) == numbers(result)
    json.dumps(numbers(result), allow_nan=False)


@pytest.mark.parametrize("batch_size", [4, 10])
def test_batches_change_nothing(result, batch_size):
    again = evaluate(batch_size=batch_size)
    for name, values in result["per_image"].items():
        np.testing.assert_allclose(again["per_image"][name], values, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("count", [5, 2])
def test_other_numbers_of_images_are_padded_not_compiled_anew(result, count, caplog):
    with jax.log_compiles():
        part = evaluate(images=IMAGES[:count], labels=LABELS[:count])
    assert "Compiling" not in caplog.text
    for name, values in part["per_image"].items():
        np.testing.assert_array_equal(values, result["per_image"][name][:count], err_msg=name)


def test_parameters_of_a_mesh_need_no_other_compilation(result, caplog):
    mesh = jax.make_mesh((1,), ("batch",), devices=jax.devices()[:1])
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    generator = jax.device_put(GENERATOR, everywhere)
    with jax.log_compiles():
        evaluate(generator)
    assert "Compiling" not in caplog.text


def test_examples_fill_a_batch_that_is_compiled_already(result, caplog):
    chosen = np.array([4, 1])
    with jax.log_compiles():
        originals, protected, recovered = examples(
            PixelProtector(GENERATOR), IMAGES, LABELS, chosen, 3
        )
    assert "Compiling" not in caplog.text
    np.testing.assert_array_equal(originals, IMAGES[[4, 1, 4]])
    np.testing.assert_array_equal(protected[:, :, :8], originals[:, :, :8] + 20)
    np.testing.assert_array_equal(recovered, originals)


def test_clipped_values_show_up_as_lost():
    result = evaluate(images=flat_images([250], spread=0), labels=LABELS[:1])
    assert result["outside_range"] == 0.5
    assert result["quality"]["recovered"]["exact_pixels"] == 0.5
    assert result["quality"]["recovered"]["exact_images"] == 0
    # 250 + 20 is saved as 255 and comes back as 235.
    np.testing.assert_allclose(
        result["quality"]["recovered"]["psnr"], 10 * np.log10(255**2 / (15**2 / 2)), rtol=1e-5
    )


def test_a_generator_that_changes_nothing_has_no_psnr():
    result = evaluate(shift(0))
    for variant in ("protected", "noise", "pgd"):
        assert result["quality"][variant]["psnr"] is None
        assert result["quality"][variant]["exact_images"] == 1


def test_recovery_starts_from_the_saved_file():
    # 0.4 is lost in rounding: what the inverse then takes away is not there.
    result = evaluate(shift(0.6))
    assert result["quality"]["protected"]["exact_images"] == 0
    assert result["quality"]["recovered"]["exact_images"] == 1
    result = evaluate(shift(0.45))
    assert result["quality"]["protected"]["exact_images"] == 1


def test_pgd_is_left_out_without_steps():
    result = evaluate(pgd_steps=0)
    assert set(result["quality"]) == {"protected", "recovered", "noise"}


def test_frozen_classifiers_are_not_changed():
    before = jax.tree.map(np.array, {k: v.variables for k, v in CLASSIFIERS.items()})
    evaluate(images=IMAGES[:2], labels=LABELS[:2])
    after = {k: v.variables for k, v in CLASSIFIERS.items()}
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ("nobody",)}, "no classifier named 'nobody'"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "need images"),
        ({"labels": LABELS[:2]}, "got 7 and 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
    ids=["classifier", "empty", "labels", "batch_size"],
)
def test_impossible_requests_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**changes)


def test_the_progress_bar_says_that_it_compiles(capsys):
    evaluate(description="evaluating on test images")
    error = capsys.readouterr().err
    assert "evaluating on test images: compiling" in error
    assert "7/7" in error


def test_quick_agrees_with_the_full_evaluation(result):
    scalars = quick(GENERATOR, {"near": CLASSIFIERS["near"]}, IMAGES, LABELS, batch_size=3)
    accuracy = result["classifiers"]["near"]["accuracy"]
    np.testing.assert_allclose(scalars["clean_accuracy"], accuracy["original"])
    np.testing.assert_allclose(scalars["protected_accuracy"], accuracy["protected"])
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(scalars[name], result["quality"]["protected"][name], rtol=1e-6)
    assert scalars["exact_images"] == 1
    assert scalars["outside_range"] == 0


def test_quick_averages_over_targets_and_stays_finite():
    targets = {"near": CLASSIFIERS["near"], "off": brightness(60.0)}
    scalars = quick(shift(0), targets, IMAGES, LABELS)
    assert scalars["psnr"] == 100
    # The second reads three of the seven correctly: its classes lie 60 higher.
    np.testing.assert_allclose(scalars["clean_accuracy"], (1 + 3 / 7) / 2)


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
    result = summarise(per_image(), TRUE, {"net": "target"})
    net = result["classifiers"]["net"]
    assert net["role"] == "target"
    assert net["accuracy"] == {"original": 0.75, "protected": 0.5, "recovered": 0.75}
    assert result["images"] == 4


def test_success_counts_only_images_that_were_read_correctly():
    net = summarise(per_image(), TRUE, {"net": "target"})["classifiers"]["net"]
    # The fourth was misread before and is read correctly after: it says nothing about the attack.
    np.testing.assert_allclose(net["attack_success"]["protected"], 2 / 3)
    assert net["attack_success"]["recovered"] == 0
    assert "original" not in net["attack_success"]


def test_quality_leaves_equal_images_out_of_the_mean_psnr():
    quality = summarise(per_image(), TRUE, {"net": "target"})["quality"]
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
    result = summarise(per_image(), TRUE, {"net": "target"})
    np.testing.assert_allclose(result["outside_range"], 0.15)
    assert result["png_bytes"] == {"original": 250.0, "protected": 260.0}


def test_a_payload_is_in_the_pixels_or_beside_them():
    assert summarise(per_image(), TRUE, {"net": "target"})["payload"] is None
    values = {
        "payload/in_pixels": np.array([True, True, False, True]),
        "payload/bytes": np.array([80, 84, 88, 80]),
    }
    result = summarise(per_image(**values), TRUE, {"net": "target"})
    assert result["payload"] == {"in_pixels": 3, "beside_pixels": 1, "bytes": 83.0}


@pytest.mark.parametrize("left_out", ["noise", "pgd"])
def test_variants_that_were_not_measured_do_not_appear(left_out):
    result = summarise(per_image(), TRUE, {"net": "target"})
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
