"""Each experiment on a generator and classifiers whose numbers are known."""

import dataclasses

import numpy as np
import pytest

from configs import base
from raeg_jax.experiments import defending, distortion, pirates, reading, tables, token, transfer
from raeg_jax.generator import build
from tests.experiments.experiment_toys import Toy, subject


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return subject(tmp_path_factory.mktemp("suite"), guesses=2)


def test_protected_images_are_made_once_and_kept(toy, monkeypatch):
    made = toy.protected("test")
    originals, labels = toy.originals("test")
    assert set(np.unique(made.images.astype(int) - originals)) == {20, 21}
    np.testing.assert_array_equal(made.code[0].label, labels)
    fresh = Toy(**{name: getattr(toy, name) for name in toy.__dataclass_fields__})
    monkeypatch.setattr(Toy, "protect", lambda *_: pytest.fail("made again"))
    again = fresh.protected("test")
    np.testing.assert_array_equal(again.images, made.images)
    np.testing.assert_array_equal(again.code[0].label, labels)


def test_another_generator_has_images_of_its_own(toy):
    (stage,) = toy.chain.stages
    changed = {"made": toy.chain.replace(stages=(stage.replace(amount=30.0),))}
    other = Toy(**{name: getattr(toy, name) for name in toy.__dataclass_fields__} | changed)
    assert other.protected("test").images.mean() > toy.protected("test").images.mean() + 9


def test_defences_are_read_beside_equally_defended_originals(toy):
    darker = defending.measure(toy, "darker", lambda images: np.asarray(images) - np.uint8(35))
    near, off = darker["classifiers"]["near"], darker["classifiers"]["off"]
    # Means of originals are 60, 85, 120, 145 and 180, of class 0, 0, 1, 1 and 2; 35 less, and then
    # about 20 more again.
    assert near["accuracy"] == pytest.approx(
        {"original": 1.0, "defended original": 0.6, "defended": 1.0}
    )
    assert near["success"] == {"defended original": 0.4, "defended": 0.0}
    assert off["accuracy"]["original"] == pytest.approx(0.6)
    assert darker["psnr"] == pytest.approx(20 * np.log10(255 / 14.5), abs=0.5)


def test_units_of_defences_are_all_of_them_and_the_removers(toy):
    names = [unit.name for unit in defending.units(toy)]
    assert {"defences/none", "defences/jpeg_50", "defences/noise_nl_means"} < set(names)
    assert names[-3:] == ["defences/remover_50", "defences/remover_500", "defences/remover_all"]
    assert len(set(names)) == len(names)


def test_undistorted_files_are_recovered_and_distorted_ones_nearly(toy):
    none, bits = (distortion.measure(toy, name) for name in ("none", "bits_4"))
    assert (none["exact"], none["psnr"], none["ssim"]) == (1.0, None, 1.0)
    assert none["classifiers"]["near"]["accuracy"]["recovered"] == 1.0
    assert bits["exact"] == 0
    assert bits["psnr"] > 30


def test_transfer_reads_what_was_made_against_others(toy):
    found = transfer.measure(toy, ("near",))
    # Of 60, 85, 120, 145 and 180, 85 and 145 are read as the next class when 20 brighter.
    assert found["classifiers"]["near"]["accuracy"] == pytest.approx(
        {"original": 1.0, "protected": 0.6}
    )
    assert found["classifiers"]["near"]["success"] == {"protected": 0.4}
    assert [unit.name for unit in transfer.units(toy)] == ["transfer/near"]


def test_the_right_token_recovers_and_others_do_not(toy):
    (unit,) = token.units(toy)
    ways = unit.measure()["ways"]
    assert ways["right token"]["exact"] == 1
    assert ways["right token"]["psnr"] is None
    assert ways["wrong token"]["exact"] == 0
    assert {"protected", "one cell off", "no token", "mean of 2 wrong"} < set(ways)


def test_reading_has_controls_of_equal_distance(toy):
    (train, test) = reading.units(toy)
    assert (train.name, test.name) == ("reading/train-own", "reading/test-own")
    found = test.measure()
    assert found["classifiers"]["near"]["accuracy"]["protected"] == 0.6
    noise, protected = (found["quality"][name]["psnr"] for name in ("noise", "protected"))
    assert noise == pytest.approx(protected, abs=0.2)
    assert len(found["each_psnr"]) == 5


def test_pirates_get_what_their_names_say(toy):
    toy.config.suite.pirates.update(shares=(0.5,), defences=("bits_3",), seeds=1)
    toy.config.suite.update(remover_pairs=(), images=0)
    originals = toy.originals("train")[0]
    protected = toy.protected("train").images
    found = {(loot.name, loot.training): loot.images() for loot in pirates.loots(toy)}
    np.testing.assert_array_equal(found["honest", ""], originals)
    np.testing.assert_array_equal(found["authorised", ""], originals)
    np.testing.assert_array_equal(found["raw", ""], protected)
    np.testing.assert_array_equal(found["raw", "augmented"], protected)
    changed = np.any(found["share_0.5", ""] != originals, axis=(1, 2, 3))
    assert changed.sum() == 3
    np.testing.assert_array_equal(found["share_0.5", ""][changed], protected[changed])
    assert len(np.unique(found["bits_3", ""])) <= 8
    names = [unit.name for unit in pirates.units(toy)]
    assert "pirates/raw-adversarial-densenet_small-0" in names
    assert len(set(names)) == len(names)


def test_a_model_is_trained_on_the_loot_and_tested_on_clean_images(toy, monkeypatch):
    seen = {}

    def fit(name, splits, config, folder, watch):
        seen.update(name=name, train=splits.train, steps=config.classifiers.steps, seed=config.seed)
        seen["adversarial"] = config.classifiers.adversarial
        (folder / "classifiers" / name).mkdir(parents=True)
        rows = '{"step": 5, "clean": 0.8}\n{"step": 7, "loss": 1.0}\n{"step": 10, "clean": 0.6}\n'
        (folder / "classifiers" / name / "metrics.jsonl").write_text(rows)
        return {}

    monkeypatch.setattr(pirates, "fit_classifier", fit)
    loot = pirates.Loot("raw", lambda: toy.protected("train").images, "adversarial")
    found = pirates.train(toy, loot, "densenet_small", 2)
    assert (found["peak"], found["last"], found["changed"]) == (0.8, 0.6, 1.0)
    assert found["curve"] == [[5, 0.8], [10, 0.6]]
    assert (seen["name"], seen["seed"], seen["adversarial"]) == ("densenet_small", 3, 4.0)
    assert len(seen["train"]) == 6
    assert toy.config.classifiers.adversarial == 0


def test_the_pirates_table_compares_with_honest_models_of_the_same_training():
    def model(images, training, seed, peak):
        return {
            "images": images, "training": training, "architecture": "net", "seed": seed,
            "peak": peak, "last": peak - 0.1, "curve": [], "changed": 0.0,
        }  # fmt: skip

    found = tables.pirates(
        [model("honest", "", 0, 0.6), model("honest", "", 1, 0.8), model("raw", "", 0, 0.35),
         model("honest", "augmented", 0, 0.5), model("raw", "augmented", 0, 0.5)]
    )  # fmt: skip
    assert found.rows[0] == (
        "honest", "plain", "net", "2", "0.700 (0.600 to 0.800)", "0.600 (0.500 to 0.700)", "1.00"
    )  # fmt: skip
    assert [row[-1] for row in found.rows] == ["1.00", "0.50", "1.00", "1.00"]


def test_a_shortcut_stage_keeps_its_distance_to_the_gradient_stage_at_every_psnr():
    config = base.get_config()
    config.generator.stages = ("shortcut", "gradient")
    config.generator.shortcut.target_psnr, config.generator.gradient.target_psnr = 33.0, 32.0
    reading.aim_at(config, 38.0)
    assert build.target_psnrs(config) == {"shortcut": 39.0, "gradient": 38.0}
    config.generator.stages = ("shortcut",)
    reading.aim_at(config, 30.0)
    assert build.target_psnrs(config) == {"shortcut": 30.0}


def test_only_psnrs_at_which_each_stage_leaves_some_distance_are_read():
    config = base.get_config()
    config.generator.stages = build.STAGES
    config.generator.shortcut.target_psnr, config.generator.gradient.target_psnr = 33.0, 32.0
    config.loss.target_psnr = 37.0
    assert [reading.possible(config, psnr) for psnr in (30.0, 35.9, 36.0, 38.0)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_generators_that_attack_any_classifier_are_made_against_each(toy):
    sets = {
        stages: [unit.name for unit in units_of(toy, stages)]
        for stages in (("learned",), ("shortcut",), ("shortcut", "gradient"), ("gradient",))
    }
    assert sets["learned",] == sets["shortcut",] == ["transfer/near"]
    assert sets["gradient",] == ["transfer/near", "transfer/off", "transfer/near+off"]
    assert sets["shortcut", "gradient"] == sets["gradient",]


def units_of(toy, stages):
    """Of the transfer experiment, of a generator with other stages."""
    config = toy.config.copy_and_resolve_references()
    config.generator.stages = stages
    return list(transfer.units(dataclasses.replace(toy, config=config)))
