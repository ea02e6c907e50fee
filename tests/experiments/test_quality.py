"""All methods on the same images: their files, and what is measured of them."""

import dataclasses

import numpy as np
import pytest

from raeg_jax.experiments import quality
from raeg_jax.experiments.context import Context, ProtectedSet
from raeg_jax.methods.files import collect
from raeg_jax.methods.registry import REVERSIBLE, TITLES
from tests.evaluation.evaluation_toys import brightness_reader
from tests.experiments.experiment_toys import PSNR, FloatRun, alone, compared, published, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def measured(context):
    return {name: quality.measure(context, name, PSNR) for name in TITLES}


def psnrs(files, originals):
    errors = np.mean((files.astype(float) - originals) ** 2, axis=(1, 2, 3))
    return 10 * np.log10(255**2 / errors)


def classes(run, name, images):
    return np.asarray(run.frozen[name](images.astype(np.float32))).argmax(-1)


@pytest.mark.parametrize("method", TITLES)
def test_files_have_the_psnr_and_the_result_is_true_of_them(context, measured, method):
    protected, result = context.protected(method, PSNR), measured[method]
    files, (originals, labels) = protected.files, protected.originals()
    own = psnrs(files.images, originals)
    # Each file of the compared methods, the mean of a generator's.
    assert abs(np.mean(own) - PSNR) < 0.2
    np.testing.assert_allclose(result["psnr"]["file"], np.mean(own), rtol=1e-5)
    assert result["protected"] == len(files.kept) == len(labels)
    assert result["protected"] + sum(result["failures"].values()) == result["images"] == 5
    before = classes(context.run, "near", originals) == labels
    scores = result["classifiers"]["near"]
    assert scores["accuracy"]["original"] == np.mean(before)
    wrong = classes(context.run, "near", files.images)[before] != labels[before]
    assert scores["attack_success"]["file"] == np.mean(wrong)
    images, truth = protected.candidates()
    all_correct = classes(context.run, "near", images) == truth
    assert scores["success_of_all"] == wrong.sum() / all_correct.sum()


def test_methods_that_can_recover_do_so_exactly(measured):
    for method, result in measured.items():
        assert result["exact"] == (result["protected"] if method in REVERSIBLE else None)
        assert (result["seconds"]["recover"] is not None) == (method in REVERSIBLE)


def test_attacks_succeed_more_than_noise(measured):
    success = {
        name: result["classifiers"]["near"]["attack_success"]["adversarial"]
        for name, result in measured.items()
    }
    assert min(success["pgd"], success["rae"], success["rit"]) > success["noise"]


def test_another_run_takes_the_files_that_are_there(context, measured, monkeypatch):
    again = Context(run(), context.folder, compared=True)
    monkeypatch.setattr(ProtectedSet, "_protect", None)
    for method in REVERSIBLE:
        result = quality.measure(again, method, PSNR)
        assert result["exact"] == measured[method]["exact"]
        assert result["psnr"] == measured[method]["psnr"]


@pytest.mark.parametrize("method", ["raeg", "noise"])
def test_repetitions_differ_where_keys_or_noise_do(context, method):
    first, second = (context.protected(method, PSNR, r).files.images for r in (0, 1))
    assert not np.array_equal(first, second)


def test_a_method_without_files_has_a_row(context):
    result = quality.measure(context, "rit", 60.0)
    assert result["protected"] == result["exact"] == 0
    assert sum(result["failures"].values()) == result["images"] == 2
    assert quality.table([result], context).rows[0][3] == "0 of 2"
    context.run.config.comparison.psnr = 60.0
    try:
        cells = quality.headline("rit", [result], context)
    finally:
        context.run.config.comparison.psnr = PSNR
    assert (cells["protected"], cells["of the file, of all images"]) == ("0 of 2", "0.000")


def test_images_that_fail_count_as_no_success(tmp_path, monkeypatch):
    """Two of five, of which no file is left; noise of 8 dB changes what others are taken for."""

    def protect_some(self):
        images, labels = self.candidates()
        index = np.arange(len(labels), dtype=np.int32)
        made = self.protector().protect(images, labels, index)
        lost = [one._replace(failure="no room for 12 bytes") for one in made[:2]]
        return collect(lost + made[2:], images.shape[1:], 0.0, 8.0, whole=True)

    monkeypatch.setattr(ProtectedSet, "_protect", protect_some)
    context = compared(tmp_path)
    context.run.config.comparison.psnr = 8.0
    result = quality.measure(context, "noise", 8.0)
    assert (result["images"], result["protected"]) == (5, 3)
    assert result["failures"] == {"no room for … bytes": 2}
    images, labels = context.run.images("test")
    for name in ("near", "off"):
        correct = classes(context.run, name, images) == labels
        scores = result["classifiers"][name]
        success = scores["attack_success"]["file"] * correct[2:].sum()
        np.testing.assert_allclose(scores["success_of_all"], success / correct.sum())
        assert correct[:2].any()


def test_readers_read_the_files_too(tmp_path):
    reader = brightness_reader()
    context = alone(tmp_path, FloatRun, {"mine.onnx": reader})
    result = quality.measure(context, "raeg", None)
    files, (images, _) = context.protected("raeg", None).files, context.run.images("test")
    changed = reader.read(images).classes != reader.read(files.images).classes
    scores = result["classifiers"]["mine.onnx"]
    assert scores["accuracy"] == {
        "original": 1.0, **dict.fromkeys(("adversarial", "unmarked", "file"), 1 - changed.mean()),
    }  # fmt: skip
    assert scores["success_of_all"] == changed.mean() > 0
    cells = quality.headline("raeg", [result], context)
    assert cells["on readers"] == f"{changed.mean():.3f}"
    held_out = result["classifiers"]["off"]["attack_success"]["file"]
    assert cells["on held-out classifiers"] == f"{held_out:.3f}"
    (unit,) = quality.units(context)
    assert unit.depends["readers"]["mine.onnx"]["weights"] == "digest of mine.onnx"


@pytest.mark.parametrize("method", ["raeg", "rae"])
def test_published_targets_are_led_away_from_what_they_read(tmp_path, monkeypatch, method):
    names = ("tiny.safetensors",)
    context = alone(tmp_path)
    context = dataclasses.replace(context, run=published(context.run, tmp_path, monkeypatch, names))
    context.run.config.generator.gradient.update(arithmetic="float", attack_steps=4)
    context.run.config.generator.stages = ("gradient",)
    result = quality.measure(context, method, None)
    assert result["protected"] == result["exact"] == 5
    scores = result["classifiers"]["tiny.safetensors"]
    assert scores["accuracy"]["original"] == 1
    assert scores["attack_success"]["adversarial"] > 0


def test_units_are_of_all_methods_and_psnrs_and_repeated_at_the_main_one(tmp_path):
    names = ("raeg", "rae", "noise")
    units = quality.units(Context(run(), tmp_path, names, compared=True))
    assert [unit.name for unit in units] == [
        "quality/raeg-30-0", "quality/raeg-30-1", "quality/rae-30-0", "quality/noise-30-0",
        "quality/noise-30-1", "quality/raeg-26-0", "quality/rae-26-0", "quality/noise-26-0",
    ]  # fmt: skip
    assert [unit.name for unit in quality.units(alone(tmp_path))] == ["quality/raeg-own-0"]


def test_a_generator_with_fractions_recovers_what_its_pixels_give(tmp_path):
    context = alone(tmp_path, FloatRun)
    result = quality.measure(context, "raeg", None)
    assert (result["protected"], result["exact"], result["in_pixels"]) == (5, 5, 0)
    changed = context.protected("raeg", None).files.images
    difference = changed.astype(int) - context.run.images("test")[0]
    # Labels are 0 to 2, and the token adds 0 or 1.
    assert set(np.unique(difference)) == {20, 21, 22, 23}
